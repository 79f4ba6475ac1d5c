"""Yes-or-no prompts as batches: what users liked and disliked, a candidate, and whether it was liked.

Letters: B rows of a batch, L history length, T tokens, R rows of training.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from recbole_genrec.batches.epoch_loader import EpochLoader, batches_of_like_length
from recbole_genrec.batches.layout import moved
from recbole_genrec.batches.tokens import MIDDLE
from recbole_genrec.errors import GenRecError, shown

#: rows whose histories are gathered at once to count their tokens.
ROWS_AT_ONCE = 65_536


class RowFields(NamedTuple):
    """Names of RecBole's columns: the history and its labels ``[B, L]``, its length, the candidate and its label."""

    history: str
    history_label: str
    length: str
    candidate: str
    label: str

    def histories(self, interaction):
        """Item ids ``[B, L]``, right-padded with 0, labels ``[B, L]`` and lengths ``[B]`` of RecBole's rows."""
        return [interaction[name].cpu().numpy() for name in (self.history, self.history_label, self.length)]


class AnswerLimits(NamedTuple):
    """What a prompt may hold: the newest items of a history, and tokens."""

    items: int
    tokens: int


@dataclass
class AnswerBatch:
    """Prompts that end before the answer, right-padded ``[B, T]``, their lengths ``[B]`` and labels ``[B]``, 0 or 1."""

    input_ids: torch.Tensor
    lengths: torch.Tensor
    label: torch.Tensor
    n_tokens: int

    @property
    def n_decisions(self):
        """Terms that the mean loss is taken over: rows."""
        return len(self.lengths)

    def to(self, device):
        """The same batch on another device."""
        return moved(self, device)


class AnswerWriter:
    """Writes rows as yes-or-no prompts.

    A prompt is a trunk, which the history decides, then the candidate's title and the ``ending``. In a longer prompt
    than ``limits`` allow, the trunk loses its oldest items; it leaves room for the longest title, so that it is the
    same whichever item is asked about.

    Args:
        prompt: :class:`~recbole_genrec.prompt.yes_no_prompts.YesNoPrompt`.
        backbone: gives ``encode``, ``bos_id`` and ``pad_id``.
        titles: for item ids 1 to I, the tokens of the title and of the text before it in an item.
        limits: :class:`AnswerLimits`.

    Attributes:
        ending: tokens after the candidate's title.
        answers: tokens that the answers yes and no begin with.

    Raises:
        GenRecError: both answers begin with the same token, or not even a prompt without a history fits.
    """

    def __init__(self, prompt, backbone, titles, limits):
        self.limits, self.pad_id = limits, backbone.pad_id
        self.titles = [np.zeros(0, np.int64), *(np.array(title, np.int64) for title in titles)]

        def encode(text):
            return np.array(backbone.encode(text, MIDDLE), np.int64)

        first, *others = prompt.pieces()
        start = [] if backbone.bos_id is None else [backbone.bos_id]
        self.start = np.array([*start, *backbone.encode(first.text)], np.int64)
        self.pieces = [piece if piece.field else encode(piece.text) for piece in others]
        candidate = next(i for i, piece in enumerate(others) if piece.field == "candidate")
        self.pieces = self.pieces[:candidate]
        self.after_title, self.between = encode(prompt.around_title[1]), encode(prompt.between)
        self.nothing, self.ending = encode(prompt.nothing), encode(prompt.ending)
        self.answers = _answers(prompt, backbone)
        self.longest_title = max(map(len, self.titles))
        self._item_cost = np.array([len(title) + len(self.after_title) + len(self.between) for title in self.titles])
        bare = len(self.trunk(np.zeros(0, np.int64), np.zeros(0))) + self.longest_title + len(self.ending)
        if bare > limits.tokens:
            raise GenRecError(
                f"'max_prompt_tokens' ({limits.tokens}) is too small: the prompt {prompt.name!r} has {bare} tokens "
                "without a history, with the longest title as the candidate."
            )

    def trunk(self, items, label):
        """The tokens before the candidate's title, of a history.

        Args:
            items: item ids, oldest first ``[L]``.
            label: of each, 1 where it was liked ``[L]``.
        """
        items, label = items[-self.limits.items :], label[-self.limits.items :] > 0
        room = self.limits.tokens - self.longest_title - len(self.ending)
        while True:
            tokens = self._lists(items, label)
            if len(tokens) <= room or not len(items):
                return tokens
            items, label = items[1:], label[1:]

    def _lists(self, items, label):
        parts = [self.start]
        for piece in self.pieces:
            if isinstance(piece, np.ndarray):
                parts.append(piece)
            else:
                parts += self._list(items[label == (piece.field == "liked")])
        return np.concatenate(parts)

    def _list(self, items):
        if not len(items):
            return [self.nothing]
        written = [part for item in items for part in (self.between, self.titles[item], self.after_title)]
        return written[1:]

    def trunks(self, histories, labels, lengths):
        """Trunks of some rows, right-padded.

        Args:
            histories: item ids ``[B, L]``.
            labels: ``[B, L]``.
            lengths: ``[B]``.

        Returns:
            Token ids ``[B, T]`` and lengths ``[B]``.
        """
        rows = zip(histories, labels, lengths)
        return self._padded([self.trunk(items[:length], label[:length]) for items, label, length in rows])

    def write(self, interaction, names):
        """The prompts of RecBole's rows, and their labels, as :class:`AnswerBatch`; ``names``: :class:`RowFields`."""
        written = [
            np.concatenate([self.trunk(items[:length], label[:length]), self.titles[candidate], self.ending])
            for items, label, length, candidate in zip(
                *names.histories(interaction), interaction[names.candidate].tolist()
            )
        ]
        input_ids, lengths = self._padded(written)
        return AnswerBatch(input_ids, lengths, interaction[names.label].float().cpu(), int(lengths.sum()))

    def _padded(self, written):
        lengths = np.array([len(tokens) for tokens in written])
        table = np.full((len(written), lengths.max(initial=0)), self.pad_id, np.int64)
        for row, tokens in enumerate(written):
            table[row, : len(tokens)] = tokens
        return torch.from_numpy(table), torch.from_numpy(lengths)

    def count(self, histories, lengths, candidates):
        """About how many tokens the prompts of some rows have ``[B]``; arguments as in :meth:`trunks`."""
        place = np.arange(histories.shape[1])
        shown_ones = (place < lengths[:, None]) & (place >= lengths[:, None] - self.limits.items)
        listed = (self._item_cost[histories] * shown_ones).sum(1)
        return np.minimum(listed + self._item_cost[candidates], self.limits.tokens)


def _answers(prompt, backbone):
    """First tokens of the answers yes and no, as they stand after the prompt."""
    firsts = [backbone.encode(answer, prompt.ending)[:1] for answer in (prompt.yes_answer, prompt.no_answer)]
    for answer, first in zip((prompt.yes_answer, prompt.no_answer), firsts):
        if not first:
            raise GenRecError(
                f"The backbone's tokenizer makes no token of the answer {shown(answer)} of {prompt.name!r}."
            )
    if firsts[0] == firsts[1]:
        token = backbone.tokenizer.convert_ids_to_tokens(firsts[0])[0]
        raise GenRecError(
            f"The answers {shown(prompt.yes_answer)} and {shown(prompt.no_answer)} of the prompt {prompt.name!r} begin "
            f"with the same token of the backbone's tokenizer, {shown(token)}: their probabilities cannot be told "
            "apart. Choose other answers, or move what they share to the end of 'text'."
        )
    return [first[0] for first in firsts]


class AnswerLoader(EpochLoader):
    """Batches of an epoch: all rows, those of like length together.

    Args:
        writer: :class:`AnswerWriter`.
        names: :class:`RowFields`.
        dataset: the training part of a split.
        rows: numbers of its rows to train on ``[R]``.
        settings: :class:`~recbole_genrec.batches.epoch_loader.EpochSettings`; a batch is ``batch_size`` rows.
    """

    def __init__(self, writer, names, dataset, rows, settings):
        self.writer, self.names, self.rows = writer, names, rows
        self._length = np.concatenate(
            [
                self._count(dataset.inter_feat[part])
                for part in np.split(rows, range(ROWS_AT_ONCE, len(rows), ROWS_AT_ONCE))
            ]
        )
        super().__init__(dataset, settings)

    def _count(self, interaction):
        histories, _, lengths = self.names.histories(interaction)
        return self.writer.count(histories, lengths, interaction[self.names.candidate].numpy())

    def _plan_rows(self, generator):
        return self.rows, batches_of_like_length(self._length, 0, self.settings.batch_size, generator)

    def _write(self, plan, batch, drawn):
        return self.writer.write(self.dataset.inter_feat[plan.rows[batch]], self.names)
