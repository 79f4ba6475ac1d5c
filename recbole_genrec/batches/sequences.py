"""Users' item sequences as text for an encoder-decoder, some items masked: what the decoder shall write.

    <s> user item item <mask> item <mask> </s>

Every mask is answered by a branch of the decoder: a start token and the masked item's identifier. The branches of a
sequence stand in one row and do not see each other, so one reading of the encoder serves them all. Where the last item
alone is masked, the answer is the next item.

Letters: B sequences, N their items, P prompt tokens, X tokens of items, M masks, Q decoder tokens, D decisions (or
labelled tokens).
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch

from recbole_genrec.batches.packed_loader import batches_of_like_length, check_dropout, drop_interactions, every_row
from recbole_genrec.batches.tokens import MIDDLE
from recbole_genrec.interactions.segments import ragged


@dataclass
class SequencePrompts:
    """Prompts in tokens, right-padded; places index the flattened ``[B * P]`` tokens.

    Attributes:
        input_ids: ``[B, P]``.
        lengths: ``[B]``.
        user_place, user: tokens of users, and whose they are.
        item_place: tokens of items that are not masked ``[X]``.
        item: the items that are not masked; ``item_owner [X]``: which of them a token belongs to.
        mask_place: the mask of each masked item ``[M]``.
    """

    input_ids: torch.Tensor
    lengths: torch.Tensor
    user_place: torch.Tensor
    user: torch.Tensor
    item_place: torch.Tensor
    item: torch.Tensor
    item_owner: torch.Tensor
    mask_place: torch.Tensor


@dataclass
class SequenceBatch:
    """What one training forward needs; places index the flattened ``[B * Q]`` tokens of the decoder.

    Attributes:
        prompts: :class:`SequencePrompts`.
        answer_ids: what the decoder is fed ``[B, Q]``, right-padded.
        position_ids: place of a token in its branch ``[B, Q]``.
        branch: number of a token's branch in its row, from 1; 0 for padding ``[B, Q]``.
        start_place: start token of each mask's branch ``[M]``.
        place, label: the states that predict and the trie edges (or tokens) that they should predict ``[D]``.
        n_tokens: tokens without padding.
        n_targets: masks.
    """

    prompts: SequencePrompts
    answer_ids: torch.Tensor
    position_ids: torch.Tensor
    branch: torch.Tensor
    start_place: torch.Tensor
    place: torch.Tensor
    label: torch.Tensor
    n_tokens: int
    n_targets: int

    @property
    def n_decisions(self):
        """Terms that the mean loss is taken over; padding is none of them."""
        return len(self.label)

    def mask(self):
        """Who sees whom in the decoder ``[B, Q, Q]``; ``None`` where a row has one branch: plain causal attention."""
        if len(self.start_place) == len(self.answer_ids):
            return None
        own = self.branch[:, None] == self.branch[..., None]
        return own & (self.position_ids[:, None] <= self.position_ids[..., None])

    def to(self, device):
        """The same batch on another device."""
        return _moved(self, device)


def _moved(value, device):
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, (SequencePrompts, SequenceBatch)):
        return type(value)(*(_moved(getattr(value, field.name), device) for field in fields(value)))
    return value


class Stretches(NamedTuple):
    """Sequences laid end to end."""

    #: user of each sequence, 0 for nobody ``[B]``.
    user: np.ndarray
    #: items of each ``[B]``.
    count: np.ndarray
    #: all their items ``[N]``, and which of them are masked ``[N]``.
    item: np.ndarray
    masked: np.ndarray


class SequenceWriter:
    """Writes sequences as tokens.

    Args:
        backbone: gives ``encode``, ``bos_id``, ``eos_id``, ``pad_id``, ``mask_id`` and ``start_id``.
        trie: the catalogue, on the CPU.
        normalization: ``trie`` (labels are edges) or ``vocab`` (labels are tokens).
        max_prompt_tokens: longest prompt; a sequence loses its oldest items.
        n_users: users, their numbers below that.
    """

    def __init__(self, backbone, trie, normalization, max_prompt_tokens, n_users):
        self.backbone = backbone
        self._users = {0: np.zeros(0, np.int64)}
        longest_user = max(len(self._user(int(digit * len(str(n_users))))) for digit in "123456789")
        self.room = max_prompt_tokens - longest_user - 3  # start, mask and end
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

    def _user(self, user):
        if user not in self._users:
            self._users[user] = np.array(self.backbone.encode(f" user {user}", MIDDLE), np.int64)
        return self._users[user]

    def fit(self, items, begin, stop):
        """Where sequences ``begin`` to ``stop`` of a flat array ``items`` have to begin to fit into a prompt ``[B]``;
        their last item takes the room of a mask."""
        reach = np.append(0, self.length[items].cumsum())
        return np.maximum(begin, np.minimum(np.searchsorted(reach, reach[stop - 1] - self.room), stop - 1))

    def write_prompts(self, stretches):
        """The prompts of :class:`Stretches` as :class:`SequencePrompts`."""
        user, count, item, masked = stretches
        backbone, n_rows = self.backbone, len(user)
        start = [] if backbone.bos_id is None else [backbone.bos_id]
        heads = [np.append(start, self._user(number)).astype(np.int64) for number in user.tolist()]
        head = np.fromiter(map(len, heads), np.int64, n_rows)
        row, _ = ragged(count)
        size = np.where(masked, 1, self.length[item])
        reach = size.cumsum()
        before = np.append(0, reach)[np.append(0, count.cumsum())]  # tokens of items in the rows before each
        lengths = head + np.diff(before) + 1
        width = int(lengths.max())
        first = row * width + head[row] + reach - size - before[row]  # place of each item's first token

        input_ids = np.full(n_rows * width, backbone.pad_id, np.int64)
        head_row, head_order = ragged(head)
        input_ids[head_row * width + head_order] = np.concatenate(heads)
        input_ids[np.arange(n_rows) * width + lengths - 1] = backbone.eos_id
        input_ids[first[masked]] = backbone.mask_id
        shown = item[~masked]
        owner, order = ragged(self.length[shown])
        item_place = first[~masked][owner] + order
        input_ids[item_place] = self.token[self.offset[shown[owner]] + order]
        named = head_order >= len(start)
        return SequencePrompts(
            *map(
                torch.from_numpy,
                (
                    input_ids.reshape(n_rows, width),
                    lengths,
                    (head_row * width + head_order)[named],
                    user[head_row[named]],
                    item_place,
                    shown,
                    owner,
                    first[masked],
                ),
            )
        )

    def write(self, stretches):
        """Prompts and answers of :class:`Stretches` as :class:`SequenceBatch`."""
        prompts = self.write_prompts(stretches)
        target = stretches.item[stretches.masked]
        row = ragged(stretches.count)[0][stretches.masked]
        n_rows = len(stretches.user)
        size = self.fed[target] + 1
        per_row = np.bincount(row, size, n_rows).astype(np.int64)
        width = int(per_row.max())
        before = (per_row.cumsum() - per_row)[row]
        start = row * width + size.cumsum() - size - before
        owner, order = ragged(size)
        place = start[owner] + order
        answer_ids = np.full(n_rows * width, self.backbone.pad_id, np.int64)
        position = np.zeros(n_rows * width, np.int64)
        branch = np.zeros(n_rows * width, np.int64)
        answer_ids[start] = self.backbone.start_id
        fed = order > 0
        answer_ids[place[fed]] = self.token[self.offset[target[owner]] + order - 1][fed]
        position[place] = order
        branch[place] = owner + 1
        begin = self.label_offset[target]
        labelled, number = ragged(self.label_offset[target + 1] - begin)
        entry = begin[labelled] + number
        shaped = (array.reshape(n_rows, width) for array in (answer_ids, position, branch))
        flat = (start, start[labelled] + self.depth[entry], self.label[entry])
        return SequenceBatch(
            prompts,
            *map(torch.from_numpy, (*shaped, *flat)),
            n_tokens=int(prompts.lengths.sum()) + len(place),
            n_targets=len(target),
        )


class Masking(NamedTuple):
    """How pretraining chooses items; see :class:`~recbole_genrec.config.arguments.Seq2SeqArguments`."""

    ratio: float
    span: float
    last: float

    def draw(self, count, generator):
        """Choose the masked items of sequences of ``count [B]`` items, at least one each.

        Items fall into runs of random length, runs into random order; the first items of that order are masked.

        Returns:
            Booleans ``[N]``.
        """
        row, order = ragged(count)
        run = ((generator.random(len(row)) * self.span < 1) | (order == 0)).cumsum() - 1
        key = generator.random(run[-1] + 1)
        ends = count.cumsum() - 1
        key[run[ends[generator.random(len(count)) < self.last]]] = -1  # the run that holds the last item comes first
        # Within a run the later items come first, so that a run that is cut short keeps its last one.
        ranked = np.lexsort((-order, key[run], row))
        masked = np.empty(len(row), bool)
        masked[ranked] = order < np.maximum(np.rint(self.ratio * count), 1)[row]
        return masked


class SequenceLoader:
    """Batches of an epoch of either stage, the same ones for the same seed and epoch.

    ``pretrain``: every user's training sequence is cut at random places into pieces of at most ``longest`` + 1 items,
    as many as a history and its next item have, and masked anew. ``finetune``: ``targets_per_user`` of each user's
    items are drawn, each one masked at the end of the items before it.

    Args:
        writer: :class:`SequenceWriter`.
        sequences: users, their items end to end and where each user's begin, as
            :func:`~recbole_genrec.interactions.dataset.train_sequences` gives them.
        dataset: the training dataset, for RecBole's collectors.
        masking: :class:`Masking`.
        targets_per_user: next items of a user in an epoch; 0: all.
        longest: items before a next item at most.
        history_dropout: share of the interactions that each epoch leaves out.
        batch_tokens: padded tokens in a batch, at least one sequence; 0: count sequences instead.
        batch_size: sequences in a batch, where ``batch_tokens`` is 0.
        seed: of everything drawn.

    Attributes:
        share: see :class:`~recbole_genrec.batches.packed_loader.PackedLoader`.
    """

    share = staticmethod(every_row)

    def __init__(
        self,
        writer,
        sequences,
        dataset,
        masking,
        targets_per_user,
        longest,
        history_dropout,
        batch_tokens,
        batch_size,
        seed,
    ):
        self.writer, self.dataset, self.masking = writer, dataset, masking
        self.users, self.items, self.offsets = sequences
        self.targets_per_user, self.longest, self.history_dropout = targets_per_user, longest, history_dropout
        self.batch_tokens, self.batch_size, self.seed = batch_tokens, batch_size, seed
        check_dropout(self.offsets, history_dropout)
        self.set_stage("finetune")

    def set_stage(self, stage, first_epoch=0):
        """Choose whether batches are for ``pretrain`` or ``finetune``.

        ``first_epoch`` is the number of the stage's first epoch: its batches are the same whatever comes before it.
        """
        self._stage, self._first_epoch = stage, first_epoch
        self.set_epoch(first_epoch)

    def set_epoch(self, epoch):
        """Choose whose batches the next pass gives; without a call, passes count up."""
        self._epoch, self._planned = epoch, None

    def __len__(self):
        return len(self._plan()[1])

    def __iter__(self):
        (user, begin, stop, items), batches, generator = self._plan()
        self.set_epoch(self._epoch + 1)
        for batch in batches:
            count = stop[batch] - begin[batch]
            row, order = ragged(count)
            if self._stage == "pretrain":
                masked = self.masking.draw(count, generator)
            else:
                masked = order == count[row] - 1
            own = np.zeros(len(batch), bool)
            own[self.share(len(batch))] = True
            item, kept = items[begin[batch][row] + order], own[row]
            own_rows = Stretches(user[batch][own], count[own], item[kept], masked[kept])
            yield self.writer.write(own_rows) if own.any() else None

    def _plan(self):
        """The epoch's sequences (user, begin, stop, and the flat items), its batches, and its generator."""
        if self._planned is None:
            generator = np.random.default_rng([self.seed, *self._stage.encode(), self._epoch - self._first_epoch])
            items, offsets = self.items, self.offsets
            if self.history_dropout:
                items, offsets = drop_interactions(items, offsets, self.history_dropout, generator)
            cut = self._pieces if self._stage == "pretrain" else self._targets
            owner, begin, stop = cut(offsets, generator)
            begin = self.writer.fit(items, begin, stop)
            reach = np.append(0, self.writer.length[items].cumsum())
            batches = batches_of_like_length(
                reach[stop - 1] - reach[begin] + 4, self.batch_tokens, self.batch_size, generator
            )
            self._planned = (self.users[owner], begin, stop, items), batches, generator
        return self._planned

    def _pieces(self, offsets, generator):
        """Owner, begin and stop of the pieces, the first of each long sequence of random length."""
        count, size = np.diff(offsets), self.longest + 1
        shift = np.where(count > size, generator.integers(size, size=len(count)), 0)
        owner, order = ragged(-(-(count + shift) // size))
        begin = offsets[owner] + np.maximum(order * size - shift[owner], 0)
        stop = np.minimum(offsets[owner] + (order + 1) * size - shift[owner], offsets[owner + 1])
        kept = stop - begin > 1  # an item alone says nothing of others
        return owner[kept], begin[kept], stop[kept]

    def _targets(self, offsets, generator):
        """Owner, begin and stop of the drawn targets, each the last item of its stretch."""
        owner, order = ragged(np.diff(offsets))
        target = np.flatnonzero(order > 0)
        if self.targets_per_user:
            drawn = target[np.lexsort((generator.random(len(target)), owner[target]))]
            _, rank = ragged(np.bincount(owner[target]))
            target = np.sort(drawn[rank < self.targets_per_user])
        return owner[target], target - np.minimum(order[target], self.longest), target + 1
