"""The conversion itself: interactions first, then the k-core if one is asked for, then what describes it."""

from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path

import numpy as np

from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.converter.k_core import Distinct, PairFile, contains, k_core


@dataclass(frozen=True)
class Conversion:
    """What a conversion made."""

    #: where the atomic files are.
    folder: Path
    #: the raw file of interactions.
    source: str
    interactions: int
    users: int
    items: int
    #: rows of ``.item``.
    described: int
    #: items of the interactions without a row in ``.item``.
    undescribed: int
    #: rows that were left out because they are malformed.
    malformed: int

    def __str__(self):
        missing = f", {self.undescribed:,} items without metadata" if self.undescribed else ""
        return (
            f"{self.source} -> {self.folder}: {self.interactions:,} interactions of {self.users:,} users with "
            f"{self.items:,} items; {self.described:,} rows of item metadata{missing}."
        )


@dataclass(frozen=True)
class Options:
    """What may be asked of a conversion.

    Raises:
        GenRecError: a number of rows is none.
    """

    #: fetch what is missing, into the folder of the source.
    download: bool = False
    #: raise at the first malformed row; else it is left out, and a warning is logged at the end.
    strict: bool = False
    #: rows that every user must keep, together with ``item_core``: the k-core of the rows. 0: no bound.
    user_core: int = 0
    #: rows that every item must keep.
    item_core: int = 0

    def __post_init__(self):
        for option, value in (("user_core", self.user_core), ("item_core", self.item_core)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise GenRecError(f"{option!r} must be a whole number of at least 0, not {value!r}.")


class Converter:
    """Streams one raw dump into an :class:`~recbole_genrec.interactions.converter.atomic_writer.AtomicWriter`.

    Args:
        dump: the kind of dump. files: atomic suffix -> raw file.
        writer: the writer, entered.
        malformed: takes the malformed rows.
        options: :class:`Options`.
        progress: a ``rich.progress.Progress``, or ``None``.
    """

    def __init__(self, dump, files, writer, malformed, options, progress=None):
        self.dump = dump
        self.files = files
        self.writer = writer
        self.malformed = malformed
        self.user_core, self.item_core = options.user_core, options.item_core
        self.progress = progress

    def run(self) -> Conversion:
        """Convert.

        Raises:
            GenRecError: no row is left.
        """
        filtered = self.user_core or self.item_core
        pairs = PairFile(self.writer.scratch / "pairs") if filtered else None
        rows, users, items = self._write_interactions(pairs)
        if not rows:
            reason = f" {self.malformed}" if self.malformed.count else ""
            raise GenRecError(f"{self.files['inter']} holds no interactions of {self.dump.name!r}.{reason}")
        if filtered:
            core = k_core(pairs, users, items, self.user_core, self.item_core)
            rows, users, items = self._keep(core), core.users, core.items
            if not rows:
                raise GenRecError(
                    f"No row of {self.files['inter']} is left with user_core {self.user_core} and "
                    f"item_core {self.item_core}. Lower them."
                )
        described = self._write_metadata("item", None if self.dump.whole_catalogue and not filtered else items)
        if "user" in self.files:
            self._write_metadata("user", users if filtered else None)
        return Conversion(
            folder=self.writer.folder,
            source=str(self.files["inter"]),
            interactions=rows,
            users=len(users),
            items=len(items),
            described=len(described),
            undescribed=int((~contains(described, items)).sum()),
            malformed=self.malformed.count,
        )

    def _write_interactions(self, pairs):
        users, items, count = Distinct(), Distinct(), 0
        with self._open("inter") as file:
            for rows in self.dump.interactions(self.files["inter"], self.malformed, self.progress):
                file.write(rows.text)
                users.add(rows.users)
                items.add(rows.items)
                count += len(rows.users)
                if pairs:
                    pairs.add(rows.users, rows.items)
        return count, users.keys(), items.keys()

    def _keep(self, core):
        """Rewrite the interactions with the rows of the core alone; return how many they are."""
        count = 0
        with open(self.writer.set_aside("inter"), "rb") as lines, self._open("inter") as file:
            next(lines)  # the header
            for kept in core.kept_rows():
                file.writelines(compress(islice(lines, len(kept)), kept.tolist()))
                count += int(kept.sum())
        return count

    def _write_metadata(self, suffix, wanted):
        """Write the first row of each item or user; of the ``wanted`` ones, if given. Return their keys, sorted.

        Raises:
            GenRecError: the file has rows, and none can be read.
        """
        seen, count, malformed = set(), 0, self.malformed.count
        with self._open(suffix) as file:
            for lines, keys in self.dump.metadata(suffix, self.files[suffix], self.malformed, self.progress):
                count += len(keys)
                kept = np.ones(len(keys), bool) if wanted is None else contains(wanted, keys)
                for line, key in compress(zip(lines, keys.tolist()), kept.tolist()):
                    if key not in seen:
                        seen.add(key)
                        file.write(line.encode(errors="replace") + b"\n")
        if not count and self.malformed.count > malformed:
            raise GenRecError(f"No row of {self.files[suffix]} can be read. {self.malformed}")
        return np.array(sorted(seen), np.uint64)

    def _open(self, suffix):
        file = self.writer.open(suffix)
        file.write(("\t".join(self.dump.columns[suffix]) + "\n").encode())
        return file
