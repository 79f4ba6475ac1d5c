"""Hooks of the documentation's build: links out of ``docs/`` lead to the repository's files."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown, page, config, **_):
    """Turn links to files outside of ``docs/`` into code, as no address of a repository is known."""
    folder = Path(page.file.abs_src_path).parent

    def shown(match):
        text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path = (folder / target.partition("#")[0]).resolve()
        if path.is_relative_to(ROOT / "docs"):
            return match[0]
        return f"{text} (`{path.relative_to(ROOT)}`)"

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", shown, markdown)
