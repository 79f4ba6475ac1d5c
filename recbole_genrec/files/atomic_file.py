"""The package's one reader of RecBole's atomic files: ``.inter``, ``.item``, ``.user`` and others.

A line feed ends a row; a carriage return right before it belongs to it, any other one to its cell. Nothing else is
interpreted: a quote is a character, and an id may be called ``NA``. A byte order mark is skipped. The separator may
have several characters.
"""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.files.checked_blocks import CheckedBlocks, holds_nul, wrong_length

TYPES = ("token", "token_seq", "float", "float_seq")


@dataclass(frozen=True)
class AtomicFile:
    """An atomic file and how it is written.

    Attributes:
        path: where it is.
        field_separator: what stands between two cells, at least one character.
        encoding: encoding of the text.
    """

    path: Path
    field_separator: str = "\t"
    encoding: str = "utf-8"

    @classmethod
    def of(cls, path: str | PathLike[str], settings: Mapping[str, Any]) -> "AtomicFile":
        """The file at ``path``, written as the configuration ``settings`` says."""
        return cls(Path(path), settings["field_separator"], settings["encoding"] or "utf-8")

    @contextmanager
    def open(self) -> Iterator[TextIO]:
        """Open the text at its beginning, after a byte order mark; only a line feed ends a line.

        Raises:
            GenRecError: the bytes are no text in this encoding.
        """
        # utf-8-sig skips a byte order mark, and reads a text without one as utf-8 does
        is_utf8 = codecs.lookup(self.encoding).name == "utf-8"
        try:
            with open(self.path, encoding="utf-8-sig" if is_utf8 else self.encoding, newline="\n") as text:
                yield text
        except UnicodeDecodeError as error:
            raise GenRecError(
                f"{self.path} is not {self.encoding} text ({error}); set 'encoding' to the file's own."
            ) from error

    def split(self, line: str) -> list[str]:
        """The cells of a line."""
        return _without_end(line).split(self.field_separator)

    def columns(self) -> dict[str, str]:
        """Types of the columns by name, in the order of the header.

        Raises:
            GenRecError: the header is malformed.
        """
        with self.open() as text:
            return self.parse_header(text.readline())

    def parse_header(self, line: str) -> dict[str, str]:
        """Types of the columns by name of a header's ``line``; see :meth:`columns`."""
        columns = {}
        for cell in self.split(line):
            name, _, kind = cell.partition(":")
            if not name or kind not in TYPES:
                raise GenRecError(
                    f"{self.path}, line 1: {shown(cell)} is not 'name:type', such as 'title:token_seq', with a type of "
                    f"{', '.join(TYPES)}."
                )
            if name in columns:
                raise GenRecError(f"{self.path}, line 1: the column {shown(name)} comes twice.")
            columns[name] = kind
        return columns

    def lines(self) -> Iterator[tuple[int, str]]:
        """Line numbers, from 2, and texts of all rows; empty lines are skipped."""
        with self.open() as text:
            for number, line in enumerate(text, start=1):
                if number > 1 and line.strip("\r\n"):
                    yield number, _without_end(line)

    def line(self, row: int) -> tuple[int, str] | None:
        """Number and text of the line that is row ``row``, counted from 0."""
        return next(islice(self.lines(), row, None))

    @contextmanager
    def reading(self) -> Iterator["Reading"]:
        """Context for reading the file once, from the header to the end: a :class:`Reading`.

        Raises:
            GenRecError: the header is malformed, or the bytes are no text in this encoding.
        """
        if b"\0" in ":".encode(self.encoding):  # UTF-16 and UTF-32: the file needs to become UTF-8
            raise GenRecError(holds_nul(self.path, 1))
        with self.open() as text:
            yield Reading(self, text)

    def check(self) -> int:
        """Check that every row has as many cells as the header; see :meth:`Reading.check`."""
        with self.reading() as reading:
            return reading.check()

    def table(self, types: Mapping[str, Any], missing: Mapping[str, Iterable[str]] | None = None) -> Any:
        """Read columns; see :meth:`Reading.table`."""
        with self.reading() as reading:
            return reading.table(types, missing)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Numbers of the lines that are rows, and their cells.

        Raises:
            GenRecError: see :meth:`check`.
        """
        columns = self.columns()
        for number, line in self.lines():
            cells = line.split(self.field_separator)
            if len(cells) != len(columns):
                raise GenRecError(wrong_length(self.path, number, len(cells), columns))
            yield number, cells


class Reading:
    """One reading of an atomic file: its header, then either :meth:`check` or :meth:`table`.

    Args:
        file: :class:`AtomicFile`.
        text: the open file, at its beginning.

    Attributes:
        columns: types of the columns by name, in the order of the header.
    """

    def __init__(self, file: AtomicFile, text: TextIO) -> None:
        self._file, header = file, text.readline()
        self.columns = file.parse_header(header)
        self._blocks = CheckedBlocks(text, header, file.path, file.field_separator, list(self.columns))

    def check(self) -> int:
        """Check that every row has as many cells as the header.

        Returns:
            How many rows there are.

        Raises:
            GenRecError: a row has another length, or the file holds a NUL byte; the message names the line.
        """
        while self._blocks.read():
            pass
        return self._blocks.rows

    def table(self, types: Mapping[str, Any], missing: Mapping[str, Iterable[str]] | None = None) -> Any:
        """Read columns with pandas' C parser. Every row is checked, as in :meth:`check`, before it reaches the parser.

        RecBole reads with pandas' Python parser (``recbole/data/dataset/dataset.py:483``): for a million rows of three
        columns that takes seven times as long and 330 MB instead of 35. It also takes what stands between two quotes
        for one cell, be it a hundred rows, and a separator of several characters for a regular expression.

        Args:
            types: of pandas, by name of the columns to read.
            missing: by name, the texts that stand for a missing value; a column that it does not name has none.

        Returns:
            A ``pandas.DataFrame``, its columns in the order of the file, its index the number of the row from 0.

        Raises:
            GenRecError: see :meth:`check`.
            ValueError: pandas cannot read it.
        """
        cells = {name: f"{name}:{kind}" for name, kind in self.columns.items() if name in types}
        table = _parsed(
            self._blocks,
            self._blocks.separator,
            usecols=list(cells.values()),
            dtype={cell: types[name] for name, cell in cells.items()},
            na_values={cells[name]: list(texts) for name, texts in (missing or {}).items() if name in cells},
        )
        return table.rename(columns={cell: name for name, cell in cells.items()})

    def numbers(self, texts: Iterable[str], missing: Iterable[str]) -> Any:
        """The numbers that :meth:`table` reads from cells, float64.

        Args:
            texts: of the cells.
            missing: the texts that stand for a missing value.

        Raises:
            ValueError: one is no number.
        """
        lines = io.StringIO("\n".join(["number", *texts, ""]))
        table = _parsed(lines, self._blocks.separator, dtype="float64", na_values=list(missing), skip_blank_lines=False)
        return table["number"].to_numpy()


def _parsed(lines: CheckedBlocks | io.StringIO, separator: str, **how: Any) -> Any:
    import pandas as pd  # prompts are read where there is no pandas

    return pd.read_csv(
        lines,
        delimiter=separator,
        lineterminator="\n",
        quoting=csv.QUOTE_NONE,
        float_precision="round_trip",
        keep_default_na=False,
        **how,
    )


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")
