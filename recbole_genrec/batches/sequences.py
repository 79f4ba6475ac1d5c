"""Users' item sequences as tokens for an encoder-decoder, some items masked: what the decoder shall write.

    <s> user item item <mask> item <mask> </s>

What stands beside items is a :class:`SequenceForm`. Without a mask, masked items have no place in the prompt.

Every mask is answered by a branch of the decoder: a start token and the masked item's identifier. The branches of a
sequence stand in one row and do not see each other, so one reading of the encoder serves them all. Where the last item
alone is masked, the answer is the next item.

Example: user 4, whose tokens are 20 and 24, chose the items 2, 1 and 3, the last two of them masked. Items and trie are
those of the header of :mod:`recbole_genrec.batches.packing`: item 1 is the token 5 and the edge 0, item 2 is 6 7,
item 3 is 6 8 and the edges 1 and 3. The token 1 begins a prompt, 2 ends it, 3 is the mask, and 9 starts a branch.

    cell          0    1    2    3    4    5    6    7          cell          0    1    2
    input_ids     1   20   24    6    7    3    3    2          answer_ids    9    9    6
    user_cell          4    4                                   position_ids  0    0    1
    item_cell                    2    2   (item_owner 0 0)      branch        1    2    2
    mask_cell                              1    3               start_cell    1    3
    first                        2         1    3               labels        0    1    3   (edges)

    Numbers below ``cell`` in the other rows are the user, the item or the edge that stands there.

A branch is fed up to its last decision: of item 1 nothing after the start token, of item 3 the token 6.

Letters: B sequences, N their items, P prompt tokens, X tokens of items, M masks, Q decoder tokens, D decisions (or
labelled tokens). A cell is an index into the flattened tokens ``[B * P]`` of prompts, or ``[B * Q]`` of the decoder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from recbole_genrec.batches.layout import Labels, moved
from recbole_genrec.batches.tokens import MIDDLE
from recbole_genrec.interactions.segments import ragged


@dataclass
class SequencePrompts:
    """Prompts in tokens, right-padded.

    Attributes:
        input_ids: ``[B, P]``.
        lengths: ``[B]``.
        user_cell, user: cells of users' tokens, and whose they are.
        item_cell: of the tokens of items that are not masked ``[X]``.
        item: the items that are not masked; ``item_owner [X]``: which of them a token belongs to.
        mask_cell: of the mask of each masked item ``[M]``; none where the form has no mask.
    """

    input_ids: torch.Tensor
    lengths: torch.Tensor
    user_cell: torch.Tensor
    user: torch.Tensor
    item_cell: torch.Tensor
    item: torch.Tensor
    item_owner: torch.Tensor
    mask_cell: torch.Tensor


@dataclass
class SequenceBatch:
    """What one training forward needs.

    Attributes:
        prompts: :class:`SequencePrompts`.
        answer_ids: what the decoder is fed ``[B, Q]``, right-padded.
        position_ids: number of a token in its branch ``[B, Q]``.
        branch: number of a token's branch in its row, from 1; 0 for padding ``[B, Q]``.
        start_cell: of the start token of each mask's branch ``[M]``.
        labels: :class:`~recbole_genrec.batches.layout.Labels` of the decoder.
        n_tokens: tokens without padding.
        n_targets: masks.
    """

    prompts: SequencePrompts
    answer_ids: torch.Tensor
    position_ids: torch.Tensor
    branch: torch.Tensor
    start_cell: torch.Tensor
    labels: Labels
    n_tokens: int
    n_targets: int

    @property
    def n_decisions(self):
        """Terms that the mean loss is taken over; padding is none of them."""
        return len(self.labels.label)

    def mask(self):
        """Who sees whom in the decoder ``[B, Q, Q]``; ``None`` where a row has one branch: plain causal attention."""
        if len(self.start_cell) == len(self.answer_ids):
            return None
        own = self.branch[:, None] == self.branch[..., None]
        return own & (self.position_ids[:, None] <= self.position_ids[..., None])

    def to(self, device):
        """The same batch on another device."""
        return moved(self, device)


@dataclass
class MaskedSequences:
    """Sequences laid end to end.

    Attributes:
        user: of each sequence, 0 for nobody ``[B]``.
        count: items of each ``[B]``.
        item: all their items ``[N]``.
        masked: which of them are masked ``[N]``.
    """

    user: np.ndarray
    count: np.ndarray
    item: np.ndarray
    masked: np.ndarray

    def __len__(self):
        return len(self.user)

    def __getitem__(self, rows):
        """Some of the sequences: a slice, or an array of booleans ``[B]``."""
        chosen = np.zeros(len(self), bool)
        chosen[rows] = True
        kept = np.repeat(chosen, self.count)
        return MaskedSequences(self.user[chosen], self.count[chosen], self.item[kept], self.masked[kept])


class SequenceForm(NamedTuple):
    """What a prompt has beside its items."""

    #: tokens of users: a list of ids -> a list of arrays, an empty one for user 0, who is nobody.
    user_tokens: Callable
    #: tokens of a user at most.
    longest_user: int
    #: tokens that begin a prompt.
    start: tuple = ()
    #: the token in the place of a masked item; ``None``: nothing stands there.
    mask: int | None = None


def text_form(backbone, n_users):
    """The :class:`SequenceForm` with users as text, `` user 4``, and masks, for users below ``n_users``."""
    known = {0: np.zeros(0, np.int64)}

    def user_tokens(users):
        new = [user for user in dict.fromkeys(users) if user not in known]  # these are tokenised together
        for user, tokens in zip(new, backbone.encode_many([f" user {user}" for user in new], MIDDLE)):
            known[user] = np.array(tokens, np.int64)
        return [known[user] for user in users]

    longest = max(map(len, user_tokens([int(digit * len(str(n_users))) for digit in "123456789"])))
    start = () if backbone.bos_id is None else (backbone.bos_id,)
    return SequenceForm(user_tokens, longest, start, backbone.mask_id)


class SequenceWriter:
    """Writes sequences as tokens.

    Args:
        backbone: gives ``eos_id``, ``pad_id`` and ``start_id``.
        trie: the catalogue, on the CPU.
        normalization: ``trie`` (labels are edges) or ``vocab`` (labels are tokens).
        max_prompt_tokens: longest prompt; a sequence loses its oldest items.
        form: :class:`SequenceForm`.
    """

    def __init__(self, backbone, trie, normalization, max_prompt_tokens, form):
        self.backbone, self.form = backbone, form
        self._mask_size = int(form.mask is not None)
        self.room = max_prompt_tokens - len(form.start) - form.longest_user - self._mask_size - 1  # the end
        self.token, self.offset = trie.token.numpy(), trie.token_offset.numpy()
        # Every identifier ends with the end token in the trie; in a prompt it does not. Item 0 is padding.
        self.length = np.maximum(np.diff(self.offset) - 1, 0)
        if normalization == "trie":
            self.label, self.label_offset = trie.path_edge.numpy(), trie.path_offset.numpy()
            self.depth = trie.edge_begin.numpy()[self.label]
        else:
            self.label, self.label_offset = self.token, self.offset
            self.depth = ragged(np.diff(self.offset))[1]
        # Tokens that a branch is fed after its start token: those before its last label.
        self.fed = np.append(0, self.depth[self.label_offset[2:] - 1])

    def fit(self, items, begin, stop):
        """Where sequences ``begin`` to ``stop`` of a flat array ``items`` have to begin to fit into a prompt ``[B]``.

        Their last item takes the room of a mask, where there are masks.
        """
        total = np.append(0, self.length[items].cumsum())  # tokens before each item
        return np.maximum(begin, np.minimum(np.searchsorted(total, total[stop - 1] - self.room), stop - 1))

    def write_prompts(self, sequences):
        """The prompts of :class:`MaskedSequences` as :class:`SequencePrompts`."""
        backbone, form, n_rows = self.backbone, self.form, len(sequences)
        user, item, masked = sequences.user, sequences.item, sequences.masked
        heads = [np.append(form.start, tokens).astype(np.int64) for tokens in form.user_tokens(user.tolist())]
        head = np.fromiter(map(len, heads), np.int64, n_rows)  # tokens before the first item
        row, _ = ragged(sequences.count)
        size = np.where(masked, self._mask_size, self.length[item])
        total = size.cumsum()
        before = np.append(0, total)[np.append(0, sequences.count.cumsum())]  # tokens of items in the rows before each
        lengths = head + np.diff(before) + 1
        width = int(lengths.max())
        first = row * width + head[row] + total - size - before[row]  # cell of each item's first token

        input_ids = np.full(n_rows * width, backbone.pad_id, np.int64)
        head_row, head_order = ragged(head)
        head_cell = head_row * width + head_order
        input_ids[head_cell] = np.concatenate(heads)
        input_ids[np.arange(n_rows) * width + lengths - 1] = backbone.eos_id
        mask_cell, shown = first[masked], item[~masked]
        if form.mask is None:
            mask_cell = mask_cell[:0]
        else:
            input_ids[mask_cell] = form.mask
        owner, order = ragged(self.length[shown])
        item_cell = first[~masked][owner] + order
        input_ids[item_cell] = self.token[self.offset[shown[owner]] + order]
        of_user = head_order >= len(form.start)
        users, items = (head_cell[of_user], user[head_row[of_user]]), (item_cell, shown, owner)
        arrays = (input_ids.reshape(n_rows, width), lengths, *users, *items, mask_cell)
        return SequencePrompts(*map(torch.from_numpy, arrays))

    def write(self, sequences):
        """Prompts and answers of :class:`MaskedSequences` as :class:`SequenceBatch`."""
        prompts, n_rows = self.write_prompts(sequences), len(sequences)
        target = sequences.item[sequences.masked]
        row = ragged(sequences.count)[0][sequences.masked]
        size = self.fed[target] + 1
        per_row = np.bincount(row, size, n_rows).astype(np.int64)
        width = int(per_row.max())
        before = (per_row.cumsum() - per_row)[row]
        start_cell = row * width + size.cumsum() - size - before
        owner, order = ragged(size)
        cell = start_cell[owner] + order
        answer_ids = np.full(n_rows * width, self.backbone.pad_id, np.int64)
        position_ids, branch = np.zeros((2, n_rows * width), np.int64)
        answer_ids[start_cell] = self.backbone.start_id
        fed = order > 0
        answer_ids[cell[fed]] = self.token[self.offset[target[owner]] + order - 1][fed]
        position_ids[cell] = order
        branch[cell] = owner + 1
        tables = (table.reshape(n_rows, width) for table in (answer_ids, position_ids, branch))
        return SequenceBatch(
            prompts,
            *map(torch.from_numpy, (*tables, start_cell)),
            self._labels(target, start_cell),
            n_tokens=int(prompts.lengths.sum()) + len(cell),
            n_targets=len(target),
        )

    def _labels(self, target, start_cell):
        """The :class:`~recbole_genrec.batches.layout.Labels` of targets whose branches start at some cells."""
        begin = self.label_offset[target]
        owner, order = ragged(self.label_offset[target + 1] - begin)
        entry = begin[owner] + order
        return Labels(*map(torch.from_numpy, (start_cell[owner] + self.depth[entry], self.label[entry])))
