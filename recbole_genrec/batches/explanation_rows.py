"""Explanations as rows for a causal language model behind the vectors of a user and an item, as PEPLER reads them.

A row of user 7 and item 3 about a feature of two tokens, whose explanation has two; ``.`` is padding::

    cell        0      1      2   3   4      5    6    7
    token       user   item   f1  f2  start  t1   t2   .
    predicts                          t1     t2   end

Letters: B rows of a batch, T tokens of the longest one, D predicted tokens.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from recbole_genrec.batches.epoch_loader import EpochLoader, batches_of_like_length
from recbole_genrec.batches.layout import moved
from recbole_genrec.batches.tasks import MIDDLE
from recbole_genrec.errors import GenRecError

#: cells before the feature: the user and the item.
N_VECTORS = 2


@dataclass
class ExplanationBatch:
    """What one forward needs; a cell is an index into the flattened ``[B * T]`` states.

    Attributes:
        users, items: ids ``[B]``.
        input_ids: right-padded, with padding where the vectors of user and item go ``[B, T]``.
        lengths: of the prompts up to the token that starts the text ``[B]``.
        cell, label: of the predicted tokens ``[D]``: the state that predicts, and the token.
        rating, rated: the rating, 0 where there is none, and whether there is one ``[B]``.
        n_tokens: cells without padding.
    """

    users: torch.Tensor
    items: torch.Tensor
    input_ids: torch.Tensor
    lengths: torch.Tensor
    cell: torch.Tensor
    label: torch.Tensor
    rating: torch.Tensor
    rated: torch.Tensor
    n_tokens: int

    @property
    def n_decisions(self):
        """Terms that the mean loss is taken over: rows."""
        return len(self.users)

    def to(self, device):
        """The batch on another device."""
        return moved(self, device)


class Row(NamedTuple):
    """One interaction to be written: a rating, a text, or both."""

    user: int
    item: int
    #: word that the text is about; empty: none.
    feature: str
    #: empty: nothing to predict.
    text: str
    #: as text; empty: none.
    rating: str


class ExplanationWriter:
    """Writes rows as tokens.

    Args:
        backbone: its tokenizer encodes.
        longest: cells of a row at most.
        longest_text: tokens of a text at most, its end token included. A longer text loses its end.

    Raises:
        GenRecError: the rows have no room for the vectors and the text, or the tokenizer has no token to end with.
    """

    def __init__(self, backbone, longest, longest_text):
        self.backbone, self.longest_text = backbone, longest_text
        self.start = backbone.bos_id if backbone.bos_id is not None else backbone.eos_id
        if backbone.eos_id is None:
            raise GenRecError("PEPLER needs a token that ends a text, which the backbone's tokenizer does not have.")
        #: tokens of a feature at most.
        self.longest_feature = longest - N_VECTORS - longest_text
        if self.longest_feature < 0:
            raise GenRecError(
                f"'max_prompt_tokens' ({longest}) must be at least 'max_target_tokens' ({longest_text}) and "
                f"{N_VECTORS} for the vectors of user and item."
            )

    def tokens(self, rows):
        """Tokens of each row's prompt, behind the vectors, and of its text, without and with its end: two lists."""
        texts = [f" {row.text}" for row in rows if row.text]
        features = [f" {row.feature}" for row in rows if row.feature]
        known = dict(zip(texts + features, self.backbone.encode_many(texts + features, MIDDLE)))
        prompts, targets = [], []
        for row in rows:
            feature = known[f" {row.feature}"][: self.longest_feature] if row.feature else []
            prompts.append([*feature, self.start])
            text = [*known[f" {row.text}"][: self.longest_text - 1], self.backbone.eos_id] if row.text else []
            targets.append(text)
        return prompts, targets

    def write(self, rows, tokens=None):
        """Rows as an :class:`ExplanationBatch`; ``tokens`` are those of :meth:`tokens`, if they are there already."""
        prompts, targets = self.tokens(rows) if tokens is None else tokens
        lengths = np.array([N_VECTORS + len(prompt) for prompt in prompts])
        n_fed = [max(len(target) - 1, 0) for target in targets]  # the end token is predicted, not fed
        input_ids = np.full((len(rows), int((lengths + n_fed).max())), self.backbone.pad_id, np.int64)
        cells = []
        for number, (prompt, target) in enumerate(zip(prompts, targets)):
            fed = [*prompt, *target[:-1]]
            input_ids[number, N_VECTORS : N_VECTORS + len(fed)] = fed
            first = number * input_ids.shape[1] + lengths[number] - 1
            cells.append(np.arange(first, first + len(target)))
        label = np.array([token for target in targets for token in target], np.int64)
        return ExplanationBatch(
            torch.tensor([row.user for row in rows]),
            torch.tensor([row.item for row in rows]),
            *map(torch.from_numpy, (input_ids, lengths, np.concatenate(cells), label)),
            torch.tensor([float(row.rating or 0) for row in rows]),
            torch.tensor([row.rating != "" for row in rows]),
            n_tokens=int(lengths.sum() + sum(n_fed)),
        )


class ExplanationLoader(EpochLoader):
    """Every training interaction with a text or a rating once an epoch.

    Args:
        writer: :class:`ExplanationWriter`.
        rows: a list of :class:`Row`.
        dataset: the training dataset, for RecBole's collectors.
        settings: :class:`~recbole_genrec.batches.epoch_loader.EpochSettings`; a batch is ``batch_size`` rows.
    """

    def __init__(self, writer, rows, dataset, settings):
        self.writer, self.rows = writer, rows
        self.prompts, self.targets = writer.tokens(rows)
        super().__init__(dataset, settings)

    def _plan_rows(self, generator):
        lengths = np.array([len(prompt) + len(target) for prompt, target in zip(self.prompts, self.targets)])
        return self.rows, batches_of_like_length(lengths, 0, self.settings.batch_size, generator)

    def _write(self, plan, batch, drawn):
        tokens = [self.prompts[row] for row in batch], [self.targets[row] for row in batch]
        return self.writer.write([plan.rows[row] for row in batch], tokens)
