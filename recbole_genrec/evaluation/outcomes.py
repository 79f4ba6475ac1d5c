"""What a test gave every row: the list, and each target's place in it; one compressed file beside the run's JSON.

Letters: R rows, each a test interaction, or a user where candidates are sampled; T targets, K items of a list.
"""

import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from zipfile import BadZipFile

import numpy as np
import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.utils import EvaluatorType

from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError
from recbole_genrec.evaluation.confidence import RowMetrics
from recbole_genrec.files.write import replacing
from recbole_genrec.interactions.dataset import train_sequences

#: bound of a count.
_ANY = 2**62


@dataclass(frozen=True)
class Outcomes:
    """The test of one run. An item is its place in ``items``; place 0 is no item.

    Attributes:
        items: tokens ``[n_items]``.
        item_counts: their training interactions ``[n_items]``.
        users: token of each row's user ``[R]``.
        user_counts: training interactions of that user ``[R]``.
        lists: the items recommended, best first, 0 where the model gave no score ``[R, K]``.
        rows: each target's row ``[T]``.
        targets: the item ``[T]``.
        places: its place in the row's list, from 1; 0 where it is not in it ``[T]``.
    """

    items: np.ndarray
    item_counts: np.ndarray
    users: np.ndarray
    user_counts: np.ndarray
    lists: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    places: np.ndarray

    def write(self, path):
        """Write the file under a temporary name, then give it its own."""
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **asdict(self))

    @classmethod
    def read(cls, path):
        """Read a file that :meth:`write` has written; nothing in it is run.

        Raises:
            GenRecError: it is damaged, or not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                read = cls(**{field.name: stored[field.name] for field in fields(cls)})
                read._check()
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, NotImplementedError, zlib.error) as error:
            raise GenRecError(f"{path} does not hold the outcomes of a test: {error}.") from error
        return read

    def _check(self):
        """Refuse arrays that do not belong together.

        Raises:
            ValueError: an array has another form, or numbers of rows and items that are not there.
        """
        for field in fields(self):
            array, dimensions = getattr(self, field.name), 2 if field.name == "lists" else 1
            if not isinstance(array, np.ndarray) or array.ndim != dimensions or not array.size:
                raise ValueError(f"{field.name!r} is no array of {dimensions} dimensions")
        numbers = {"rows": len(self.lists), "targets": len(self.items), "places": self.lists.shape[1] + 1}
        numbers |= {"lists": len(self.items), "item_counts": _ANY, "user_counts": _ANY}
        lengths = {"item_counts": len(self.items), "users": len(self.lists), "user_counts": len(self.lists)}
        lengths |= dict.fromkeys(("rows", "targets", "places"), len(self.rows))
        for name, count in numbers.items():
            array = getattr(self, name)
            if array.dtype.kind not in "iu" or ((array < 0) | (array >= count)).any():
                raise ValueError(f"{name!r} holds something else than whole numbers from 0 to {count - 1}")
        for name in ("items", "users"):
            if getattr(self, name).dtype.kind != "U":
                raise ValueError(f"{name!r} holds no texts")
        for name, length in lengths.items():
            if getattr(self, name).shape != (length,):
                raise ValueError(f"{name!r} has the shape {getattr(self, name).shape}, not {(length,)}")
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
        hits = np.zeros((len(self.lists), longest + 1), np.int64)
        found = (self.places > 0) & (self.places <= longest)
        hits[self.rows[found], self.places[found] - 1] = 1
        hits[:, -1] = np.bincount(self.rows, minlength=len(hits))  # as RecBole has it: the number of targets comes last
        evaluator = Evaluator({"metrics": list(names), "topk": list(lengths), "metric_decimal_place": 6})
        rows, collected = RowMetrics(evaluator), DataStruct()
        collected.set("rec.topk", torch.from_numpy(hits))
        evaluator.evaluate(collected)
        return rows.values


class Collected:
    """Lists and places of an evaluation, batch by batch."""

    def __init__(self):
        self._lists, self._rows, self._targets, self._places = [], [], [], []
        self._n_rows = 0

    def add(self, scores, row, target, length):
        """Take a batch: scores ``[B, n_items]``, and row in the batch and item of every target, ``[T]`` each."""
        best, lists = (part.cpu().numpy() for part in torch.topk(scores, length, dim=-1))
        row, target = row.cpu().numpy(), target.cpu().numpy()
        at = lists[row] == target[:, None]  # [T, K]
        self._places.append(np.where(at.any(1), at.argmax(1) + 1, 0))
        self._lists.append(np.where(np.isneginf(best), 0, lists).astype(np.int32))
        self._rows.append(row + self._n_rows)
        self._targets.append(target)
        self._n_rows += len(lists)

    def _take_in(self, everyone):
        """Put the batches of all processes one after the other."""
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


@contextmanager
def collecting(trainer):
    """Listen to what a trainer's evaluation hands to RecBole's collector, which keeps no items; gives a `Collected`."""
    collector, collected = trainer.eval_collector, Collected()
    collect = collector.eval_batch_collect

    ranks = trainer.config["eval_type"] == EvaluatorType.RANKING  # else scores come row by row, [rows]

    def eval_batch_collect(scores, interaction, positive_u, positive_i):
        if ranks and positive_u is not None:
            collected.add(scores, positive_u, positive_i, max(collector.topk))
        return collect(scores, interaction, positive_u, positive_i)

    collector.eval_batch_collect = eval_batch_collect
    try:
        yield collected
    finally:
        del collector.eval_batch_collect


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
