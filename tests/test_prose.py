"""Plain English: pages have none of the phrases that readers stumble over, listed in ``plain_english.txt``."""

import re
from pathlib import Path

import pytest

from tests.test_docs import WRITTEN, of_page


def phrases():
    """``{regular expression: what to write instead}``."""
    lines = (Path(__file__).parent / "plain_english.txt").read_text("utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 and all(pair) for pair in pairs)
    return {re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE): instead for pattern, instead in pairs}


def found(text):
    """Phrases of a text, each with what to write instead."""
    hits = [(match.group(), instead) for pattern, instead in phrases().items() for match in pattern.finditer(text)]
    return [f"{' '.join(words.split())!r}: write {instead!r}" for words, instead in hits]


def prose(path):
    """The text of a page without blocks and pieces of code."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]+`", "", text)


@of_page([path for path in WRITTEN if path.name != "settings.md"])
def test_the_prose_is_plain(path):
    assert found(prose(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        "Later ones stand over earlier ones.",
        "A user is asked for the last cold item that has a warm one before it.",
        "items that a user has not had",
        "The two exchange weights.",
        "so many processes of this machine",
        "what only the one who starts a test may say",
        "It costs a product with every\nitem for each target",
        "What an epoch still has to train on",
    ],
)
def test_a_riddle_is_found(text):
    assert found(text)
