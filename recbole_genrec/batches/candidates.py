"""Histories for an encoder, item by item, and candidates for its decoder: a target and items drawn beside it.

A history is written newest item first, each item with its end token; every token knows its segment and its place in
it. The candidates of a row stand in one row of the decoder, each a branch that sees none of the others, so that one
reading of the encoder serves them all.

Example: the history of items 2 and 1, and the candidates 1 and 3. Item 1 is the token 5, item 2 is 6 7 and item 3 is
6 8; the token 1 begins a text, 2 ends an item, and 9 starts the decoder.

    cell          0    1    2    3    4    5           cell          0    1    2    3    4    5    6
    input_ids     1    5    2    6    7    2           answer_ids    9    5    2    9    6    8    2
    segment       0    1    1    2    2    2           position_ids  0    1    2    0    1    2    3
    place         0    0    1    0    1    2           branch        1    1    1    2    2    2    2
                                                       label         5    2         6    8    2
                                                       label_owner   0    0         1    1    1
                                                       end_cell                2                   6

Letters: B rows, N items of their histories, P prompt tokens, C candidates of a row, Q decoder tokens, D labels. A cell
is an index into the flattened decoder tokens ``[B * Q]``.
"""

from dataclasses import dataclass

import numpy as np
import torch

from recbole_genrec.batches.layout import moved
from recbole_genrec.batches.sequence_loader import SequenceLoader
from recbole_genrec.batches.sequences import MaskedSequences
from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.interactions.segments import ragged


@dataclass
class HistoryPrompts:
    """Histories in tokens, right-padded: all ``[B, P]`` but ``lengths [B]``.

    Attributes:
        input_ids: tokens.
        segment: 0 for the first token, 1 for those of the newest item, 2 for the next; -1 for padding.
        place: number of a token in its segment, from 0; 0 for padding.
        lengths: tokens of each.
    """

    input_ids: torch.Tensor
    segment: torch.Tensor
    place: torch.Tensor
    lengths: torch.Tensor


@dataclass
class CandidateBatch:
    """What one training forward needs; a row's first candidate is its target.

    Attributes:
        prompts: :class:`HistoryPrompts`.
        answer_ids: what the decoder is fed ``[B, Q]``, right-padded.
        position_ids: number of a token in its branch ``[B, Q]``.
        branch: number of a token's branch, from 1; 0 for padding ``[B, Q]``.
        end_cell: of each candidate's end token ``[B * C]``.
        label_cell: cells whose states predict a token ``[D]``.
        label: the token that each predicts ``[D]``.
        label_owner: number of the candidate that it belongs to, of all rows ``[D]``.
        n_tokens: tokens without padding.
    """

    prompts: HistoryPrompts
    answer_ids: torch.Tensor
    position_ids: torch.Tensor
    branch: torch.Tensor
    end_cell: torch.Tensor
    label_cell: torch.Tensor
    label: torch.Tensor
    label_owner: torch.Tensor
    n_tokens: int

    @property
    def n_decisions(self):
        """Terms that the mean loss is taken over: rows."""
        return len(self.answer_ids)

    def mask(self):
        """Who sees whom in the decoder ``[B, Q, Q]``."""
        own = self.branch[:, None] == self.branch[..., None]
        return own & (self.position_ids[:, None] <= self.position_ids[..., None])

    def to(self, device):
        """The same batch on another device."""
        return moved(self, device)


@dataclass
class CandidateRows:
    """Histories and what they are asked about.

    Attributes:
        sequences: :class:`~recbole_genrec.batches.sequences.MaskedSequences`; a masked item is no part of the history.
        candidates: item ids ``[B, C]``.
    """

    sequences: MaskedSequences
    candidates: np.ndarray

    def __getitem__(self, rows):
        return CandidateRows(self.sequences[rows], self.candidates[rows])


class CandidateWriter:
    """Writes histories and candidates as tokens.

    Args:
        backbone: gives ``bos_id``, ``eos_id``, ``pad_id`` and ``start_id``.
        trie: the catalogue, on the CPU.
        max_prompt_tokens: longest history; it loses its oldest items.
        texts: of items 1 to I, for messages.

    Attributes:
        length: tokens of each item by id, the end included ``[I + 1]``.

    Raises:
        GenRecError: an item is too long to be a history.
    """

    def __init__(self, backbone, trie, max_prompt_tokens, texts):
        self.pad_id, self.start_id = backbone.pad_id, backbone.start_id
        self.first_id = backbone.eos_id if backbone.bos_id is None else backbone.bos_id
        self.token, self.offset = trie.token.numpy(), trie.token_offset.numpy()
        self.length = np.diff(self.offset)
        self.room = max_prompt_tokens - 1
        longest = int(self.length.argmax())
        if self.length[longest] > self.room:
            raise GenRecError(
                f"'max_prompt_tokens' ({max_prompt_tokens}) is too small: {shown(texts[longest - 1])} alone takes "
                f"{self.length[longest] + 1} tokens. Raise it, or name shorter columns in 'item_text'."
            )

    def fit(self, items, begin, stop):
        """Where sequences ``begin`` to ``stop`` of flat ``items`` begin so that what is before the last item fits."""
        total = np.append(0, self.length[items].cumsum())  # tokens before each item
        return np.maximum(begin, np.searchsorted(total, total[stop - 1] - self.room))

    def write_prompts(self, sequences):
        """The histories of :class:`~recbole_genrec.batches.sequences.MaskedSequences` as :class:`HistoryPrompts`."""
        n_rows, shown_ones = len(sequences), np.flatnonzero(~sequences.masked)
        row = ragged(sequences.count)[0][shown_ones]
        newest_first = np.lexsort((-shown_ones, row))
        item, row = sequences.item[shown_ones[newest_first]], row[newest_first]
        number = ragged(np.bincount(row, minlength=n_rows))[1]
        size = self.length[item]
        lengths = 1 + np.bincount(row, size, n_rows).astype(np.int64)
        owner, place = ragged(size)
        column = 1 + ragged(lengths - 1)[1]
        table = np.zeros((3, n_rows, lengths.max()), np.int64)
        input_ids, segment, places = table
        input_ids[:], segment[:] = self.pad_id, -1
        input_ids[:, 0], segment[:, 0] = self.first_id, 0
        cells = row[owner], column
        input_ids[cells] = self.token[self.offset[item[owner]] + place]
        segment[cells], places[cells] = number[owner] + 1, place
        return HistoryPrompts(*map(torch.from_numpy, (*table, lengths)))

    def write(self, rows):
        """The :class:`CandidateBatch` of :class:`CandidateRows`."""
        prompts, (n_rows, n_candidates) = self.write_prompts(rows.sequences), rows.candidates.shape
        item = rows.candidates.ravel()
        size = self.length[item] + 1  # the start token
        per_row = size.reshape(n_rows, n_candidates).sum(1)
        width, before = int(per_row.max()), size.cumsum() - size
        start_cell = before + np.repeat(np.arange(n_rows) * width - (per_row.cumsum() - per_row), n_candidates)
        owner, order = ragged(size)
        cell = start_cell[owner] + order
        answer_ids = np.full(n_rows * width, self.pad_id, np.int64)
        position_ids, branch = np.zeros((2, n_rows * width), np.int64)
        answer_ids[start_cell] = self.start_id
        position_ids[cell], branch[cell] = order, owner + 1
        owner, order = ragged(self.length[item])
        label, label_cell = self.token[self.offset[item[owner]] + order], start_cell[owner] + order
        answer_ids[label_cell + 1] = label
        tables = (table.reshape(n_rows, width) for table in (answer_ids, position_ids, branch))
        arrays = (*tables, start_cell + size - 1, label_cell, label, owner)
        n_tokens = int(prompts.lengths.sum()) + len(cell)
        return CandidateBatch(prompts, *map(torch.from_numpy, arrays), n_tokens)


class UnseenItems:
    """Draws items that users have not interacted with, each with the same probability.

    Args:
        items: of users, one after the other ``[N]``.
        offsets: where each user's begin ``[U + 1]``.
        known: ids of all items that may be drawn, sorted ``[K]``.
        count: items drawn for a target.
        names: of the users, for messages.

    Raises:
        GenRecError: a user has interacted with all of them.
    """

    def __init__(self, items, offsets, known, count, names):
        self.known, self.count = known, count
        user, number = ragged(np.diff(offsets))[0], np.searchsorted(known, items)
        kept = known[np.minimum(number, len(known) - 1)] == items
        self.step = len(known) + 1
        user, number = np.divmod(np.unique(user[kept] * self.step + number[kept]), self.step)
        seen = np.bincount(user, minlength=len(offsets) - 1)
        self.free, self.first = len(known) - seen, seen.cumsum() - seen
        if not self.free.all():
            raise GenRecError(
                f"There is no item to compare a target with: user {shown(str(names[int(self.free.argmin())]))} has "
                f"interacted with all {len(known)} items of the training."
            )
        # unseen items before each seen one, made to rise over all users
        self.unseen_before = number - ragged(seen)[1] + user * self.step

    def draw(self, user, generator):
        """Draw items for some users, numbers ``[R]``, by a generator of numpy; an item may come twice.

        Returns:
            Item ids ``[R, count]``.
        """
        number = np.floor(generator.random((len(user), self.count)) * self.free[user][:, None]).astype(np.int64)
        seen_before = np.searchsorted(self.unseen_before, (user * self.step)[:, None] + number, side="right")
        return self.known[number + seen_before - self.first[user][:, None]]

    def beside(self, sequences, user, generator):
        """Sequences whose last items are masked as :class:`CandidateRows`, these items first; see :meth:`draw`."""
        target = sequences.item[sequences.masked]
        return CandidateRows(sequences, np.column_stack([target, self.draw(user, generator)]))


class CandidateLoader(SequenceLoader):
    """Batches of an epoch: drawn targets of each user, the histories before them, and other items drawn for each.

    Args:
        writer: :class:`CandidateWriter`.
        dataset, sequences, draws, settings: those of :class:`~recbole_genrec.batches.sequence_loader.SequenceLoader`.
        unseen: :class:`UnseenItems` of the same users.
    """

    def __init__(self, writer, dataset, sequences, draws, settings, unseen):
        self.unseen = unseen
        super().__init__(writer, dataset, sequences, draws, settings)

    def _draw(self, plan, batch):
        sequences = super()._draw(plan, batch)
        return self.unseen.beside(sequences, np.searchsorted(self.users, sequences.user), plan.generator)
