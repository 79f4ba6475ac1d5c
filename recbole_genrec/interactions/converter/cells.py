"""Cells of atomic files: what the text of a dump must become to stay one cell of one row."""

import re

#: pandas' Python parser, with which RecBole reads, takes no longer cell (``csv.field_size_limit``).
LONGEST_CELL = 131_072

_BREAK = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SPACE_OR_BREAK = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def cell(text: str) -> str:
    """Make ``text`` one cell, its characters as they are otherwise.

    A run of white space that holds a line end, a tab or a control character becomes one space; white space at both
    ends is stripped. A cell that would begin with a quote begins with a space: the readers of pandas take a leading
    quote for the start of a quoted cell, which ends at the next quote, be it hundreds of rows below.
    """
    if _BREAK.search(text):
        text = _SPACE_OR_BREAK.sub(lambda run: " " if _BREAK.search(run[0]) else run[0], text)
    text = text.strip()[: LONGEST_CELL - 1]
    return " " + text if text.startswith('"') else text


def is_token(value) -> bool:
    """Whether ``value`` can stand as an id: printable text without white space or a leading quote."""
    if not isinstance(value, str) or not value.isprintable():
        return False
    return value != "" and " " not in value and not value.startswith('"')
