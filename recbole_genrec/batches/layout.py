"""Where the tokens of packed sequences stand: trunks, and the branches behind them.

The header of :mod:`recbole_genrec.batches.packing` draws an example. A cell is an index into the flattened table
``[W * T]``: ``row * T + column``.

Letters: W windows, the rows of a table; T its columns; N items of all windows, D decisions (or labelled tokens).
"""

from dataclasses import dataclass, field, fields, is_dataclass

import numpy as np
import torch
from torch.nn.attention.flex_attention import create_block_mask

from recbole_genrec.backbone.branches import BranchChunk, BranchMask
from recbole_genrec.batches.value_texts import Surroundings
from recbole_genrec.interactions.segments import ragged

#: columns of branches that attention takes together.
CHUNK_COLUMNS = 128


def moved(value, device):
    """A dataclass with its tensors, also those of dataclasses and dictionaries in it, on another device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: moved(each, device) for name, each in value.items()}
    if is_dataclass(value):
        return type(value)(*(moved(getattr(value, field.name), device) for field in fields(value)))
    return value


@dataclass
class ItemCells:
    """Items of histories: the cell of each one's last token, and which item it is, both ``[N]``.

    ``values`` are numbers of their interactions by column, ``[N]`` each.
    """

    cell: torch.Tensor
    item: torch.Tensor
    values: dict = field(default_factory=dict)


@dataclass
class Labels:
    """Cells whose states predict, and the trie edges (or tokens) that they should predict, both ``[D]``."""

    cell: torch.Tensor
    label: torch.Tensor


@dataclass
class Cells:
    """Tokens and where they stand in a table."""

    row: np.ndarray
    column: np.ndarray
    token: np.ndarray

    def kept(self, chosen):
        """Those that booleans choose."""
        return Cells(self.row[chosen], self.column[chosen], self.token[chosen])

    def joined(self, other):
        """These and others in one table."""
        pairs = ((self.row, other.row), (self.column, other.column), (self.token, other.token))
        return Cells(*map(np.concatenate, pairs))


@dataclass
class TrunkItems:
    """Items on trunks, all arrays ``[N]``.

    Each has its row, id, index in the flat array of items, and the columns it begins at and ends before.
    """

    row: np.ndarray
    item: np.ndarray
    flat_index: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    def kept(self, chosen):
        """Those that booleans choose."""
        return TrunkItems(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass
class HistoryContext:
    """What is known of the interactions in a flat array of items.

    Attributes:
        times: moments, int64 ``[N]``, :data:`~recbole_genrec.backbone.time_bias.NO_TIME` where there is none; ``None``:
            time plays no part.
        values: numbers by column, ``[N]`` each.
        asked: of prompts, the moment that each one asks at, int64 ``[W]``; ``None``: not known.
        around: :class:`~recbole_genrec.batches.value_texts.Surroundings` of the items, once they are written; ``None``
            also where the template has the same text around every item.
        user: of prompts, the number of each one's user, 0 for one who is not known ``[W]``; ``None``: none is.
    """

    times: np.ndarray | None = None
    values: dict = field(default_factory=dict)
    asked: np.ndarray | None = None
    around: Surroundings | None = None
    user: np.ndarray | None = None

    def kept(self, chosen):
        """That of the interactions that an index chooses, nothing of it written yet."""
        times = None if self.times is None else self.times[chosen]
        values = {name: column[chosen] for name, column in self.values.items()}
        return HistoryContext(times, values, self.asked, user=self.user)


@dataclass
class Trunk:
    """Prefixes and items: their cells, how far each row reaches, ``length [W]``, and where the items stand."""

    cells: Cells
    length: np.ndarray
    items: TrunkItems

    def before(self, length):
        """The trunk cut to ``length [W]`` tokens, with the items that end there or before."""
        cells, items = self.cells, self.items
        kept_cells, kept_items = cells.column < length[cells.row], items.stop <= length[items.row]
        return Trunk(cells.kept(kept_cells), length, items.kept(kept_items))

    def item_cells(self, width, context):
        """The :class:`ItemCells` of a table of ``width`` columns; ``context`` is a :class:`HistoryContext`."""
        cell = self.items.row * width + self.items.stop - 1
        values = {name: torch.from_numpy(column[self.items.flat_index]) for name, column in context.values.items()}
        return ItemCells(torch.from_numpy(cell), torch.from_numpy(self.items.item), values)


def lay_trunk(tokens, items, bounds, instruction, around=None, user=None):
    """Prefix and items of windows.

    Args:
        tokens: :class:`~recbole_genrec.batches.tokens.PromptTokens`.
        items: flat item ids.
        bounds: of each window, where its first item is in ``items`` and where its last one ends, a pair of ``[W]``.
        instruction: number of the instruction that each window uses ``[W]``.
        around: :class:`~recbole_genrec.batches.value_texts.Surroundings` of ``items``, where they vary.
        user: number of each window's user ``[W]``; ``None``: nobody is known.

    Returns:
        :class:`Trunk`.
    """
    first, stop = bounds
    prefix_length, prefix_token = tokens.prefix_of(instruction, user)
    prefix = Cells(*ragged(prefix_length), prefix_token)

    item_row, item_order = ragged(stop - first)
    flat_index = first[item_row] + item_order
    item = items[flat_index]
    item_length, item_token = _written(tokens, item, flat_index, item_order == 0, around)
    running = item_length.cumsum()
    row_begin = np.concatenate([[0], running])[(stop - first).cumsum() - (stop - first)]
    item_stop = prefix_length[item_row] + running - row_begin[item_row]
    item_start = item_stop - item_length
    owner, order = ragged(item_length)
    length = prefix_length + np.bincount(item_row, item_length, len(first)).astype(np.int64)
    cells = prefix.joined(Cells(item_row[owner], item_start[owner] + order, item_token))
    return Trunk(cells, length, TrunkItems(item_row, item, flat_index, item_start, item_stop))


def _written(tokens, item, index, is_first, around):
    """How many tokens items ``[N]`` have in their histories ``[N]``, and these tokens end to end."""
    begin, length = tokens.item_offset[item], tokens.item_offset[item + 1] - tokens.item_offset[item]
    if around is not None:
        return around.wrap(index, is_first, begin, length, tokens.item_token)
    skipped = np.where(is_first, tokens.between, 0)  # nothing stands between the prefix and an item
    owner, order = ragged(length - skipped)
    return length - skipped, tokens.item_token[(begin + skipped)[owner] + order]


@dataclass
class Branches:
    """Branches of targets.

    Attributes:
        cells: of all branches' tokens.
        owner: the target that each token belongs to, and ``order``, its number in the branch.
        base: the column where each target's branch begins.
    """

    cells: Cells
    owner: np.ndarray
    order: np.ndarray
    base: np.ndarray

    def attention(self, shape, trunk, start):
        """Who sees whom. Padding sees one token or itself, and is never seen.

        Args:
            shape: rows and columns of the table.
            trunk: the column where branches begin.
            start: the column where each target's history ends.

        Returns:
            :class:`PackedAttention`.
        """
        width, row, column = shape[1], self.cells.row, self.cells.column
        every = np.arange(width)
        branch = np.zeros(shape, np.int64)
        limit = np.tile(np.where(every < trunk, every + 1, 1), (shape[0], 1))
        position = limit - 1
        base = np.tile(every, (shape[0], 1))  # column where a token's own branch begins
        branch[row, column] = self.owner + 1
        limit[row, column] = start[self.owner]
        position[row, column] = start[self.owner] + self.order
        base[row, column] = self.base[self.owner]
        chunks = []
        for begin in range(trunk, width, CHUNK_COLUMNS):
            stop = min(begin + CHUNK_COLUMNS, width)
            chunks.append((begin, stop, int(limit[:, begin:stop].max()), int(base[:, begin:stop].min())))
        return PackedAttention(*map(torch.from_numpy, (position, branch, limit)), tuple(chunks))


@dataclass
class PackedAttention:
    """Positions, and who sees whom, of trunks with branches.

    Attributes:
        position_ids: ``[W, T]``.
        branch: ``[W, T]``, 0 on the trunk and the branch's number on it.
        limit: ``[W, T]``, trunk tokens that a token sees.
        chunks: columns of branches and the columns that they see, as the first four attributes of
            :class:`~recbole_genrec.backbone.branches.BranchChunk`.
    """

    position_ids: torch.Tensor
    branch: torch.Tensor
    limit: torch.Tensor
    chunks: tuple

    def mask(self, kind, bias=None):
        """The attention mask; see :meth:`~recbole_genrec.batches.packed_batch.PackedBatch.mask`.

        Args:
            kind: of the mask.
            bias: a function of two lists of columns, queries and keys, and of who sees whom ``[W, Q, K]`` that gives
                numbers to add in each head ``[W, A, Q, K]``.
        """
        if bias is None:
            return {"dense": self._dense_mask, "branches": self._branch_mask, "blocks": self._block_mask}[kind]()
        if kind == "branches":
            return self._branch_mask(bias)
        every = torch.arange(self.branch.shape[1], device=self.branch.device)
        return bias(every, every, self._dense_mask())

    def _dense_mask(self):
        index = torch.arange(self.branch.shape[1], device=self.branch.device)
        trunk = (self.branch == 0)[:, None] & (index < self.limit[..., None])
        own = (self.branch[:, None] == self.branch[..., None]) & (index <= index[:, None])
        return trunk | (own & (self.branch > 0)[..., None])

    def _branch_mask(self, bias=None):
        chunks, first = [], self.chunks[0][0]
        for begin, stop, trunk, own in self.chunks:
            index = torch.arange(stop, device=self.branch.device)
            on_trunk = index[:trunk] < self.limit[:, begin:stop, None]
            branch = self.branch[:, begin:stop, None]
            earlier = index[own:] <= index[begin:, None]
            in_branch = (self.branch[:, None, own:stop] == branch) & (branch > 0) & earlier
            seen = torch.cat([on_trunk, in_branch], 2)
            if bias is not None:
                seen = bias(index[begin:], torch.cat([index[:trunk], index[own:]]), seen)
            chunks.append(BranchChunk(begin, stop, trunk, own, seen))
        if bias is None:
            return BranchMask(first, chunks)
        index = torch.arange(first, device=self.branch.device)
        return BranchMask(first, chunks, bias(index, index, (index <= index[:, None])[None]))

    def _block_mask(self):
        branch, limit = self.branch, self.limit
        count, width = branch.shape

        def seen(window, _, query, key):
            trunk = (branch[window, key] == 0) & (key < limit[window, query])
            own = (branch[window, key] == branch[window, query]) & (branch[window, query] > 0) & (key <= query)
            return trunk | own

        return create_block_mask(seen, count, None, width, width, device=branch.device)
