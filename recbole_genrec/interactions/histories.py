"""Interactions whose histories are gathered when a batch asks for them, instead of being written out.

RecBole's data augmentation turns every interaction into a row with its whole history: on 25 million interactions of
four fields that is 20 GB at 50 items a history (``recbole/data/dataset/sequential_dataset.py:93``). Here every field
is kept once, all users' interactions end to end, and a row is the place of its target. In this room, a place is the
number of an interaction in that store.

Letters: N interactions, R rows, L the longest history.
"""

from collections.abc import MutableMapping

import numpy as np
import torch
from recbole.data.interaction import Interaction


def with_history(users):
    """Rows that have an earlier row of the same user, where ``users [N]`` are grouped by user ``[R]``."""
    return np.flatnonzero(users[1:] == users[:-1]) + 1


class Histories:
    """All interactions, user by user and each user's in order of time.

    Args:
        columns: tensor of every field ``[N, ...]``; rows of one user stand together.
        users: user of every interaction ``[N]``, non-negative.
        longest: items in a history at most, L.
        list_fields: name of the history of every field that has one, by field.
        length_field: name of the history's length.
        file_row: of every interaction, its row in the file that it was read from, from 0 ``[N]``.
    """

    def __init__(self, columns, users, longest, list_fields, length_field, file_row=None):
        self.file_row = file_row
        self.columns, self.longest, self.list_fields, self.length_field = columns, longest, list_fields, length_field
        self.field_of = {listed: field for field, listed in list_fields.items()}
        users = users.numpy()
        begins = np.flatnonzero(np.append(True, users[1:] != users[:-1])[: len(users)])
        self.users = users
        self._begin = np.zeros(users.max(initial=0) + 1, np.int64)  # of each user's interactions, by user id
        self._begin[users[begins]] = begins

    def begin(self, users):
        """Place of the first interaction of each of ``users``."""
        return self._begin[users]

    def lengths(self, place):
        """Items in the history of each target ``[R]``."""
        return np.minimum(place - self.begin(self.users[place]), self.longest)

    def fields(self):
        """Names of all columns in RecBole's order."""
        return [*self.columns, self.length_field, *self.list_fields.values()]

    def gather(self, field, place):
        """One column for the targets at ``place [R]``: ``[R, ...]``, or ``[R, L, ...]`` padded with 0 for a history."""
        if field in self.columns:
            return self.columns[field][torch.from_numpy(place)]
        lengths = self.lengths(place)
        if field == self.length_field:
            return torch.from_numpy(lengths)
        steps = np.arange(self.longest)
        padding = torch.from_numpy(steps >= lengths[:, None])
        window = torch.from_numpy((place - lengths)[:, None] + steps).masked_fill_(padding, 0)  # [R, L]
        history = self.columns[self.field_of[field]][window]
        history[padding] = 0
        return history


class _Columns(MutableMapping):
    """The columns of some rows: gathered at each reading, but for those that were set."""

    def __init__(self, histories, place, names=None, changed=None):
        self.histories, self.place = histories, place
        self._names = dict.fromkeys(histories.fields() if names is None else names)
        self._changed = changed or {}

    def __getitem__(self, field):
        if field not in self._names:
            raise KeyError(field)
        return self._changed[field] if field in self._changed else self.histories.gather(field, self.place)

    def __setitem__(self, field, value):
        self._names[field] = None
        self._changed[field] = value

    def __delitem__(self, field):
        del self._names[field]
        self._changed.pop(field, None)

    def __iter__(self):
        return iter(self._names)

    def __len__(self):
        return len(self._names)

    def __contains__(self, field):  # the inherited one would gather the column
        return field in self._names

    def rows(self, index):
        """The columns of some of the rows, ``index`` numpy."""
        changed = {field: value[torch.from_numpy(index)] for field, value in self._changed.items()}
        return _Columns(self.histories, self.place[index], self._names, changed)


class LazyInteraction(Interaction):
    """RecBole's ``Interaction`` over :class:`Histories`: a field is gathered when it is read.

    Rows taken from it (``interaction[index]``) are lazy too; :meth:`gather` makes a plain ``Interaction`` of them.

    Args:
        histories: :class:`Histories`.
        place: of every row's target ``[R]``.
    """

    def __init__(self, histories, place):
        self._set(_Columns(histories, place))

    def _set(self, columns):
        self.interaction, self.length = columns, len(columns.place)

    @property
    def histories(self):
        """The store that all rows share."""
        return self.interaction.histories

    @property
    def place(self):
        """Place of every row's target in the store ``[R]``."""
        return self.interaction.place

    def __getitem__(self, index):
        if isinstance(index, str):
            return self.interaction[index]
        rows = object.__new__(type(self))
        rows._set(self.interaction.rows(_numpy_index(index, self.length)))
        return rows

    def _reindex(self, index):
        self._set(self.interaction.rows(_numpy_index(index, self.length)))

    def gather(self):
        """The same rows with every column written out."""
        return Interaction(dict(self.interaction))


def _numpy_index(index, length):
    if isinstance(index, slice):
        return np.arange(*index.indices(length))
    index = np.asarray(index)
    return index if index.dtype == bool else index.astype(np.int64, copy=False)
