"""Raw files as published: plain, gzipped or inside a zip, read in blocks of whole lines."""

import codecs
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from recbole_genrec.errors import GenRecError

BLOCK_BYTES = 1 << 23
#: no published dump has a line of this length; without a bound a damaged file could fill the memory.
LONGEST_LINE = 1 << 26


class Block(NamedTuple):
    """Some whole lines of a file."""

    #: the lines; each ends in a line feed, the last one of a file too.
    text: bytes
    #: number of the first line, counted from 1.
    first_line: int


@dataclass(frozen=True)
class RawFile:
    """A file of a raw dump: on disk, as it is or gzipped, or the member of a zip."""

    path: Path
    #: name inside the zip; empty for a file of its own.
    member: str = ""

    def __str__(self):
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    def blocks(self, progress=None, size=BLOCK_BYTES) -> Iterator[Block]:
        """Read the file, decompressed, ``size`` bytes at a time.

        Args:
            progress: a ``rich.progress.Progress`` that shows how many bytes on disk were read, or ``None``.
            size: bytes of a block, up to the rest of a line.

        Raises:
            GenRecError: the file cannot be read, is damaged, or has a line without an end.
        """
        with ExitStack() as stack:
            try:
                stream, disk, start, total = self._open(stack)
            except (OSError, zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as error:
                raise self._unreadable(error) from error
            task = progress and progress.add_task(Path(self.member or self.path).name, total=total)
            rest, line, begins = b"", 1, True
            while text := self._read(stream, size):
                if begins:
                    text, begins = text.removeprefix(codecs.BOM_UTF8), False
                end = text.rfind(b"\n") + 1
                if not end:
                    rest += text
                    if len(rest) > LONGEST_LINE:
                        raise GenRecError(f"{self}, line {line}: longer than {LONGEST_LINE:,} bytes.")
                    continue
                block = rest + text[:end]
                rest = text[end:]
                yield Block(block, line)
                line += block.count(b"\n")
                if progress:
                    progress.update(task, completed=disk.tell() - start)
            if rest:
                yield Block(rest + b"\n", line)

    def _open(self, stack):
        disk = stack.enter_context(open(self.path, "rb"))
        if self.member:
            archive = stack.enter_context(zipfile.ZipFile(disk))
            info = archive.getinfo(self.member)
            return stack.enter_context(archive.open(info)), disk, info.header_offset, info.compress_size
        total = self.path.stat().st_size
        if self.path.suffix == ".gz":
            return stack.enter_context(gzip.open(disk)), disk, 0, total
        return disk, disk, 0, total

    def _read(self, stream, size):
        try:
            return stream.read(size)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:  # a truncated gzip ends in EOFError
            raise self._unreadable(error) from error

    def _unreadable(self, error):
        reason = getattr(error, "strerror", None) or error
        return GenRecError(f"Cannot read {self}: {reason}. Is the file complete?")
