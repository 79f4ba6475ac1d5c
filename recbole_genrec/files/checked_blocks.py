"""An atomic file in blocks of whole lines, checked on the way to a parser, so that the file is read only once."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TextIO

from recbole_genrec.errors import GenRecError, listed

#: stands for a separator of several characters where pandas reads: its C parser takes one.
STAND_IN = "\x1f"
#: characters that are read at once, up to the end of a line.
BLOCK = 1 << 20


class CheckedBlocks:
    """Blocks of rows: line ends become line feeds, a separator of several bytes :data:`STAND_IN`, empty lines nothing.

    Args:
        text: the open file, behind its header.
        header: the header's line; it is the first line of the first block.
        path: of the file, for errors.
        separator: what stands between two cells in the file.
        columns: names of the columns.

    Attributes:
        separator: what stands between two cells in a block, one byte.
        rows: how many there were so far, without the header.
    """

    def __init__(self, text: TextIO, header: str, path: Path, separator: str, columns: list[str]) -> None:
        self._text, self._ahead, self._path, self._columns = text, header, path, columns
        self._in_file = separator
        self.separator = separator if len(separator.encode()) == 1 else STAND_IN
        self._regular = self.separator.encode() * (len(columns) - 1) + b"\n"  # a line but for its cells
        self._others = bytes(set(range(256)) - set(self._regular))
        self._lines = 0
        self.rows = -1  # the header is counted with the first block

    def __iter__(self) -> Iterator[bytes]:  # by this pandas knows a file
        return iter(self.read, b"")

    def read(self, _: object = None) -> bytes:
        """The next block in UTF-8; empty at the end.

        Raises:
            GenRecError: a row has another number of cells than the header, or a character must not be there.
        """
        while block := self._ahead + self._text.read(BLOCK) + self._text.readline():
            self._ahead = ""
            if rows := self._checked(block):
                return rows
        return b""

    def _checked(self, block: str) -> bytes:
        block = block.replace("\r\n", "\n")
        if not block.endswith("\n"):  # the file's last line
            block = block.removesuffix("\r") + "\n"
        if self.separator != self._in_file:
            if STAND_IN in block:
                raise GenRecError(
                    f"{self._path} holds the control character {STAND_IN!r}, which cannot stand beside a "
                    f"'field_separator' of several characters ({self._in_file!r})."
                )
            block = block.replace(self._in_file, self.separator)
        place = self._first_nul(block)
        encoded = block.encode()
        lines = self._regular_lines(encoded)
        if lines is None:
            lines, encoded = self._rows_of(block)
        if place >= 0:
            raise GenRecError(holds_nul(self._path, self._lines + block.count("\n", 0, place) + 1))
        self._lines += lines
        return encoded

    @staticmethod
    def _first_nul(block: str) -> int:
        """Position of the first NUL, or -1. pandas ends a cell there: ids that differ behind it would become one."""
        return block.find("\0")

    def _regular_lines(self, encoded: bytes) -> int | None:
        """Number of lines if each has a cell for every column; ``None`` if one differs or may be empty."""
        width = len(self._columns)
        marks = encoded.translate(None, self._others)
        lines, rest = divmod(len(marks), width)
        if width == 1 or rest or marks != self._regular * lines:
            return None
        self.rows += lines
        return lines

    def _rows_of(self, block: str) -> tuple[int, bytes]:
        """How many lines there are, and those that are rows, each checked by itself."""
        lines, rows = block.removesuffix("\n").split("\n"), []
        for number, line in enumerate(lines, start=self._lines + 1):
            if not line.strip("\r"):
                continue
            count = line.count(self.separator) + 1
            if count != len(self._columns):
                raise GenRecError(wrong_length(self._path, number, count, self._columns))
            rows.append(line + "\n")
        self.rows += len(rows)
        return len(lines), "".join(rows).encode()


def wrong_length(path: Path, line: int, count: int, columns: Collection[str]) -> str:
    """Say that a line has ``count`` cells, which are not those of the ``columns``."""
    return f"{path}, line {line}: {count} cells where the header has {len(columns)}. Columns: {listed(columns)}."


def holds_nul(path: Path, line: int) -> str:
    """Say that a line holds a NUL byte."""
    return f"{path}, line {line}: the file holds a NUL byte; it must be text in UTF-8."
