"""What MkDocs cannot do by itself: pages from files outside ``docs/``.

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
    """Point links out of ``docs/`` at the pages that are made of their targets."""
    uri = page.file.src_uri
    if uri in GENERATED.values():
        return markdown
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
