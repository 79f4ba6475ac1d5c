"""Streaming k-core: the rows that are left when every user and every item keeps a minimum of rows.

Memory is a few bytes a user and item; the rows lie in a scratch file. Rows are counted, as RecBole counts them: a user
who reviews an item twice has two.

Users and items go by 64-bit keys: equal ids, equal keys (``movielens.py`` and ``amazon.py`` make them).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

#: rows that are in memory at a time.
CHUNK_ROWS = 1 << 20


class Distinct:
    """The distinct keys of a stream."""

    def __init__(self):
        self._sorted = np.empty(0, np.uint64)
        self._new, self._pending = [], 0

    def add(self, keys):
        """Take in some keys, ``[N]`` uint64."""
        keys = pd.unique(keys)
        self._new.append(keys)
        self._pending += len(keys)
        if self._pending > max(CHUNK_ROWS, len(self._sorted)):
            self._merge()

    def keys(self):
        """All distinct keys so far, sorted."""
        if self._new:
            self._merge()
        return self._sorted

    def _merge(self):
        self._sorted = np.unique(np.concatenate([self._sorted, *self._new]))
        self._new, self._pending = [], 0


class PairFile:
    """The (user, item) keys of every row, in a scratch file."""

    def __init__(self, path):
        self.path = path

    def add(self, users, items):
        """Append the keys of some rows, ``[N]`` each."""
        with open(self.path, "ab") as file:
            file.write(np.stack([users, items], axis=1).tobytes())

    def write_codes(self, users, items):
        """Write each row's numbers in the sorted ``users`` and ``items`` to a file, as int32; return its path."""
        path = self.path.with_suffix(".codes")
        with open(path, "wb") as file:
            for keys in _read(self.path, np.uint64):
                numbers = np.searchsorted(users, keys[:, 0]), np.searchsorted(items, keys[:, 1])
                file.write(np.stack(numbers, axis=1).astype(np.int32).tobytes())
        return path


@dataclass(frozen=True)
class Core:
    """A k-core: the largest set of rows in which every user and every item has enough of them."""

    #: sorted keys of the users that are left.
    users: np.ndarray
    #: sorted keys of the items that are left.
    items: np.ndarray
    _codes: Path
    _kept_users: np.ndarray
    _kept_items: np.ndarray

    def kept_rows(self):
        """Which rows are left: ``[N]`` bool for some rows at a time, in their order."""
        for codes in _read(self._codes, np.int32):
            yield _both(codes, self._kept_users, self._kept_items)


def k_core(pairs, users, items, user_core, item_core) -> Core:
    """Find the k-core.

    Args:
        pairs: the :class:`PairFile` of all rows.
        users: its distinct user keys, sorted. items: likewise.
        user_core: rows that every user must have. item_core: likewise.
    """
    codes = pairs.write_codes(users, items)
    kept_users, kept_items = np.ones(len(users), bool), np.ones(len(items), bool)
    while True:
        user_rows, item_rows = np.zeros(len(users), np.int64), np.zeros(len(items), np.int64)
        for chunk in _read(codes, np.int32):
            rows = chunk[_both(chunk, kept_users, kept_items)]
            user_rows += np.bincount(rows[:, 0], minlength=len(users))
            item_rows += np.bincount(rows[:, 1], minlength=len(items))
        # a user without rows is no user of the core, whatever the bound
        enough = user_rows >= max(user_core, 1), item_rows >= max(item_core, 1)
        if (enough[0] == kept_users).all() and (enough[1] == kept_items).all():
            return Core(users[kept_users], items[kept_items], codes, kept_users, kept_items)
        kept_users, kept_items = enough


def contains(known, keys):
    """Which of ``keys`` are among the sorted ``known`` ones, ``[N]`` bool."""
    if not len(known):
        return np.zeros(len(keys), bool)
    first = np.searchsorted(known, keys)
    return known[np.minimum(first, len(known) - 1)] == keys


def _both(codes, kept_users, kept_items):
    return kept_users[codes[:, 0]] & kept_items[codes[:, 1]]


def _read(path, dtype):
    with open(path, "rb") as file:
        while len(values := np.fromfile(file, dtype, 2 * CHUNK_ROWS)):
            yield values.reshape(-1, 2)
