"""Windows of histories for models that learn the next item at every place at once."""

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.interactions.segments import ragged


class WindowLoader:
    """Iterates over an epoch's windows: every target of every history stands in exactly one of them as new.

    A history of more than L + 1 items is cut into several windows, each full but the first, at places that differ from
    epoch to epoch. Everything follows from the seed and the epoch's number.

    A batch is RecBole's ``Interaction`` of windows with L history items and a target each, right-padded, as RecBole's
    own loader gives them, and ``new_targets [B]``: how many of the window's last targets no other window has.

    Args:
        dataset: the training part of a split.
        longest: items of a history in a window, L.
        batch_size: windows in a batch.
        seed: of the cuts and of the order.
    """

    def __init__(self, dataset, longest, batch_size, seed):
        self.dataset, self.longest, self.batch_size, self.seed = dataset, longest, batch_size, seed
        _, self.items, self.offsets = train_sequences(dataset)
        self.n_targets = int(np.maximum(np.diff(self.offsets) - 1, 0).sum())
        self.set_epoch(0)

    def set_epoch(self, epoch):
        """Choose whose batches the next pass gives; without a call, passes count up from 0."""
        self._epoch, self._planned = epoch, None

    def __len__(self):
        return -(-len(self._plan()[0]) // self.batch_size)

    def __iter__(self):
        end, length, new = self._plan()
        self.set_epoch(self._epoch + 1)
        for start in range(0, len(end), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield self._batch(end[part], length[part], new[part])

    def _plan(self):
        """Place of each window's target, length of its history, and how many of its targets are new, shuffled."""
        if self._planned is None:
            random = np.random.default_rng([self.seed, self._epoch])
            windows = self._cut(random)
            order = random.permutation(len(windows[0]))
            self._planned = tuple(column[order] for column in windows)
        return self._planned

    def _cut(self, random):
        begin, n_targets = self.offsets[:-1], np.diff(self.offsets) - 1
        begin, n_targets = begin[n_targets > 0], n_targets[n_targets > 0]
        # the first window of a long history has 1 to L targets, so that the cuts move
        first = np.where(n_targets > self.longest, random.integers(1, self.longest + 1, len(begin)), n_targets)
        count = 1 + -(-(n_targets - first) // self.longest)
        user, number = ragged(count)
        target = np.minimum(first[user] + number * self.longest, n_targets[user])
        previous = np.where(number > 0, first[user] + (number - 1) * self.longest, 0)
        return begin[user] + target, np.minimum(target, self.longest), target - previous

    def _batch(self, end, length, new):
        step = np.arange(length.max())
        place = (end - length)[:, None] + step
        history = np.where(step < length[:, None], self.items[np.minimum(place, end[:, None])], 0)
        dataset = self.dataset
        columns = {
            dataset.iid_field + dataset.config["LIST_SUFFIX"]: history,
            dataset.item_list_length_field: length,
            dataset.iid_field: self.items[end],
            "new_targets": new,
        }
        return Interaction({name: torch.from_numpy(column) for name, column in columns.items()})
