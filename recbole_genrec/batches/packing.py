"""From histories to batches: windows, packed sequences and prompts, by index arithmetic only.

The reference code of GenRec (Ji et al. 2023) trains on one prompt per target: n items cost O(n^2) history tokens. A
causal model needs the history once: it is laid out as a trunk, and each target's response hangs off the trunk as a
branch that sees the trunk up to its target. Loss and gradient are those of the single prompts. Where the response
simply continues the history, trunk and branches coincide and attention is plainly causal.

Example: three items, and a template of the tokens 1 (prefix), 3 (between two items), 4 (response) and 2 (end).

    item  identifier  edges (depth of their decision)     trie   root ─┬─ 5 2        edge 0, item 1
    1     5           0 (0)                                            └─ 6 ─┬─ 7 2  edges 1 and 2, item 2
    2     6 7         1 (0), 2 (1)                                           └─ 8 2  edges 1 and 3, item 3
    3     6 8         1 (0), 3 (1)

A user chose the items 2, 1, 3. One window has them all: first 0, target 1, stop 3; so item 1 is a target after item 2,
and item 3 one after both. A target is fed up to its last decision, so of item 1 nothing, of item 3 the token 6.

                  trunk                    branch of item 1  branch of item 3
    column        0    1    2    3    4    5                 6    7
    token         1    6    7    3    5    4                 4    6
    position_ids  0    1    2    3    4    3                 5    6
    branch        0    0    0    0    0    1                 2    2
    limit         1    2    3    4    5    3                 5    5       (trunk tokens that it sees)
    items                   2         1                                   (at each one's last token)
    labels                                 0                 1    3       (the edge that its state predicts)

    targets  item  start of its own tokens on the trunk  base of its branch
             1     3                                     5
             3     5                                     6

Letters: W windows, N items of all windows, T tokens of a packed sequence, D decisions (or labelled tokens). A cell is
an index into the flattened sequences ``[W * T]``.
"""

from copy import copy
from dataclasses import replace

import numpy as np
import torch

from recbole_genrec.batches.layout import Branches, Cells, HistoryContext, ItemCells, Labels, lay_trunk
from recbole_genrec.batches.packed_batch import PackedBatch, Prompts, Windows
from recbole_genrec.batches.times import packed_times, prompt_times
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.segments import ragged


class Packer:
    """Lays windows out as token sequences.

    Args:
        tokens: :class:`~recbole_genrec.batches.tokens.PromptTokens`.
        trie: the catalogue, on the CPU.
        normalization: ``trie`` (labels are edges) or ``vocab`` (labels are tokens).
        max_prompt_tokens: longest prompt with its response.
        pad_id: token that fills up short sequences.
        longest_history: most tokens of a history; ``None``: as many as fit.

    Raises:
        GenRecError: no history fits beside the longest response.
    """

    def __init__(self, tokens, trie, normalization, max_prompt_tokens, pad_id, longest_history=None):
        self.tokens, self.pad_id, self.normalization = tokens, pad_id, normalization
        self.item_length = np.diff(tokens.item_offset)
        self.target_token, self.target_offset = trie.token.numpy(), trie.token_offset.numpy()
        if normalization == "trie":
            self.label, self.label_offset = trie.path_edge.numpy(), trie.path_offset.numpy()
            self.label_depth = trie.edge_begin.numpy()[self.label]
        else:
            self.label, self.label_offset = self.target_token, self.target_offset
            self.label_depth = ragged(np.diff(self.target_offset))[1]
        self.n_labels = np.diff(self.label_offset)
        # A target is fed up to its last label; the label itself is not.
        last = np.zeros(len(self.item_length), np.int64)
        last[1:] = self.label_depth[self.label_offset[2:] - 1]
        self.target_length = last
        self.max_prompt_tokens, self.longest_history = max_prompt_tokens, longest_history
        self._set_budget()

    def _set_budget(self):
        """Count the tokens that are left for histories."""
        longest = self.tokens.longest_prefix + len(self.tokens.response) + int(self.target_length.max())
        self.history_budget = self.max_prompt_tokens - longest
        if self.history_budget < 1:
            raise GenRecError(
                f"'max_prompt_tokens' ({self.max_prompt_tokens}) leaves no room for a history: the prompt's fixed text "
                f"and the longest identifier take {longest} tokens. The target is never cut; raise it."
            )
        self.history_budget = min(self.history_budget, self.longest_history or self.history_budget)

    def with_history_items(self, tokens):
        """This packer over a table with more items behind the catalogue's: in histories only, never as targets."""
        packer = copy(self)
        packer.tokens, packer.item_length = tokens, np.diff(tokens.item_offset)
        return packer

    def with_users(self, users):
        """This packer with another table of users, :class:`~recbole_genrec.batches.user_tokens.UserTokens`.

        Raises:
            GenRecError: the words of one leave no room for a history.
        """
        packer = copy(self)
        packer.tokens = replace(self.tokens, users=users)
        packer._set_budget()
        return packer

    def describe(self, items, context=None):
        """The context of interactions with the texts around their items written, where the template has values.

        Args:
            items: flat item ids.
            context: :class:`~recbole_genrec.batches.layout.HistoryContext`; by default nothing is known.

        Returns:
            The same, or one with ``around``.
        """
        context = context or HistoryContext()
        if self.tokens.values is None or context.around is not None:
            return context
        return replace(context, around=self.tokens.values.of(context, len(items)))

    def history_start(self, items, first, stop, context=None):
        """Earliest item from which a history fits the budget, whole items only.

        Args:
            items: flat item ids.
            first, stop: ``[W]``, the history's bounds in ``items``; where one begins, no other is in its midst.
            context: :class:`~recbole_genrec.batches.layout.HistoryContext`; by default nothing is known.

        Returns:
            ``[W]``, between ``first`` and ``stop``.
        """
        total = self.cumulative(items, context, first)
        earliest = np.searchsorted(total, total[stop] - self.history_budget, side="left")
        return np.minimum(np.maximum(first, earliest), stop)

    def cumulative(self, items, context=None, begins=()):
        """History tokens before each item of the flat array ``[N + 1]``; histories begin at ``begins`` or later."""
        around, length = self.describe(items, context).around, self.item_length[items]
        if around is not None:
            length = length + around.counted(np.asarray(begins, np.int64))
        return np.concatenate([[0], length.cumsum()])

    def plan(self, items, offsets, min_history, generator, context=None):
        """Cut every sequence into windows: each item but a sequence's first is a target exactly once.

        A sequence that fits is one window. Of a longer one the first window ends at random, so that the cuts fall
        elsewhere each time, and every later target keeps ``min_history`` items of history, as far as they fit.

        Args:
            items: item ids of all sequences, flat ``[N]``.
            offsets: where each sequence begins ``[U + 1]``.
            min_history: items.
            generator: a numpy random generator.
            context: :class:`~recbole_genrec.batches.layout.HistoryContext`; by default nothing is known.

        Returns:
            :class:`Windows`. The loop runs over the windows of the longest sequence, not over sequences.
        """
        total = self.cumulative(items, context, offsets[:-1])
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
        columns = ([getattr(part, name) for part in parts] for name in ("first", "target", "stop"))
        return Windows(*map(np.concatenate, columns))

    def sequence_lengths(self, items, windows, learnt=None, context=None):
        """Tokens of each window's packed sequence, the longest prefix counted ``[W]``; see :meth:`pack`."""
        total = self.cumulative(items, context)
        prefix = self.tokens.longest_prefix
        if self.tokens.continues:
            return prefix + total[windows.stop] - total[windows.first]
        target = self.target_length[items] if learnt is None else self.target_length[items] * learnt
        branch = np.concatenate([[0], (target + len(self.tokens.response)).cumsum()])
        return prefix + total[windows.stop - 1] - total[windows.first] + branch[windows.stop] - branch[windows.target]

    def prompts(self, items, first, stop, context=None):
        """Prompts for histories ``items[first:stop]`` with the first instruction, older items dropped whole.

        Args:
            items: flat item ids.
            first, stop: ``[W]``, the bounds of histories in ``items``.
            context: :class:`~recbole_genrec.batches.layout.HistoryContext`; by default nothing is known.

        Returns:
            :class:`Prompts`.
        """
        context = self.describe(items, context)
        first = self.history_start(items, first, stop, context)
        instruction = np.zeros(len(first), np.int64)
        trunk = lay_trunk(self.tokens, items, (first, stop), instruction, context.around, context.user)
        response = self.tokens.response
        length = trunk.length + len(response)
        table = np.full((len(first), length.max()), self.pad_id, np.int64)
        table[trunk.cells.row, trunk.cells.column] = trunk.cells.token
        table[np.arange(len(first))[:, None], trunk.length[:, None] + np.arange(len(response))] = response
        times = None
        if context.times is not None:
            times = prompt_times(table.shape, trunk.items, context.times, trunk.length, context.asked)
        cells = trunk.item_cells(table.shape[1], context)
        return Prompts(torch.from_numpy(table), torch.from_numpy(length), cells, times)

    def pack(self, items, windows, instruction=None, learnt=None, context=None):
        """Lay windows out as one training batch.

        Args:
            items: flat item ids.
            windows: :class:`Windows`.
            instruction: ``[W]``, number of the instruction that each window uses; by default the first.
            learnt: booleans by index in ``items``: whether the item's identifier is learnt where it is a target; by
                default all are.
            context: :class:`~recbole_genrec.batches.layout.HistoryContext`; by default nothing is known.

        Returns:
            :class:`PackedBatch`.
        """
        count = len(windows)
        instruction = np.zeros(count, np.int64) if instruction is None else instruction
        context = self.describe(items, context)
        bounds = windows.first, windows.stop
        trunk = lay_trunk(self.tokens, items, bounds, instruction, context.around, windows.user)
        targets = trunk.items.kept(trunk.items.flat_index >= windows.target[trunk.items.row])
        is_learnt = np.ones(len(targets.item), bool) if learnt is None else learnt[targets.flat_index]
        several = (windows.stop - windows.target > 1).any()  # else a branch just ends its trunk
        attention, branches = None, None
        if self.tokens.continues:
            cells, first, answer = trunk.cells, targets.start - 1, targets.start
        else:
            trunk = trunk.before(trunk.items.start[np.append(np.diff(trunk.items.row) > 0, True)])
            begin = np.full(count, trunk.length.max()) if several else trunk.length
            branches = self._branches(begin, targets.row, targets.item, is_learnt)
            cells = trunk.cells.joined(branches.cells)
            answer = branches.base + len(self.tokens.response)
            first = answer - 1 if len(self.tokens.response) else targets.start - 1
        width = int(cells.column.max()) + 1
        if branches is not None and several and len(branches.owner):
            attention = branches.attention((count, width), int(begin[0]), targets.start)
        table = np.full((count, width), self.pad_id, np.int64)
        table[cells.row, cells.column] = cells.token
        times = None
        if context.times is not None:
            index = targets.flat_index
            times = packed_times(table.shape, trunk.items, windows.first, context.times, branches, index)
        first, answer = targets.row * width + first, targets.row * width + answer
        return PackedBatch(
            torch.from_numpy(table),
            attention,
            trunk.item_cells(width, context),
            self._labels(targets.item[is_learnt], first[is_learnt], answer[is_learnt]),
            ItemCells(torch.from_numpy(first), torch.from_numpy(targets.item)),
            torch.from_numpy(is_learnt),
            times,
            n_tokens=len(cells.token),
            n_decisions=int(self.n_labels[targets.item].sum()),
        )

    def _labels(self, target, first, answer):
        """The :class:`~recbole_genrec.batches.layout.Labels` of some targets.

        Args:
            target: item ids ``[N]``.
            first: cell before the first token of each one's identifier ``[N]``.
            answer: cell of that token ``[N]``.
        """
        owner, order = ragged(self.n_labels[target])
        label = self.label_offset[target][owner] + order
        depth = self.label_depth[label]
        cell = np.where(depth == 0, first[owner], answer[owner] + depth - 1)
        return Labels(torch.from_numpy(cell), torch.from_numpy(self.label[label]))

    def _branches(self, begin, row, item, is_learnt):
        """Response and target of each target item, up to its last label, from column ``begin [W]`` on, end to end.

        Of a target that is not learnt there is the response alone.
        """
        response = self.tokens.response
        length = len(response) + self.target_length[item] * is_learnt
        before = length.cumsum() - length  # tokens of all branches before this one; then of its row's only
        first_of_row = np.append(True, row[1:] != row[:-1])
        before -= np.repeat(before[first_of_row], np.bincount(row, minlength=len(begin)))
        base = begin[row] + before
        owner, order = ragged(length)
        token = np.empty(len(owner), np.int64)
        in_response = order < len(response)
        token[in_response] = response[order[in_response]]
        in_target = ~in_response
        depth = order[in_target] - len(response)
        token[in_target] = self.target_token[self.target_offset[item][owner[in_target]] + depth]
        return Branches(Cells(row[owner], base[owner] + order, token), owner, order, base)
