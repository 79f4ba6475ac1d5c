"""Batches of an epoch of masked sequences, of either stage of training."""

from typing import NamedTuple

import numpy as np

from recbole_genrec.batches.epoch_loader import EpochLoader, batches_of_like_length, check_dropout
from recbole_genrec.batches.sequences import MaskedSequences
from recbole_genrec.interactions.segments import ragged


class Masking(NamedTuple):
    """How pretraining chooses items; see :class:`~recbole_genrec.config.arguments.Seq2SeqArguments`."""

    ratio: float
    span: float
    last: float

    def draw(self, count, generator):
        """Choose the masked items of sequences of ``count [B]`` items, at least one each.

        Items fall into runs of random length, runs into random order; the first items of that order are masked.

        Returns:
            Booleans ``[N]``.
        """
        row, order = ragged(count)
        run = ((generator.random(len(row)) * self.span < 1) | (order == 0)).cumsum() - 1
        key = generator.random(run[-1] + 1)
        ends = count.cumsum() - 1
        key[run[ends[generator.random(len(count)) < self.last]]] = -1  # the run that holds the last item comes first
        # Within a run the later items come first, so that a run that is cut short keeps its last one.
        ranked = np.lexsort((-order, key[run], row))
        masked = np.empty(len(row), bool)
        masked[ranked] = order < np.maximum(np.rint(self.ratio * count), 1)[row]
        return masked


class SequenceDraws(NamedTuple):
    """What the sequences of an epoch are."""

    masking: Masking
    #: next items of a user in an epoch of ``finetune``; 0: all.
    targets_per_user: int
    #: items before a next item at most.
    longest: int


class SequenceLoader(EpochLoader):
    """Batches of an epoch of either stage.

    ``pretrain``: every user's training sequence is cut at random points into pieces of at most ``longest`` + 1 items,
    as many as a history and its next item have, and masked anew. ``finetune``: ``targets_per_user`` of each user's
    items are drawn, each one masked at the end of the items before it.

    Args:
        writer: :class:`~recbole_genrec.batches.sequences.SequenceWriter`.
        dataset, sequences, settings: see :class:`~recbole_genrec.batches.epoch_loader.EpochLoader`.
        draws: :class:`SequenceDraws`.

    Raises:
        GenRecError: ``history_dropout`` leaves less than a target to an epoch.
    """

    def __init__(self, writer, dataset, sequences, draws, settings):
        self.writer, self.draws = writer, draws
        super().__init__(dataset, settings, sequences)
        check_dropout(self.n_targets, settings.history_dropout)

    def _entropy(self):
        return [self.settings.seed, *self._stage.encode(), self._epoch - self._first_epoch]

    def _plan_rows(self, generator):
        """The epoch's sequences: user, begin and stop ``[R]``, and the flat items."""
        items, offsets = self._kept_interactions(generator)
        cut = self._pieces if self._stage == "pretrain" else self._targets
        owner, begin, stop = cut(offsets, generator)
        begin = self.writer.fit(items, begin, stop)
        total = np.append(0, self.writer.length[items].cumsum())  # tokens before each item
        lengths = total[stop - 1] - total[begin] + 4
        batches = batches_of_like_length(lengths, self.settings.batch_tokens, self.settings.batch_size, generator)
        return (self.users[owner], begin, stop, items), batches

    def _draw(self, plan, batch):
        """The sequences of a batch with their masks."""
        user, begin, stop, items = plan.rows
        count = stop[batch] - begin[batch]
        row, order = ragged(count)
        if self._stage == "pretrain":
            masked = self.draws.masking.draw(count, plan.generator)
        else:
            masked = order == count[row] - 1
        return MaskedSequences(user[batch], count, items[begin[batch][row] + order], masked)

    def _write(self, plan, batch, drawn):
        return self.writer.write(drawn)

    def _pieces(self, offsets, generator):
        """Owner, begin and stop of the pieces, the first of each long sequence of random length."""
        count, size = np.diff(offsets), self.draws.longest + 1
        shift = np.where(count > size, generator.integers(size, size=len(count)), 0)
        owner, order = ragged(-(-(count + shift) // size))
        begin = offsets[owner] + np.maximum(order * size - shift[owner], 0)
        stop = np.minimum(offsets[owner] + (order + 1) * size - shift[owner], offsets[owner + 1])
        kept = stop - begin > 1  # an item alone says nothing of others
        return owner[kept], begin[kept], stop[kept]

    def _targets(self, offsets, generator):
        """Owner, begin and stop of the drawn targets, each the last item of its sequence."""
        owner, order = ragged(np.diff(offsets))
        target = np.flatnonzero(order > 0)
        if self.draws.targets_per_user:
            drawn = target[np.lexsort((generator.random(len(target)), owner[target]))]
            _, rank = ragged(np.bincount(owner[target]))
            target = np.sort(drawn[rank < self.draws.targets_per_user])
        return owner[target], target - np.minimum(order[target], self.draws.longest), target + 1
