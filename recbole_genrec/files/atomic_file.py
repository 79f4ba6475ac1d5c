"""The reader of RecBole's atomic files, such as ``.inter``, ``.item`` and ``.user``: every part of the package uses it.

A line feed ends a row; a carriage return right before it belongs to it, any other one to its cell. Nothing else is
interpreted: a quote is a character, and an id may be called ``NA``. A byte order mark is skipped. The separator may
have several characters.
"""

import codecs
import csv
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from recbole_genrec.errors import GenRecError, listed, shown

TYPES = ("token", "token_seq", "float", "float_seq")
#: stands for a separator of several characters where pandas reads: its C parser takes one.
STAND_IN = "\x1f"
#: characters that are read at once, up to the end of a line.
BLOCK = 1 << 20


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
    def of(cls, path, settings):
        """The file at ``path``, written as the configuration ``settings`` says."""
        return cls(Path(path), settings["field_separator"], settings["encoding"] or "utf-8")

    @contextmanager
    def open(self):
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

    def split(self, line):
        """The cells of a line."""
        return _without_end(line).split(self.field_separator)

    def columns(self):
        """Types of the columns by name, in the order of the header.

        Raises:
            GenRecError: the header is malformed.
        """
        with self.open() as text:
            return self._parse_header(text.readline())

    def _parse_header(self, line):
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

    def lines(self):
        """Numbers, from 2, and texts of the lines that are rows; empty lines are none."""
        with self.open() as text:
            for number, line in enumerate(text, start=1):
                if number > 1 and line.strip("\r\n"):
                    yield number, _without_end(line)

    def line(self, row):
        """Number and text of the line that is row ``row``, counted from 0."""
        return next(islice(self.lines(), row, None))

    def check(self):
        """Check that every row has as many cells as the header.

        Returns:
            How many rows there are.

        Raises:
            GenRecError: the header is malformed, or a row has another length; the message names its line.
        """
        separators, separator, rows = len(self.columns()) - 1, self.field_separator, 0
        with self.open() as text:
            text.readline()
            for number, line in enumerate(text, start=2):
                if line.count(separator) == separators:
                    rows += bool(separators or line.strip("\r\n"))
                elif line.strip("\r\n"):
                    raise GenRecError(self._wrong_length(number, line.count(separator) + 1))
        return rows

    def rows(self):
        """Numbers of the lines that are rows, and their cells.

        Raises:
            GenRecError: see :meth:`check`.
        """
        columns = self.columns()
        for number, line in self.lines():
            cells = line.split(self.field_separator)
            if len(cells) != len(columns):
                raise GenRecError(self._wrong_length(number, len(cells)))
            yield number, cells

    def _wrong_length(self, line, count):
        columns = self.columns()
        return (
            f"{self.path}, line {line}: {count} cells where the header has {len(columns)}. Columns: {listed(columns)}."
        )

    def table(self, types, missing=None):
        """Read columns with pandas' C parser.

        RecBole reads with pandas' Python parser (``recbole/data/dataset/dataset.py:483``): for a million rows of three
        columns that takes seven times as long and 330 MB instead of 35. It also takes what stands between two quotes
        for one cell, be it a hundred rows, and a separator of several characters for a regular expression.

        Args:
            types: of pandas, by name of the columns to read.
            missing: by name, the texts that stand for a missing value; a column that it does not name has none.

        Returns:
            A ``pandas.DataFrame``, its columns in the order of the file, its index the number of the row from 0.

        Raises:
            GenRecError: the header is malformed, or the file holds a NUL byte.
            ValueError: pandas cannot read it.
        """
        import pandas as pd  # prompts are read where there is no pandas

        cells = {name: f"{name}:{kind}" for name, kind in self.columns().items() if name in types}
        self._check_bytes()
        several = len(self.field_separator.encode()) > 1
        with self.open() as text:
            table = pd.read_csv(
                _Blocks(text, self.field_separator if several else None, self.path),
                delimiter=STAND_IN if several else self.field_separator,
                lineterminator="\n",
                usecols=list(cells.values()),
                dtype={cell: types[name] for name, cell in cells.items()},
                quoting=csv.QUOTE_NONE,
                float_precision="round_trip",
                keep_default_na=False,
                na_values={cells[name]: list(texts) for name, texts in (missing or {}).items() if name in cells},
            )
        return table.rename(columns={cell: name for name, cell in cells.items()})

    def _check_bytes(self):
        """Refuse a file with a NUL, at which pandas ends a cell: two ids that part behind it would be one.

        UTF-16 and UTF-32 are full of them, so that a file in either needs to become UTF-8.
        """
        line = 1
        with open(self.path, "rb") as file:
            while block := file.read(BLOCK):
                place = block.find(b"\0")
                if place >= 0:
                    line += block.count(b"\n", 0, place)
                    raise GenRecError(f"{self.path}, line {line}: the file holds a NUL byte; it must be text in UTF-8.")
                line += block.count(b"\n")


def _without_end(line):
    return line.removesuffix("\n").removesuffix("\r")


class _Blocks:
    """A text in blocks of whole lines for pandas: line ends become line feeds, a long separator one character."""

    def __init__(self, text, separator, path):
        self._text, self._separator, self._path = text, separator, path

    def __iter__(self):  # by this pandas knows a file
        return iter(self._text)

    def read(self, _):
        block = self._text.read(BLOCK) + self._text.readline()
        block = block.replace("\r\n", "\n")
        if self._separator is not None:
            if STAND_IN in block:
                raise GenRecError(
                    f"{self._path} holds the control character {STAND_IN!r}, which cannot stand beside a "
                    f"'field_separator' of several characters ({self._separator!r})."
                )
            block = block.replace(self._separator, STAND_IN)
        return block
