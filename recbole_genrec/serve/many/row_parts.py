"""The output of many rows: written block by block under temporary names, gone on with after a stop, then renamed.

Every process writes a part of its own, ``.<name>.part<rank>``, and beside it a journal, ``.<name>.journal<rank>``: in
the first line what was asked, then a line for each block that is on the disk. Of P processes, process p answers blocks
p, p + P, ...; at the end the blocks of all parts are joined in order. Three blocks and two processes::

    .out.jsonl.part0     block 0, block 2       .out.jsonl.journal0    {"asked": ...}
    .out.jsonl.part1     block 1                                       {"rows": 64, "end": 9120, "sum": "5f..."}
                                                                       {"rows": 10, "end": 10543, "sum": "c0..."}

``end`` is the size of the part behind the block, ``sum`` the SHA-256 of the rows that were asked so far, so that a run
which goes on notices another input. What stands behind the last whole line of a journal is cut off: a run that was
killed at any moment goes on at a block, with the same blocks as a run that was not, and so writes the same bytes.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recbole_genrec.errors import GenRecError, listed, shown
from recbole_genrec.files.write import put_file, replacing
from recbole_genrec.serve.many.asked_rows import AskedRow

#: formats by the ending of a file.
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}
#: columns of a table: one line for each item of a list, or one for a list that is empty or failed.
COLUMNS = ("row", "id", "user", "rank", "item_id", "title", "probability", "score", "error")
#: lines of a part that become a row group of a Parquet file.
_GROUP = 5000


def format_of(output: str | None, named: str | None) -> str:
    """The format of an output: the one that is named, else by the ending; JSON lines without one.

    Raises:
        GenRecError: the ending is none, a format is not for standard output, or its library is missing.
    """
    if named is None and output is not None:
        named = FORMATS.get(Path(output).suffix.lower())
        if named is None:
            raise GenRecError(
                f"command line: the format of {output!r} cannot be told by its ending, which is none of "
                f"{listed(FORMATS)}: give --format."
            )
    named = named or "jsonl"
    if named == "parquet" and output is None:
        raise GenRecError("command line: --format=parquet needs a file: give --output.")
    if named == "parquet" and find_spec("pyarrow") is None:
        raise GenRecError("command line: Parquet files need pyarrow: pip install 'recbole_genrec[parquet]'.")
    return named


def as_text(answers: Sequence[Mapping[str, Any]], format: str, header: bool = False) -> str:
    """Answers as text: lines of CSV, or JSON lines, which a Parquet file is made of at the end.

    Args:
        answers: from :class:`~recbole_genrec.serve.many.answered_rows.RowAnswers`.
        format: ``jsonl``, ``csv`` or ``parquet``.
        header: begin with the line of CSV's column names.
    """
    if format != "csv":
        return "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    for answer in answers:
        writer.writerows(table_rows(answer))
    return text.getvalue()


def table_rows(answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """An answer as rows of a table with :data:`COLUMNS`; what does not apply is absent."""
    head = {name: answer.get(name) for name in ("row", "id", "user", "error")}
    for listed_item in answer.get("recommendations") or [{}]:
        yield {**head, **listed_item}


class Part:
    """The part of one process.

    Args:
        output: the file that all parts become.
        rank: of the process, from 0.
        asked: what is asked, as JSON holds it; a run goes on only where it is the same.
        resume: go on with what an earlier run has left; else it is removed.

    Attributes:
        blocks: how many an earlier run has left on the disk.
        kept: how many are on the disk.

    Raises:
        GenRecError: the earlier run was asked for something else.
    """

    def __init__(self, output: str, rank: int, asked: Mapping[str, Any], resume: bool = False) -> None:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.journal_path = (path.with_name(f".{path.name}.{kind}{rank}") for kind in ("part", "journal"))
        self.blocks, self._rows, self._sum = 0, 0, hashlib.sha256()  # rows of the earlier run that are yet to be passed
        self._expected: str | None = None
        end = kept = 0
        if resume and self.journal_path.is_file():
            end, kept = self._read_journal(asked)
        self.kept = self.blocks
        self._file = self.path.open("r+b" if end else "wb")
        self._file.truncate(end)
        self._file.seek(end)
        self._journal = self.journal_path.open("r+b" if kept else "wb")
        self._journal.truncate(kept)
        self._journal.seek(kept)
        if not kept:
            self._note({"asked": asked})

    def _read_journal(self, asked: Mapping[str, Any]) -> tuple[int, int]:
        """Sizes of the part and of the journal up to the last block that is whole."""
        size = self.path.stat().st_size if self.path.is_file() else 0
        end = kept = 0
        for number, (line, length) in enumerate(_whole_lines(self.journal_path)):
            if number == 0:
                self._compare(line["asked"], asked)
            elif line["end"] > size:
                break
            else:
                end, self._rows, self._expected = line["end"], self._rows + line["rows"], line["sum"]
                self.blocks += 1
            kept += length
        return end, kept

    def _compare(self, before: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        for key in [*asked, *before]:
            if before.get(key) != asked.get(key):
                raise GenRecError(
                    f"--resume: the run that left {str(self.path)!r} was asked with {key!r} {shown(before.get(key))}, "
                    f"not {shown(asked.get(key))}. Ask the same, or start anew without --resume."
                )

    def pass_over(self, rows: Sequence[AskedRow]) -> None:
        """Go past a block of rows that an earlier run has answered.

        Raises:
            GenRecError: with the last such block, where the rows are not those of the earlier run.
        """
        self._add(rows)
        self._rows -= len(rows)
        if self._rows <= 0 and (self._rows < 0 or self._sum.hexdigest() != self._expected):
            raise GenRecError(
                f"--resume: the rows up to {rows[-1].place} are not those that the earlier run answered. Start anew "
                "without --resume."
            )

    def write(self, rows: Sequence[AskedRow], text: str) -> None:
        """Write the answers to a block of rows, onto the disk."""
        self._add(rows)
        self._file.write(text.encode())
        _flush(self._file)
        self.kept += 1
        self._note({"rows": len(rows), "end": self._file.tell(), "sum": self._sum.hexdigest()})

    def _add(self, rows: Sequence[AskedRow]) -> None:
        for row in rows:
            self._sum.update(f"{row.is_user:d}{row.text}\n".encode())

    def _note(self, line: Mapping[str, Any]) -> None:
        self._journal.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        _flush(self._journal)

    def check_end(self) -> None:
        """Refuse an input that ends before what the earlier run has answered.

        Raises:
            GenRecError: it does.
        """
        if self._expected is not None and self._rows > 0:
            raise GenRecError(
                f"--resume: the earlier run answered {self._rows} more rows than there are now. Start anew without "
                "--resume."
            )

    def close(self) -> None:
        """Close the files, which stay where they are."""
        self._file.close()
        self._journal.close()


def first_asked(output: str) -> dict[str, Any]:
    """What the run was asked that left the first process's journal; empty where there is none."""
    path = Path(output)
    journal = path.with_name(f".{path.name}.journal0")
    line = next(_whole_lines(journal), None) if journal.is_file() else None
    return {} if line is None else line[0]["asked"]


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _whole_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Lines of a journal and their sizes, up to one that was cut off."""
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield json.loads(line), len(line)


def remove_parts(output: str, from_rank: int = 0) -> None:
    """Remove the parts and journals of an output, of the processes from a rank on."""
    path = Path(output)
    for kind in ("part", "journal"):
        prefix = f".{path.name}.{kind}"
        for found in path.parent.glob(f"{_escaped(prefix)}*"):
            rank = found.name.removeprefix(prefix)
            if rank.isdecimal() and int(rank) >= from_rank:
                found.unlink()


def _escaped(text: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)


def join_parts(output: str, processes: int, format: str) -> None:
    """Make the output of all parts, and remove these; an output that was there is replaced."""
    path = Path(output)
    if processes == 1 and format != "parquet":
        put_file(path.with_name(f".{path.name}.part0"), path)
    else:
        with replacing(path) as temporary:
            if format == "parquet":
                _write_parquet(temporary, _blocks(path, processes))
            else:
                with temporary.open("wb") as file:
                    file.writelines(_blocks(path, processes))
    remove_parts(output)


def _blocks(path: Path, processes: int) -> Iterator[bytes]:
    """The blocks of all parts, in order."""
    parts = [path.with_name(f".{path.name}.part{rank}").open("rb") for rank in range(processes)]
    journals = [_whole_lines(path.with_name(f".{path.name}.journal{rank}")) for rank in range(processes)]
    try:
        for journal in journals:
            next(journal)  # what was asked
        block = 0
        while (line := next(journals[block % processes], None)) is not None:
            part = parts[block % processes]
            yield part.read(line[0]["end"] - part.tell())
            block += 1
    finally:
        for part in parts:
            part.close()


def _write_parquet(path: Path, blocks: Iterator[bytes]) -> None:
    """Write a Parquet file with :data:`COLUMNS`, a row group at a time."""
    import pyarrow
    import pyarrow.parquet

    kinds = {"row": pyarrow.int64(), "rank": pyarrow.int32()}
    kinds |= dict.fromkeys(("probability", "score"), pyarrow.float64())
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        rows: list[dict[str, Any]] = []
        for block in blocks:
            for line in block.decode().split("\n")[:-1]:  # titles may hold other ends of lines
                for row in table_rows(json.loads(line)):
                    given = row["id"]
                    rows.append(row | {"id": None if given is None else str(given), "user": _text(row["user"])})
            while len(rows) >= _GROUP:
                writer.write_table(pyarrow.Table.from_pylist(rows[:_GROUP], schema))
                rows = rows[_GROUP:]
        writer.write_table(pyarrow.Table.from_pylist(rows, schema))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
