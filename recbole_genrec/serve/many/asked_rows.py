"""Rows that ask for recommendations: users named one by one or in a file, and JSON lines.

A JSON line is an object, such as::

    {"user": "196", "k": 5, "where": "class=Comedy", "exclude": ["50"], "id": "morning"}
    {"history": ["Toy Story (1995)", {"item": "50", "time": "2026-11-26 20:00"}], "at": "2026-11-27"}

Nothing here needs torch, so that a file which is not there is said at once.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from recbole_genrec.errors import GenRecError, shown, unknown_name
from recbole_genrec.files.json_shape import check_shape

#: the name of standard input.
STDIN = "-"
_ID = (str, int)
_MOMENT = (str, float, None)
_ENTRY = {"item?": _ID, "title?": str, "time?": _MOMENT, "values?": {"*": float}}
#: of a line, the keys and what their values must look like.
SHAPE: dict[str, Any] = {
    "user?": (*_ID, None),
    "history?": [(str, _ENTRY)],
    "k?": (int, None),
    "where?": (str, [str], None),
    "exclude?": [_ID],
    "at?": _MOMENT,
    "id?": (*_ID, None),
}
_KEYS = [key.removesuffix("?") for key in SHAPE]
_ENTRY_KEYS = [key.removesuffix("?") for key in _ENTRY]


class AskedRow(NamedTuple):
    """A row as it stands in its source."""

    #: number among all rows, from 0.
    number: int
    #: where it stands, for messages, such as ``users.txt, line 3``.
    place: str
    #: a JSON line, or a raw user id.
    text: str
    is_user: bool

    def content(self) -> Mapping[str, Any]:
        """What it asks for, by the keys of :data:`SHAPE`.

        Raises:
            GenRecError: it is no JSON object, or a key or value is not accepted; the message names no place.
        """
        if self.is_user:
            return {"user": self.text}
        try:
            value = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise GenRecError(f"it is not JSON ({error})") from error
        if not isinstance(value, dict):
            raise GenRecError(f"it is {shown(value)}, not an object with 'user' or 'history'")
        _check(value)
        return value


def _check(value: Mapping[str, Any]) -> None:
    for key in value:
        if key not in _KEYS:
            raise unknown_name("key", key, _KEYS)
    check_shape(value, SHAPE, "the row ")
    if value.get("user") is None and "history" not in value:
        raise GenRecError("it has neither 'user' nor 'history'")
    for entry in value.get("history", ()):
        if isinstance(entry, str):
            continue
        for key in entry:
            if key not in _ENTRY_KEYS:
                raise unknown_name("key of an entry of 'history':", key, _ENTRY_KEYS)
        if ("item" in entry) == ("title" in entry):
            raise GenRecError(f"an entry of 'history' has either 'item' or 'title', not {shown(entry)}")


@dataclass(frozen=True)
class Source:
    """Where rows come from; given are users, a file of users, a file of JSON lines, or several of these.

    Attributes:
        users: raw ids, as the command line names them.
        users_file: one raw id a line.
        input: JSON lines; ``-`` is standard input.
    """

    users: tuple[str, ...] = ()
    users_file: str | None = None
    input: str | None = None

    def check(self) -> None:
        """Refuse a file that is not there.

        Raises:
            GenRecError: one is not.
        """
        for option, path in (("users", self.users_file), ("input", self.input)):
            if path is not None and path != STDIN and not Path(path).is_file():
                raise GenRecError(f"command line: --{option}: there is no file {path!r}.")

    def rows(self, more_users: list[str] | None = None) -> Iterator[AskedRow]:
        """All rows, one after the other; empty lines are none.

        Args:
            more_users: raw ids of all users of the dataset, where these are asked for.

        Raises:
            GenRecError: a line is no text in UTF-8.
        """
        parts = [(f"--user {user}", user, True) for user in self.users], self._of_users(), self._of_input()
        every = ((f"the user {user} of the dataset", user, True) for user in more_users or ())
        for number, row in enumerate(chain(*parts, every)):
            yield AskedRow(number, *row)

    def count(self) -> int | None:
        """Number of rows without those of all users, ``None`` where standard input has them."""
        if self.input == STDIN or self.users_file == STDIN:
            return None
        files = [path for path in (self.users_file, self.input) if path is not None]
        return len(self.users) + sum(1 for path in files for _ in _lines(path))

    def _of_users(self) -> Iterator[tuple[str, str, bool]]:
        return ((place, text, True) for place, text in _lines(self.users_file)) if self.users_file else iter(())

    def _of_input(self) -> Iterator[tuple[str, str, bool]]:
        return ((place, text, False) for place, text in _lines(self.input)) if self.input else iter(())


def _lines(path: str) -> Iterator[tuple[str, str]]:
    """Place and text of every line that is not empty, without white space around it."""
    name = "standard input" if path == STDIN else path
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            place = f"{name}, line {number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise GenRecError(f"{place} is no text in UTF-8 ({error}).") from error
            if text:
                yield place, text


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    if path == STDIN:
        yield sys.stdin.buffer
        return
    with open(path, "rb") as file:
        yield file


def check_processes(source: Source, output: str | None) -> None:
    """Refuse what several processes cannot share.

    Raises:
        GenRecError: they would read standard input, or write to standard output.
    """
    if output is None or STDIN in (source.input, source.users_file):
        raise GenRecError("command line: several processes share files: give --output, and no standard input.")
