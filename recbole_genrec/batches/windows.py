"""Windows of histories for models that learn the next item at every position at once."""

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_genrec.batches.epoch_loader import EpochLoader, check_dropout
from recbole_genrec.interactions.dataset import train_columns, train_sequences
from recbole_genrec.interactions.segments import ragged


class WindowLoader(EpochLoader):
    """Iterates over an epoch's windows: every target of every history stands in exactly one of them as new.

    A history of more than L + 1 items is cut into several windows, each full but the first, at points that differ from
    epoch to epoch.

    A batch is RecBole's ``Interaction`` of windows with the user, L history items and a target each, right-padded, as
    RecBole's own loader gives them, and ``new_targets [B]``: how many of the window's last targets no other window has.
    Of every other column that is asked for, there is ``<column>_list [B, L]`` and, of the target, ``<column> [B]``. In
    the stage ``pretrain`` there is ``masked_position [B]``: the history item that a mask stands for, drawn at random.

    Args:
        dataset: the training part of a split.
        longest: items of a history in a window, L.
        settings: :class:`~recbole_genrec.batches.epoch_loader.EpochSettings`.
        columns: names of columns of the interactions beside the items.

    Raises:
        GenRecError: the dataset has no whole histories, or ``history_dropout`` leaves less than a target to an epoch.
    """

    def __init__(self, dataset, longest, settings, columns=()):
        self.longest = longest
        super().__init__(dataset, settings, train_sequences(dataset))
        if settings.history_dropout:
            check_dropout(self.n_targets, settings.history_dropout)
        self.columns = train_columns(dataset, columns) if columns else {}
        self.owner = np.repeat(self.users, np.diff(self.offsets))

    def _plan_rows(self, generator):
        """The epoch's columns ``[N]``; of each window its target's index, history's length and new targets ``[R]``."""
        kept, offsets = self._kept(generator)
        interactions = {self.dataset.iid_field: self.items[kept]}
        interactions |= {name: column[kept] for name, column in self.columns.items()}
        windows = self._cut(offsets, generator)
        order = generator.permutation(len(windows[0]))
        starts = range(self.settings.batch_size, len(order), self.settings.batch_size)
        batches = [batch for batch in np.split(order, starts) if len(batch)]
        return (interactions, self.owner[kept], *windows), batches

    def _cut(self, offsets, generator):
        begin, n_targets = offsets[:-1], np.diff(offsets) - 1
        begin, n_targets = begin[n_targets > 0], n_targets[n_targets > 0]
        # the first window of a long history has 1 to L targets, so that the cuts move
        first = np.where(n_targets > self.longest, generator.integers(1, self.longest + 1, len(begin)), n_targets)
        count = 1 + -(-(n_targets - first) // self.longest)
        user, number = ragged(count)
        target = np.minimum(first[user] + number * self.longest, n_targets[user])
        previous = np.where(number > 0, first[user] + (number - 1) * self.longest, 0)
        return begin[user] + target, np.minimum(target, self.longest), target - previous

    def _draw(self, plan, batch):
        """The masked position of each window, in the stage ``pretrain``."""
        return plan.generator.integers(plan.rows[-2][batch]) if self._stage == "pretrain" else batch

    def _write(self, plan, batch, drawn):
        interactions, owner, *windows = plan.rows
        target, length, new = (column[batch] for column in windows)
        step = np.arange(length.max())
        index = np.minimum((target - length)[:, None] + step, target[:, None])  # [B, L]
        dataset = self.dataset
        columns = {dataset.uid_field: owner[target], dataset.item_list_length_field: length, "new_targets": new}
        if self._stage == "pretrain":
            columns["masked_position"] = drawn
        for name, column in interactions.items():
            columns[name + dataset.config["LIST_SUFFIX"]] = np.where(step < length[:, None], column[index], 0)
            columns[name] = column[target]
        return Interaction({name: torch.from_numpy(column) for name, column in columns.items()})
