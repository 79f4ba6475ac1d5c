"""What is asked for many rows alike, and where their answers go; read before anything heavy is imported."""

from dataclasses import dataclass

#: what a bad row does: ends the run, or has its error written in its place.
STOP, SKIP = "stop", "skip"


@dataclass(frozen=True)
class Manner:
    """What is asked for every row that does not say otherwise.

    Attributes:
        topk, exclude_seen, at: see :meth:`~recbole_genrec.serve.protocol.Recommender.recommend`.
        where: conditions as texts.
        exclude: raw ids left out of every list, beside those that a row names.
        on_error: :data:`STOP` or :data:`SKIP`.
    """

    topk: int = 10
    where: tuple[str, ...] = ()
    exclude_seen: bool = False
    at: str | None = None
    exclude: tuple[str, ...] = ()
    on_error: str = STOP


@dataclass(frozen=True)
class Output:
    """Where answers go.

    Attributes:
        path: the file; ``None``: standard output.
        format: ``jsonl``, ``csv`` or ``parquet``.
        resume: go on with what an earlier run has left.
    """

    path: str | None
    format: str = "jsonl"
    resume: bool = False
