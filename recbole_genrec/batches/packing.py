"""From histories to batches: windows, packed sequences and prompts, by index arithmetic only.

The reference code of GenRec (Ji et al. 2023) trains on one prompt per target: n items cost O(n^2) history tokens. A
causal model needs the history once: it is laid out as a trunk, and each target's response hangs off the trunk as a
branch that sees the trunk up to its target. Loss and gradient are those of the single prompts. Where the response
simply continues the history, trunk and branches coincide and attention is plainly causal.

Letters: W windows, N items of all windows, T tokens of a packed sequence, D decisions (or labelled tokens).
"""

from copy import copy
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch.nn.attention.flex_attention import create_block_mask

from recbole_genrec.backbone.branches import BranchMask, Stretch
from recbole_genrec.batches.layout import Branches, Trunk
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.segments import ragged


@dataclass
class Windows:
    """Stretches of item sequences laid end to end: a window's history begins at ``first``, its targets at ``target``,
    both end before ``stop``; all ``[W]``, indices into the flat array of items."""

    first: np.ndarray
    target: np.ndarray
    stop: np.ndarray

    def __len__(self):
        return len(self.first)

    def __getitem__(self, index):
        return Windows(self.first[index], self.target[index], self.stop[index])


@dataclass
class PackedBatch:
    """What one training forward needs. Index tensors point into the flattened ``[W * T]`` sequences.

    Attributes:
        input_ids: ``[W, T]``, right-padded.
        position_ids: ``[W, T]``, or ``None`` where positions simply count.
        branch: ``[W, T]``, 0 on the trunk and the branch's number on it, or ``None`` for plain causal attention.
        limit: ``[W, T]``, trunk tokens that a token sees, or ``None``.
        stretches: columns of branches and the columns that they see, as in
            :class:`~recbole_genrec.backbone.branches.Stretch`; empty for plain causal attention.
        item_place: where each history item's last token stands ``[N]``, and which item it is, ``item [N]``.
        place: the state that predicts ``[D]``.
        label: the trie edge (or token) that it should predict ``[D]``.
        n_tokens: tokens without padding.
        n_targets: targets in the batch.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor | None
    branch: torch.Tensor | None
    limit: torch.Tensor | None
    stretches: tuple
    item_place: torch.Tensor
    item: torch.Tensor
    place: torch.Tensor
    label: torch.Tensor
    n_tokens: int
    n_targets: int

    @property
    def n_decisions(self):
        """Terms that the mean loss is taken over."""
        return len(self.label)

    def to(self, device):
        """The same batch on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return PackedBatch(**{k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in values.items()})

    def mask(self, kind="dense"):
        """Attention mask.

        Args:
            kind: ``dense``, or a form that skips what nobody sees: ``branches`` for a
                :class:`~recbole_genrec.backbone.branches.BranchMask`, ``blocks`` for a ``BlockMask`` of FlexAttention.

        Returns:
            The mask, if dense boolean ``[W, T, T]``; ``None`` for plain causal attention.
        """
        if self.branch is None:
            return None
        return {"dense": self._dense_mask, "branches": self._branch_mask, "blocks": self._block_mask}[kind]()

    def _dense_mask(self):
        index = torch.arange(self.branch.shape[1], device=self.branch.device)
        trunk = (self.branch == 0)[:, None] & (index < self.limit[..., None])
        own = (self.branch[:, None] == self.branch[..., None]) & (index <= index[:, None])
        return trunk | (own & (self.branch > 0)[..., None])

    def _branch_mask(self):
        stretches = []
        for begin, stop, trunk, own in self.stretches:
            index = torch.arange(stop, device=self.branch.device)
            on_trunk = index[:trunk] < self.limit[:, begin:stop, None]
            branch = self.branch[:, begin:stop, None]
            earlier = index[own:] <= index[begin:, None]
            in_branch = (self.branch[:, None, own:stop] == branch) & (branch > 0) & earlier
            stretches.append(Stretch(begin, stop, trunk, own, torch.cat([on_trunk, in_branch], 2)))
        return BranchMask(self.stretches[0][0], stretches)

    def _block_mask(self):
        branch, limit = self.branch, self.limit
        count, width = branch.shape

        def seen(window, _, query, key):
            trunk = (branch[window, key] == 0) & (key < limit[window, query])
            own = (branch[window, key] == branch[window, query]) & (branch[window, query] > 0) & (key <= query)
            return trunk | own

        return create_block_mask(seen, count, None, width, width, device=branch.device)


@dataclass
class Prompts:
    """Prompts up to the target: ``input_ids [W, T]`` right-padded, ``lengths [W]``, and the history items' places."""

    input_ids: torch.Tensor
    lengths: torch.Tensor
    item_place: torch.Tensor
    item: torch.Tensor


class Packer:
    """Lays windows out as token sequences.

    Args:
        tokens: :class:`~recbole_genrec.batches.tokens.PromptTokens`.
        trie: the catalogue, on the CPU.
        normalization: ``trie`` (labels are edges) or ``vocab`` (labels are tokens).
        max_prompt_tokens: longest prompt with its response.
        pad_id: token that fills up short sequences.

    Raises:
        GenRecError: no history fits beside the longest response.
    """

    def __init__(self, tokens, trie, normalization, max_prompt_tokens, pad_id):
        self.tokens, self.pad_id, self.normalization = tokens, pad_id, normalization
        self.item_length = np.diff(tokens.item_offset)
        self.target_token, self.target_offset = trie.token.numpy(), trie.token_offset.numpy()
        if normalization == "trie":
            self.label, self.label_offset = trie.path_edge.numpy(), trie.path_offset.numpy()
            self.label_depth = trie.edge_begin.numpy()[self.label]
        else:
            self.label, self.label_offset = self.target_token, self.target_offset
            self.label_depth = ragged(np.diff(self.target_offset))[1]
        # A target is fed up to its last label; the label itself is not.
        last = np.zeros(len(self.item_length), np.int64)
        last[1:] = self.label_depth[self.label_offset[2:] - 1]
        self.target_length = last
        longest = max(map(len, tokens.prefixes)) + len(tokens.response) + int(last.max())
        self.history_budget = max_prompt_tokens - longest
        if self.history_budget < 1:
            raise GenRecError(
                f"'max_prompt_tokens' ({max_prompt_tokens}) leaves no room for a history: the prompt's fixed text and "
                f"the longest identifier take {longest} tokens. The target is never cut; raise it."
            )

    def with_history_items(self, tokens):
        """This packer over a table with more items behind the catalogue's: in histories only, never as targets."""
        packer = copy(self)
        packer.tokens, packer.item_length = tokens, np.diff(tokens.item_offset)
        return packer

    def history_start(self, items, first, stop):
        """Earliest item from which a history fits the budget, whole items only.

        Args:
            items: flat item ids.
            first, stop: ``[W]``, the history's bounds in ``items``.

        Returns:
            ``[W]``, between ``first`` and ``stop``.
        """
        total = self.cumulative(items)
        earliest = np.searchsorted(total, total[stop] - self.history_budget, side="left")
        return np.minimum(np.maximum(first, earliest), stop)

    def cumulative(self, items):
        """History tokens before each item of the flat array ``[N + 1]``."""
        return np.concatenate([[0], self.item_length[items].cumsum()])

    def plan(self, items, offsets, min_history, generator):
        """Cut every sequence into windows: each item but a sequence's first is a target exactly once.

        A sequence that fits is one window. Of a longer one the first window ends at random, so that the cuts fall
        elsewhere each time, and every later target keeps ``min_history`` items of history, as far as they fit.

        Args:
            items: item ids of all sequences, flat ``[N]``.
            offsets: where each sequence begins ``[U + 1]``.
            min_history: items.
            generator: a numpy random generator.

        Returns:
            :class:`Windows`. The loop runs over the windows of the longest sequence, not over sequences.
        """
        total = self.cumulative(items)
        begin, end = offsets[:-1], offsets[1:]
        long_enough = end - begin > 1
        begin, end = begin[long_enough], end[long_enough]
        target, rank, parts = begin + 1, 0, []
        while len(begin):
            fitting = np.searchsorted(total, total[target] - self.history_budget, side="left")
            wished = begin if rank == 0 else np.maximum(begin, target - min_history)
            first = np.minimum(np.maximum(wished, fitting), target)
            # The last target of a window is the last whose history still fits; at least one target is taken.
            stop = np.searchsorted(total, total[first] + self.history_budget, side="right")
            stop = np.minimum(np.maximum(stop, target + 1), end)
            if rank == 0:
                cut = target + 1 + (generator.random(len(stop)) * (stop - target)).astype(np.int64)
                stop = np.where(stop < end, np.minimum(cut, stop), stop)
            parts.append(Windows(first, target, stop))
            unfinished = stop < end
            begin, end, target, rank = begin[unfinished], end[unfinished], stop[unfinished], rank + 1
        if not parts:
            return Windows(*(np.zeros(0, np.int64) for _ in range(3)))
        return Windows(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Windows)))

    def sequence_lengths(self, items, windows):
        """Tokens of each window's packed sequence, the longest prefix counted ``[W]``."""
        total = self.cumulative(items)
        prefix = max(map(len, self.tokens.prefixes))
        if self.tokens.continues:
            return prefix + total[windows.stop] - total[windows.first]
        branch = np.concatenate([[0], (self.target_length[items] + len(self.tokens.response)).cumsum()])
        return prefix + total[windows.stop - 1] - total[windows.first] + branch[windows.stop] - branch[windows.target]

    def prompts(self, items, first, stop):
        """Prompts for histories ``items[first:stop]`` with the first instruction, older items dropped whole.

        Returns:
            :class:`Prompts`.
        """
        first = self.history_start(items, first, stop)
        trunk = self._trunk(items, first, stop, np.zeros(len(first), np.int64))
        response = self.tokens.response
        length = trunk.length + len(response)
        table = np.full((len(first), length.max()), self.pad_id, np.int64)
        table[trunk.row, trunk.column] = trunk.token
        table[np.arange(len(first))[:, None], trunk.length[:, None] + np.arange(len(response))] = response
        place = trunk.item_row * table.shape[1] + trunk.item_stop - 1
        return Prompts(*map(torch.from_numpy, (table, length, place, trunk.item)))

    def pack(self, items, windows, instruction=None):
        """Lay windows out as one training batch.

        Args:
            items: flat item ids.
            windows: :class:`Windows`.
            instruction: ``[W]``, number of the instruction that each window uses; by default the first.

        Returns:
            :class:`PackedBatch`.
        """
        count, continues, response = len(windows), self.tokens.continues, self.tokens.response
        instruction = np.zeros(count, np.int64) if instruction is None else instruction
        trunk = self._trunk(items, windows.first, windows.stop, instruction)
        is_target = trunk.flat_index >= windows.target[trunk.item_row]
        row, item, start = trunk.item_row[is_target], trunk.item[is_target], trunk.item_start[is_target]
        owner, order = ragged(self.label_offset[item + 1] - self.label_offset[item])
        label = self.label_offset[item][owner] + order
        state = self.label_depth[label] + len(response) - 1  # counted from the end of the target's history
        if continues:
            cells, column = trunk, start[owner] + state
        else:
            trunk = trunk.before(trunk.item_start[np.append(np.diff(trunk.item_row) > 0, True)])
            several = (windows.stop - windows.target > 1).any()  # else a branch just ends its trunk
            begin = np.full(count, trunk.length.max()) if several else trunk.length
            branches = self._branches(begin, row, item)
            cells = branches.after(trunk)
            column = np.where(state < 0, start[owner] - 1, branches.base[owner] + state)
        width = int(cells.column.max()) + 1
        table = np.full((count, width), self.pad_id, np.int64)
        table[cells.row, cells.column] = cells.token
        attention = {"position_ids": None, "branch": None, "limit": None, "stretches": ()}
        if not continues and several:
            attention = branches.attention(count, width, int(begin[0]), start)
        return PackedBatch(
            input_ids=torch.from_numpy(table),
            **attention,
            item_place=torch.from_numpy(trunk.item_row * width + trunk.item_stop - 1),
            item=torch.from_numpy(trunk.item),
            place=torch.from_numpy(row[owner] * width + column),
            label=torch.from_numpy(self.label[label]),
            n_tokens=len(cells.token),
            n_targets=len(item),
        )

    def _branches(self, begin, row, item):
        """Response and target of each target item, up to its last label, from column ``begin [W]`` on, end to end."""
        response = self.tokens.response
        length = len(response) + self.target_length[item]
        before = length.cumsum() - length  # tokens of all branches before this one; then of its row's only
        first_of_row = np.append(True, row[1:] != row[:-1])
        before -= np.repeat(before[first_of_row], np.bincount(row, minlength=len(begin)))
        base = begin[row] + before
        owner, order = ragged(length)
        token = np.empty(len(owner), np.int64)
        in_response = order < len(response)
        token[in_response] = response[order[in_response]]
        in_target = ~in_response
        place = self.target_offset[item][owner[in_target]] + order[in_target] - len(response)
        token[in_target] = self.target_token[place]
        return Branches(row[owner], base[owner] + order, token, owner, order, base)

    def _trunk(self, items, first, stop, instruction):
        """Prefix and items of each window as cells of a table; see :class:`~recbole_genrec.batches.layout.Trunk`."""
        tokens = self.tokens
        prefix_length = np.array([len(prefix) for prefix in tokens.prefixes])
        prefix_offset = prefix_length.cumsum() - prefix_length
        prefix_row, prefix_order = ragged(prefix_length[instruction])
        prefix_token = np.concatenate(tokens.prefixes)[prefix_offset[instruction[prefix_row]] + prefix_order]

        item_row, item_order = ragged(stop - first)
        flat_index = first[item_row] + item_order
        item = items[flat_index]
        skipped = np.where(item_order == 0, tokens.between, 0)  # nothing stands between the prefix and an item
        item_length = self.item_length[item] - skipped
        running = item_length.cumsum()
        row_begin = np.concatenate([[0], running])[(stop - first).cumsum() - (stop - first)]
        item_stop = prefix_length[instruction][item_row] + running - row_begin[item_row]
        item_start = item_stop - item_length
        owner, order = ragged(item_length)
        item_token = tokens.item_token[(tokens.item_offset[item] + skipped)[owner] + order]
        length = prefix_length[instruction] + np.bincount(item_row, item_length, len(first)).astype(np.int64)
        return Trunk(
            row=np.concatenate([prefix_row, item_row[owner]]),
            column=np.concatenate([prefix_order, item_start[owner] + order]),
            token=np.concatenate([prefix_token, item_token]),
            length=length,
            item_row=item_row,
            item=item,
            flat_index=flat_index,
            item_start=item_start,
            item_stop=item_stop,
        )
