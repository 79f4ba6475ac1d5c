"""Where the tokens of packed sequences stand: trunks, and the branches behind them.

Letters: W windows, the rows of a table.
"""

from dataclasses import dataclass

import numpy as np
import torch

#: columns of branches that attention takes together.
STRETCH = 128


@dataclass
class Cells:
    """Tokens and where they stand in a table."""

    row: np.ndarray
    column: np.ndarray
    token: np.ndarray


@dataclass
class Trunk(Cells):
    """Prefixes and items: how far each row reaches, ``length [W]``, and for each item its row, id, index in the flat
    array, and the columns it begins at and ends before."""

    length: np.ndarray
    item_row: np.ndarray
    item: np.ndarray
    flat_index: np.ndarray
    item_start: np.ndarray
    item_stop: np.ndarray

    def before(self, length):
        """The trunk cut to ``length [W]`` tokens, with the items that end there or before."""
        cell, item = self.column < length[self.row], self.item_stop <= length[self.item_row]
        cells = (array[cell] for array in (self.row, self.column, self.token))
        items = (self.item_row, self.item, self.flat_index, self.item_start, self.item_stop)
        return Trunk(*cells, length, *(array[item] for array in items))


@dataclass
class Branches:
    """Cells of all branches, the target each belongs to and its place in the branch; ``base`` is a branch's column."""

    row: np.ndarray
    column: np.ndarray
    token: np.ndarray
    owner: np.ndarray
    order: np.ndarray
    base: np.ndarray

    def after(self, trunk):
        """Trunks and branches as the cells of one table."""
        pairs = ((trunk.row, self.row), (trunk.column, self.column), (trunk.token, self.token))
        return Cells(*map(np.concatenate, pairs))

    def attention(self, count, width, trunk, start):
        """Who sees whom, for :meth:`PackedBatch.mask`; ``trunk`` is the column where branches begin, ``start`` where
        each target's history ends. Padding sees one token or itself, and is never seen."""
        column = np.arange(width)
        branch = np.zeros((count, width), np.int64)
        limit = np.tile(np.where(column < trunk, column + 1, 1), (count, 1))
        position = limit - 1
        first = np.tile(column, (count, 1))  # column where a token's own branch begins
        branch[self.row, self.column] = self.owner + 1
        limit[self.row, self.column] = start[self.owner]
        position[self.row, self.column] = start[self.owner] + self.order
        first[self.row, self.column] = self.base[self.owner]
        stretches = []
        for begin in range(trunk, width, STRETCH):
            stop = min(begin + STRETCH, width)
            seen = int(limit[:, begin:stop].max()), int(first[:, begin:stop].min())
            stretches.append((begin, stop, *seen))
        arrays = {"position_ids": position, "branch": branch, "limit": limit}
        return {name: torch.from_numpy(array) for name, array in arrays.items()} | {"stretches": tuple(stretches)}
