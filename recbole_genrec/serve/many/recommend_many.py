"""Recommendations for many rows: block after block, in memory that does not grow with them, alone or by processes.

A block holds as many rows as the model ranks at once. Of P processes, process p answers blocks p, p + P, ..., so that
the answers are those of one process.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from itertools import islice
from time import monotonic
from typing import Any

from tqdm import tqdm

from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError, Interrupted
from recbole_genrec.serve.many.answered_rows import RowAnswers
from recbole_genrec.serve.many.asked_rows import AskedRow, Source, check_processes
from recbole_genrec.serve.many.manner import Manner, Output
from recbole_genrec.serve.many.row_parts import Part, as_text, first_asked, join_parts, remove_parts
from recbole_genrec.serve.protocol import Recommender

#: seconds between two lines of progress where there is no terminal.
EVERY = 30.0


class Progress:
    """A bar on a terminal, else a line every so often; both on standard error.

    Args:
        total: number of rows, ``None`` where it is not known.
        shown: false for a process that says nothing.
    """

    def __init__(self, total: int | None, shown: bool = True) -> None:
        self.total, self.done, self._new, self._shown = total, 0, 0, shown
        self._begin = self._last = monotonic()
        self._bar = tqdm(total=total, unit="row", file=sys.stderr) if shown and sys.stderr.isatty() else None

    def update(self, rows: int, answered: bool = True) -> None:
        """Count rows; those that an earlier run has answered are no measure of speed."""
        self.done += rows
        self._new += rows * answered
        if self._bar is not None:
            self._bar.update(rows)
        elif self._shown and monotonic() - self._last >= EVERY:
            self._say()

    def _say(self) -> None:
        self._last = monotonic()
        of = "" if self.total is None else f" of {self.total:,}"
        speed = self._new / max(self._last - self._begin, 1e-9)
        print(f"{self.done:,}{of} rows, {speed:,.0f} rows/s", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Say the last line."""
        if self._bar is not None:
            self._bar.close()
        elif self._shown:
            self._say()


def recommend_many(
    recommender: Recommender,
    source: Source,
    manner: Manner,
    output: Output,
    all_users: bool = False,
    identity: Mapping[str, Any] | None = None,
) -> int:
    """Answer all rows of a source.

    Args:
        recommender: :class:`~recbole_genrec.serve.protocol.Recommender`.
        source: of the rows.
        manner: what is asked for each.
        output: where answers go. An earlier file is replaced when the last row is answered.
        all_users: also ask for every user of the dataset, behind the other rows.
        identity: of the checkpoint, as JSON holds it: a run goes on with the same one alone.

    Returns:
        The number of rows.

    Raises:
        GenRecError: a row is not accepted, with its place; or the output cannot go on with an earlier run's. The blocks
            before are kept for ``resume``.
    """
    world = current()
    if world.size > 1:
        check_processes(source, output.path)
    asked = _asked(recommender, source, manner, output, all_users)
    manner = replace(manner, at=asked["at"])
    users = recommender.users() if all_users else None
    count = source.count()
    progress = Progress(None if count is None else count + len(users or ()), world.is_first)
    blocks = _blocks(source.rows(users), recommender.batch_size)
    answers = RowAnswers(recommender, manner)
    if output.path is None:
        return _stream(answers, blocks, output.format, progress)
    part = Part(output.path, world.rank, asked | dict(identity or {}), output.resume)
    try:
        total = _write(part, answers, blocks, output.format, progress)
    except GenRecError as error:
        raise GenRecError(f"{error} {_kept(part, output)}") from error
    except Interrupted as stop:
        raise Interrupted(stop.signal, f"{stop} {_kept(part, output)}") from None
    finally:
        part.close()
        progress.close()
    world.wait()
    if world.is_first:
        remove_parts(output.path, from_rank=world.size)  # of an earlier run with more processes
        join_parts(output.path, world.size, output.format)
    world.wait()
    return total


def _asked(recommender: Recommender, source: Source, manner: Manner, output: Output, all_users: bool) -> dict[str, Any]:
    """All that the answers depend on but the checkpoint, as JSON holds it; now is now in the first run."""
    asked = {**asdict(manner), **asdict(source), "all_users": all_users, "format": output.format}
    asked |= {key: list(value) for key, value in asked.items() if isinstance(value, tuple)}
    asked |= {"processes": current().size, "rows in a block": recommender.batch_size}
    if manner.at is None and recommender.context.reads_now:
        before = first_asked(output.path) if output.path is not None and output.resume else {}
        asked["at"] = current().from_first(lambda: before.get("at") or datetime.now(timezone.utc).isoformat())
    return asked


def _blocks(rows: Iterable[AskedRow], size: int) -> Iterator[Sequence[AskedRow]]:
    rows = iter(rows)
    while block := list(islice(rows, size)):
        yield block


def _stream(answers: RowAnswers, blocks: Iterable[Sequence[AskedRow]], format: str, progress: Progress) -> int:
    """Write to standard output."""
    for number, rows in enumerate(blocks):
        sys.stdout.write(as_text(answers(rows), format, header=number == 0))
        sys.stdout.flush()
        progress.update(len(rows))
    progress.close()
    return progress.done


def _write(
    part: Part, answers: RowAnswers, blocks: Iterable[Sequence[AskedRow]], format: str, progress: Progress
) -> int:
    """Write this process's blocks; returns the number of all rows."""
    world, own = current(), 0
    for number, rows in enumerate(blocks):
        if number % world.size == world.rank:
            is_there, own = own < part.blocks, own + 1
            if is_there:
                part.pass_over(rows)
            else:
                part.write(rows, as_text(answers(rows), format, header=number == 0))
            progress.update(len(rows), not is_there)
        else:
            progress.update(len(rows))
    part.check_end()
    return progress.done


def _kept(part: Part, output: Output) -> str:
    return f"The rows before are kept beside {output.path}: --resume goes on with them." if part.kept else ""
