"""What MkDocs cannot do by itself: pages from files outside ``docs/``, and the reference of the command line.

MkDocs calls the functions ``on_...`` by their names (``hooks`` in ``mkdocs.yml``). Links in the sources are right for a
reader of the repository; :func:`site_links` makes them right for a reader of the site.
"""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: pages of the site that are made of files outside ``docs/``, by the path in the repository.
GENERATED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/results/README.md": "results/runs.md",
}
#: where ``command-line.md`` receives the reference.
COMMANDS_MARK = "<!-- commands -->"
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):<code>(~?)([\w.]+)</code>")


def on_files(files, config):
    """Add the pages that are made of files outside ``docs/``."""
    from mkdocs.structure.files import File

    for source, page in GENERATED.items():
        text = site_links((ROOT / source).read_text("utf-8"), source, page)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Fill the command line's page in, and point links out of ``docs/`` at the pages that are made of their targets."""
    uri = page.file.src_uri
    if uri in GENERATED.values():
        return markdown
    if uri == "command-line.md":
        markdown = markdown.replace(COMMANDS_MARK, command_reference())
    return site_links(markdown, f"docs/{uri}", uri)


def on_page_content(html, page, config, files):
    """Turn roles of reStructuredText, which docstrings have, into plain code."""
    return _ROLE.sub(lambda role: f"<code>{role[2].rpartition('.')[2] if role[1] else role[2]}</code>", html)


def site_links(markdown, source, page):
    """Rewrite relative links of a file for its page of the site.

    Args:
        markdown: the text.
        source: path of the file in the repository.
        page: path of its page below ``docs/``.
    """

    def moved(link):
        target, mark, anchor = link[2].partition("#")
        if not target or ":" in target:
            return link[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        site = GENERATED.get(place) or (place.removeprefix("docs/") if place.startswith("docs/") else None)
        if place == "README.md":
            site = "index.md"
        if site is None:
            return link[0]
        return f"{link[1]}{posixpath.relpath(site, posixpath.dirname(page) or '.')}{mark}{anchor}{link[3]}"

    return _LINK.sub(moved, markdown)


def command_reference():
    """The table of commands as Markdown: for each, its sentence, examples and options."""
    from recbole_genrec.cli.commands import COMMANDS, DEFAULT

    parts = []
    for name, command in COMMANDS.items():
        title = f"## {name}\n\n" + ("The command that runs when no command is named.\n\n" if name == DEFAULT else "")
        examples = "\n".join(example.format(program="recbole_genrec") for example in command.examples)
        rows = [_row(command.positional, command.positional.metavar)] if command.positional else []
        rows += [_row(option, f"--{option.name}") for option in command.options]
        if command.settings:
            rows.append(f"| `--any_key` | {_cell(command.settings)}; see [Settings](settings.md) | |")
        table = "\n".join(["| option | meaning | default |", "|---|---|---|", *rows])
        note = f"\n\n{command.note}" if command.note else ""
        parts.append(f"{title}{_cell(command.summary)}\n\n```bash\n{examples}\n```\n\n{table}{note}\n")
    return "\n".join(parts)


def _row(option, name):
    choices = f" One of: {', '.join(f'`{choice}`' for choice in option.choices)}." if option.choices else ""
    default = "required" if option.required else "" if option.default is None else str(option.default)
    return f"| `{name}` | {_cell(option.help)}.{choices} | {_cell(default)} |"


def _cell(text):
    """Text that may stand in a cell of a table, with nothing of it taken for HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
