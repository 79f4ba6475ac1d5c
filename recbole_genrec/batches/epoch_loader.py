"""What the loaders of training batches have in common: epochs, plans, and the part of a process.

An epoch is planned once: which rows it has (windows, sequences, examples) and which of them share a batch. What a batch
draws besides is drawn for all of its rows, whichever process takes them. Everything follows from the seed and the
epoch's number, so that a resumed run sees the batches that it would have seen.

Letters: U users, N interactions, R rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_genrec.errors import GenRecError


@dataclass(frozen=True)
class EpochSettings:
    """What an epoch's batches follow from.

    Attributes:
        seed: of everything drawn.
        batch_size: rows in a batch, where ``batch_tokens`` is 0.
        batch_tokens: padded tokens in a batch, at least one row; 0: count rows instead.
        history_dropout: fraction of the interactions that each epoch leaves out, as if they had not happened.
        shuffle: false plans every epoch like the first.
        user_dropout: fraction of the windows that go without their user, where prompts name one.
    """

    seed: int
    batch_size: int
    batch_tokens: int = 0
    history_dropout: float = 0.0
    shuffle: bool = True
    user_dropout: float = 0.0


def epoch_settings(config, engine):
    """The :class:`EpochSettings` of a model of this package.

    Args:
        config: RecBole's configuration.
        engine: :class:`~recbole_genrec.config.arguments.EngineArguments`.
    """
    return EpochSettings(
        seed=config["seed"],
        batch_size=config["train_batch_size"],
        batch_tokens=engine.train_batch_tokens,
        history_dropout=engine.history_dropout,
    )


@dataclass
class Plan:
    """An epoch: what the loader made of its rows, the batches as arrays of row numbers, and the generator of more."""

    rows: Any
    batches: list
    generator: np.random.Generator


def every_row(count):
    """The slice of ``count`` rows that a single process takes."""
    return slice(0, count)


class EpochLoader:
    """Iterates over an epoch's batches. A loader of its own kind gives ``_plan_rows``, ``_draw`` and ``_write``.

    Args:
        dataset: the training part of a split; RecBole's collectors read the items' counts there.
        settings: :class:`EpochSettings`.
        sequences: users, their items end to end, and where each user's begin, as
            :func:`~recbole_genrec.interactions.dataset.train_sequences` gives them; ``None`` where rows are made of
            something else.

    Attributes:
        own_rows: gives the rows of a batch of so many that this process takes, a slice; a batch without any is
            ``None``.
        n_targets: targets in an epoch without dropout, where rows are made of sequences.
    """

    own_rows = staticmethod(every_row)
    _stage, _first_epoch = "finetune", 0

    def __init__(self, dataset, settings, sequences=None):
        self.dataset, self.settings = dataset, settings
        if sequences is not None:
            self.users, self.items, self.offsets = sequences
            self.n_targets = int(np.maximum(np.diff(self.offsets) - 1, 0).sum())
        self.set_epoch(0)

    def set_epoch(self, epoch):
        """Choose whose batches the next pass gives; without a call, passes count up from 0."""
        self._epoch, self._planned = epoch, None

    def set_stage(self, stage, first_epoch=0):
        """Choose whether batches are for ``pretrain`` or ``finetune``.

        ``first_epoch`` is the number of the stage's first epoch: its batches are the same whatever comes before it.
        """
        self._stage, self._first_epoch = stage, first_epoch
        self.set_epoch(first_epoch)

    def __len__(self):
        return len(self._plan().batches)

    def __iter__(self):
        plan = self._plan()
        self.set_epoch(self._epoch + 1)
        for batch in plan.batches:
            drawn, own = self._draw(plan, batch), self.own_rows(len(batch))
            yield self._write(plan, batch[own], drawn[own]) if len(batch[own]) else None

    def _plan(self):
        """The :class:`Plan` of the epoch, made when it is first asked for."""
        if self._planned is None:
            generator = np.random.default_rng(self._entropy())
            self._planned = Plan(*self._plan_rows(generator), generator)
        return self._planned

    def _entropy(self):
        """Numbers that the epoch's generator is seeded with."""
        stage = self._stage.encode() if self._stage == "pretrain" else b""
        return [self.settings.seed, *stage, self._epoch - self._first_epoch if self.settings.shuffle else 0]

    def _kept_interactions(self, generator):
        """The epoch's items, flat, and where each user's begin."""
        kept, offsets = self._kept(generator)
        return self.items[kept], offsets

    def _kept(self, generator):
        """An index of the interactions that the epoch keeps, and where each user's begin among them."""
        if not self.settings.history_dropout:
            return slice(None), self.offsets
        number = np.arange(len(self.items))
        return drop_interactions(number, self.offsets, self.settings.history_dropout, generator)

    def _plan_rows(self, generator):
        """Rows in a form of the loader's own, and the batches: a list of arrays of row numbers."""
        raise NotImplementedError

    def _draw(self, plan, batch):
        """What is drawn for each row of a batch; slices of it belong to slices of the batch."""
        return batch

    def _write(self, plan, batch, drawn):
        """The batch for the model, of some row numbers and what was drawn for them."""
        raise NotImplementedError


def check_dropout(n_targets, history_dropout):
    """Refuse to leave out so many interactions that an epoch has nothing to train on.

    Args:
        n_targets: targets without dropout.
        history_dropout: fraction of the interactions that each epoch leaves out.

    Raises:
        GenRecError: fewer than one target is left on average.
    """
    if n_targets * (1 - history_dropout) < 1:
        raise GenRecError(
            f"'history_dropout: {history_dropout}' leaves less than one of {n_targets} targets to an epoch."
        )


def drop_interactions(items, offsets, history_dropout, generator):
    """Leave a random part of the interactions out of all sequences.

    It is drawn anew where no sequence keeps the two interactions that a target needs.

    Args:
        items: of all sequences, one after the other ``[N]``.
        offsets: where each begins ``[U + 1]``.
        history_dropout: fraction that is left out; see :func:`check_dropout`.
        generator: of numpy.

    Returns:
        The items that are kept, and their offsets.
    """
    while True:
        kept = generator.random(len(items)) >= history_dropout
        new_offsets = np.append(0, kept.cumsum())[offsets]
        if (np.diff(new_offsets) > 1).any():
            return items[kept], new_offsets


def batches_of_like_length(lengths, batch_tokens, batch_size, generator=None):
    """Split rows into batches, those of about the same length together.

    Args:
        lengths: of the rows, in tokens ``[R]``.
        batch_tokens: padded tokens in a batch, at least one row; 0: ``batch_size`` rows.
        batch_size: rows in a batch, where ``batch_tokens`` is 0.
        generator: of the order of the batches, and of a little noise in that of the lengths; ``None``: longest first.

    Returns:
        A list of arrays of row numbers.
    """
    noise = generator.random(len(lengths)) * 0.1 if generator else 0
    order = np.argsort(lengths * (1 + noise), kind="stable")[::-1]  # longest first: the first one sets the width
    batches, start, widest = [], 0, 0
    for index, length in enumerate(lengths[order]):
        size = index - start
        tokens = max(widest, length) * (size + 1)
        full = tokens > batch_tokens if batch_tokens else size == batch_size
        if full and size:
            batches.append(order[start:index])
            start, widest = index, 0
        widest = max(widest, length)
    batches.append(order[start:])
    if generator:
        batches = [batches[i] for i in generator.permutation(len(batches))]
    return [batch for batch in batches if len(batch)]
