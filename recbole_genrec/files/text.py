"""Cleaning of item texts: HTML entities become characters, and characters that could break a prompt become spaces."""

import html
import re

_BREAK = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SPACE_OR_BREAK = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def unescape(text: str) -> str:
    """As ``html.unescape``; a text with a character's number of thousands of digits, which Python refuses, stays."""
    try:
        return html.unescape(text)
    except ValueError:
        return text


def clean_text(text: str) -> str:
    """Make ``text`` one line of plain text: unescape HTML entities, then remove what could break a prompt apart.

    A run of white space and control characters that holds a line end, a tab or a control character becomes one space;
    every other space stays, double ones too. White space at both ends is stripped.
    """
    return one_line(unescape(text))


def one_line(text: str) -> str:
    """:func:`clean_text` of a text without entities."""
    # one linear pass over whole runs: a pattern that looks for the break inside a run would backtrack
    return _SPACE_OR_BREAK.sub(lambda run: " " if _BREAK.search(run[0]) else run[0], text).strip()
