"""Windows of histories for models that learn the next item at every position at once."""

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_genrec.batches.epoch_loader import EpochLoader
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.interactions.segments import ragged


class WindowLoader(EpochLoader):
    """Iterates over an epoch's windows: every target of every history stands in exactly one of them as new.

    A history of more than L + 1 items is cut into several windows, each full but the first, at points that differ from
    epoch to epoch.

    A batch is RecBole's ``Interaction`` of windows with L history items and a target each, right-padded, as RecBole's
    own loader gives them, and ``new_targets [B]``: how many of the window's last targets no other window has.

    Args:
        dataset: the training part of a split.
        longest: items of a history in a window, L.
        settings: :class:`~recbole_genrec.batches.epoch_loader.EpochSettings`.
    """

    def __init__(self, dataset, longest, settings):
        self.longest = longest
        super().__init__(dataset, settings, train_sequences(dataset))

    def _plan_rows(self, generator):
        """Index of each window's target, length of its history, and how many of its targets are new ``[R]``."""
        items, offsets = self._kept_interactions(generator)
        windows = self._cut(offsets, generator)
        order = generator.permutation(len(windows[0]))
        starts = range(self.settings.batch_size, len(order), self.settings.batch_size)
        batches = [batch for batch in np.split(order, starts) if len(batch)]
        return (items, *windows), batches

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

    def _write(self, plan, batch, drawn):
        items, *windows = plan.rows
        target, length, new = (column[batch] for column in windows)
        step = np.arange(length.max())
        index = (target - length)[:, None] + step
        history = np.where(step < length[:, None], items[np.minimum(index, target[:, None])], 0)
        dataset = self.dataset
        columns = {
            dataset.iid_field + dataset.config["LIST_SUFFIX"]: history,
            dataset.item_list_length_field: length,
            dataset.iid_field: items[target],
            "new_targets": new,
        }
        return Interaction({name: torch.from_numpy(column) for name, column in columns.items()})
