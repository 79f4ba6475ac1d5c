"""The outcome of every test row: its list and the ranks of its targets, in one compressed file beside the run's JSON.

A file that is kept for long has the places without the lists, and counts of the items recommended. What all runs of a
test have in common, such as users and targets, is in a file of its own then, which theirs name.

Letters: R rows, each a test interaction, or a user where candidates are sampled; T targets, K items of a list, M list
lengths.
"""

import hashlib
import re
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from recbole.evaluator.collector import DataStruct

from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.write import replacing
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.training.listeners import Listener
from recbole_genrec.training.row_evaluator import RowEvaluator

#: bound of a count.
_ANY = 2**62
#: arrays of every file, or of the file that all runs of a test share.
OF_THE_TEST = ("items", "item_counts", "users", "user_counts", "rows", "targets")
#: arrays that one run alone has: with its lists, or with counts instead.
WITH_LISTS, WITH_COUNTS = ("lists", "places"), ("places", "lengths", "recommended", "full")
#: folder of the shared files, beside the files that name them or above.
TESTS = "tests"


@dataclass(frozen=True)
class Outcomes:
    """The test of one run. An item is its index in ``items``; index 0 is no item.

    Attributes:
        items: tokens ``[n_items]``.
        item_counts: their training interactions ``[n_items]``.
        users: token of each row's user ``[R]``.
        user_counts: training interactions of that user ``[R]``.
        lists: the items recommended, best first, 0 where the model gave no score ``[R, K]``; None where they are not
            kept, and only then are there the last three.
        rows: each target's row ``[T]``.
        targets: the item ``[T]``.
        places: its rank in the row's list, from 1; 0 where it is not in it ``[T]``.
        lengths: lengths of lists whose items are counted, ascending, K the last ``[M]``.
        recommended: how often each item is among the first ``lengths[m]`` of a list, index 0 the gaps ``[M, n_items]``.
        full: how many lists have neither a gap nor an item twice among their first ``lengths[m]`` ``[M]``.
    """

    items: np.ndarray
    item_counts: np.ndarray
    users: np.ndarray
    user_counts: np.ndarray
    lists: np.ndarray | None
    rows: np.ndarray
    targets: np.ndarray
    places: np.ndarray
    lengths: np.ndarray | None = None
    recommended: np.ndarray | None = None
    full: np.ndarray | None = None

    def write(self, path):
        """Write one file with everything, lists included."""
        names = [field.name for field in fields(self) if field.name in OF_THE_TEST + WITH_LISTS]
        _write(path, {name: getattr(self, name) for name in names})

    def write_counts(self, path, lengths, folder):
        """Write a file with counts instead of lists, and the file that it shares with other runs of the test.

        Args:
            path: of the run's file.
            lengths: the list lengths to count; K is counted in any case.
            folder: the folder of ``path``, or one above: the shared file goes to ``<folder>/tests``.
        """
        counted = self.with_counts(lengths)
        of_the_test = {name: _narrow(getattr(counted, name)) for name in OF_THE_TEST}
        digest = hashlib.sha256(b"".join(array.tobytes() for array in of_the_test.values())).hexdigest()
        shared = Path(folder) / TESTS / f"{digest[:16]}.npz"
        if not shared.is_file():
            _write(shared, of_the_test)
        own = {name: _narrow(getattr(counted, name)) for name in WITH_COUNTS}
        _write(path, {"test": np.array(shared.name), **own})

    def with_counts(self, lengths):
        """The same with counts instead of lists, for ``lengths`` as far as there are so many items, and for K."""
        if self.lists is None:
            return self
        longest = self.lists.shape[1]
        lengths = sorted({length for length in lengths if length < longest} | {longest})
        recommended, full = (np.array(column) for column in zip(*map(self.counts, lengths)))
        return replace(self, lists=None, lengths=np.array(lengths), recommended=recommended, full=full)

    def counts(self, length):
        """What the first ``length`` items of all lists are, or all of shorter lists.

        Returns:
            How often each item is recommended ``[n_items]``, index 0 the gaps, and how many lists have neither a gap
            nor an item twice. None where the file has neither lists nor counts for this length.
        """
        if self.lists is None:
            (at,) = np.nonzero(self.lengths == min(length, self.lengths[-1]))
            return (self.recommended[at[0]], int(self.full[at[0]])) if at.size else None
        lists = self.lists[:, :length]
        ordered = np.sort(lists, 1)
        full = (ordered[:, 0] > 0) & (np.diff(ordered, axis=1) > 0).all(1)
        return np.bincount(lists.ravel(), minlength=len(self.items)), int(full.sum())

    def one_row_a_target(self):
        """The same targets and places, each target in a row of its own; without lists and counts."""
        users, user_counts = self.users[self.rows], self.user_counts[self.rows]
        return replace(self, rows=np.arange(len(self.rows)), users=users, user_counts=user_counts, lists=None)

    @classmethod
    def read(cls, path):
        """Read a file that :meth:`write` or :meth:`write_counts` has written; nothing in it is run.

        Raises:
            GenRecError: it is damaged, or not such a file, or the file that it shares with others is missing.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                if "test" in stored.files:
                    arrays = _read_test(Path(path), str(stored["test"])) | {"lists": None}
                    arrays |= {name: _wide(stored[name]) for name in WITH_COUNTS}
                else:
                    arrays = {name: stored[name] for name in OF_THE_TEST + WITH_LISTS}
                read = cls(**arrays)
                read._check()
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, NotImplementedError, zlib.error) as error:
            raise GenRecError(f"{path} does not hold the outcomes of a test: {str(error)[:200]}.") from error
        return read

    def _check(self):
        """Refuse arrays that do not belong together.

        Raises:
            ValueError: an array has another form, or numbers of rows and items that are not there.
        """
        own = WITH_COUNTS if self.lists is None else WITH_LISTS
        for name in OF_THE_TEST + own:
            array, dimensions = getattr(self, name), 2 if name in ("lists", "recommended") else 1
            if not isinstance(array, np.ndarray) or array.ndim != dimensions or not array.size:
                raise ValueError(f"{name!r} is no array of {dimensions} dimensions")
        n_rows, n_items = len(self.users if self.lists is None else self.lists), len(self.items)
        numbers = {"rows": n_rows, "targets": n_items, "item_counts": _ANY, "user_counts": _ANY}
        shapes = {"item_counts": (n_items,), "users": (n_rows,), "user_counts": (n_rows,)}
        shapes |= dict.fromkeys(("rows", "targets", "places"), self.rows.shape)
        if self.lists is None:
            if self.lengths.dtype.kind not in "iu" or (np.diff(self.lengths, prepend=0) < 1).any():
                raise ValueError("'lengths' are no whole numbers that rise from 1")
            numbers |= {"recommended": _ANY, "full": n_rows + 1, "places": self.lengths[-1] + 1}
            shapes |= {"recommended": (len(self.lengths), n_items), "full": (len(self.lengths),)}
        else:
            numbers |= {"lists": n_items, "places": self.lists.shape[1] + 1}
        for name, count in numbers.items():
            array = getattr(self, name)
            if array.dtype.kind not in "iu" or ((array < 0) | (array >= count)).any():
                raise ValueError(f"{name!r} holds something else than whole numbers from 0 to {count - 1}")
        for name in ("items", "users"):
            if getattr(self, name).dtype.kind != "U":
                raise ValueError(f"{name!r} holds no texts")
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name!r} has the shape {getattr(self, name).shape}, not {shape}")
        if self.lists is None:
            if (self.recommended.sum(1) != self.lengths * len(self.users)).any():
                raise ValueError("'recommended' has another number of items than the lists")
            return
        found = self.places > 0
        if (self.lists[self.rows[found], self.places[found] - 1] != self.targets[found]).any():
            raise ValueError("'places' says that a target is where 'lists' has another item")

    def metrics(self, names, lengths):
        """RecBole's top-k metrics of every row.

        Args:
            names: such as ``["Hit", "NDCG"]``.
            lengths: of the lists, none above K.

        Returns:
            By name, such as ``ndcg@10``, the metric ``[R]``.
        """
        longest = max(lengths)
        hits = np.zeros((len(self.users), longest + 1), np.int64)
        found = (self.places > 0) & (self.places <= longest)
        hits[self.rows[found], self.places[found] - 1] = 1
        hits[:, -1] = np.bincount(self.rows, minlength=len(hits))  # as RecBole has it: the number of targets comes last
        evaluator = RowEvaluator({"metrics": list(names), "topk": list(lengths), "metric_decimal_place": 6})
        collected = DataStruct()
        collected.set("rec.topk", torch.from_numpy(hits))
        evaluator.evaluate(collected)
        return evaluator.rows


def _write(path, arrays):
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def _narrow(array):
    """Whole numbers in as few bytes as they need."""
    return array.astype(np.min_scalar_type(array.max())) if array.dtype.kind in "iu" else array


def _wide(array):
    whole = isinstance(array, np.ndarray) and array.dtype.kind in "iu"
    return array.astype(np.int64) if whole else array


def _read_test(path, name):
    """The arrays of the file that the runs of a test share, in a folder ``tests`` beside ``path`` or above it."""
    if not re.fullmatch(r"\w+\.npz", name):
        raise ValueError(f"'test' is no name of a file: {name!r}")
    candidates = (folder / TESTS / name for folder in path.absolute().parents)
    shared = next(filter(Path.is_file, candidates), None)
    if shared is None:
        raise ValueError(f"there is no {TESTS}/{name} beside it or above, with the users and targets of its test")
    with np.load(shared, allow_pickle=False) as stored:
        return {name: _wide(stored[name]) for name in OF_THE_TEST}


class RankedLists(Listener):
    """Record the lists of an evaluation and the ranks of the targets; RecBole's collector keeps no items.

    Args:
        length: of the lists, K.
    """

    def __init__(self, length):
        self.length = length
        self._lists, self._rows, self._targets, self._places = [], [], [], []
        self._n_rows = 0

    def batch_scored(self, scores, rows, targets):
        """Keep a batch; see :meth:`Listener.batch_scored`."""
        best, lists = (part.cpu().numpy() for part in torch.topk(scores, self.length, dim=-1))  # [B, K]
        rows, targets = rows.cpu().numpy(), targets.cpu().numpy()
        hits = lists[rows] == targets[:, None]  # [T, K]
        self._places.append(np.where(hits.any(1), hits.argmax(1) + 1, 0))
        self._lists.append(np.where(np.isneginf(best), 0, lists).astype(np.int32))
        self._rows.append(rows + self._n_rows)
        self._targets.append(targets)
        self._n_rows += len(lists)

    def _take_in(self, everyone):
        """Concatenate the batches of all processes."""
        self._lists, self._rows, self._targets, self._places, self._n_rows = [], [], [], [], 0
        for lists, rows, targets, places, n_rows in everyone:
            self._lists += lists
            self._rows += [row + self._n_rows for row in rows]
            self._targets += targets
            self._places += places
            self._n_rows += n_rows

    def outcomes(self, users, train):
        """All batches together, those of other processes too.

        Args:
            users: whose row each row is ``[R]``, RecBole's ids.
            train: the training part of the split.

        Returns:
            :class:`Outcomes`, or None where no list was ranked, as in the evaluation of ratings.
        """
        self._take_in(current().gather((self._lists, self._rows, self._targets, self._places, self._n_rows)))
        if not self._lists:
            return None
        item_counts, user_counts = training_counts(train)
        tokens = np.asarray(train.field2id_token[train.iid_field], str)
        return Outcomes(
            items=tokens,
            item_counts=item_counts,
            users=np.asarray(train.id2token(train.uid_field, users), str),
            user_counts=user_counts[users],
            lists=np.concatenate(self._lists),
            **{
                name: np.concatenate(parts).astype(np.int32)
                for name, parts in (("rows", self._rows), ("targets", self._targets), ("places", self._places))
            },
        )


def training_counts(train):
    """Training interactions of every item ``[n_items]`` and every user ``[n_users]``, RecBole's ids.

    A user's first item counts too, although it is no target. Pre-split files (``benchmark_filename``) say what is a
    target alone.
    """
    try:
        users, items, offsets = train_sequences(train)
        users = np.repeat(users, np.diff(offsets))
    except GenRecError:
        users, items = (train.inter_feat[field].numpy() for field in (train.uid_field, train.iid_field))
    counts = np.bincount(items, minlength=train.item_num), np.bincount(users, minlength=train.user_num)
    return tuple(count.astype(np.int32) for count in counts)
