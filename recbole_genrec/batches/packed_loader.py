"""Batches of packed training windows, the same ones for the same seed and epoch."""

import numpy as np

from recbole_genrec.batches.packing import Packer
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import train_sequences


def every_row(count):
    """The share that a single process takes of ``count`` rows."""
    return slice(0, count)


class PackedLoader:
    """Iterates over an epoch's windows in batches of about the same number of tokens.

    Windows are cut anew in every epoch; windows of about the same length share a batch, batches come in random order.
    With ``history_dropout`` an epoch leaves interactions out, as if they had not happened, so that no epoch repeats
    another's histories. Everything follows from the seed and the epoch's number, so that a resumed run sees the batches
    that it would have seen.

    Args:
        packer: :class:`~recbole_genrec.batches.packing.Packer`.
        sequences: users, their items end to end, and where each user's begin, as
            :func:`~recbole_genrec.interactions.dataset.train_sequences` gives them.
        dataset: the training dataset, for RecBole's collectors.
        min_history: items of history that a target keeps in a long sequence.
        history_dropout: share of the interactions that each epoch leaves out.
        batch_tokens: padded tokens in a batch, at least one window; 0: count windows instead.
        batch_size: windows in a batch, where ``batch_tokens`` is 0.
        seed: of the windows, the batches and the instructions.
        shuffle: false keeps windows in order and cuts them at the same places.

    Attributes:
        share: gives the part of so many rows that this process takes, a slice; a batch without any is ``None``.
    """

    share = staticmethod(every_row)

    def __init__(
        self,
        packer: Packer,
        sequences,
        dataset,
        min_history,
        batch_tokens,
        batch_size,
        seed,
        history_dropout=0.0,
        shuffle=True,
    ):
        self.packer, self._dataset, self.min_history = packer, dataset, min_history
        self.history_dropout = history_dropout
        _, self.items, self.offsets = sequences
        self.batch_tokens, self.batch_size, self.seed, self.shuffle = batch_tokens, batch_size, seed, shuffle
        check_dropout(self.offsets, history_dropout)
        self.n_targets = int(np.maximum(np.diff(self.offsets) - 1, 0).sum())
        self.set_epoch(0)

    @property
    def dataset(self):
        """RecBole's collectors read the items' counts here."""
        return self._dataset

    def set_epoch(self, epoch):
        """Choose whose batches the next pass gives; without a call, passes count up from 0."""
        self._epoch = epoch
        self._planned = None

    def __len__(self):
        return len(self._plan()[2])

    def __iter__(self):
        items, windows, batches, generator = self._plan()
        self.set_epoch(self._epoch + 1)
        for batch in batches:
            instruction = generator.integers(len(self.packer.tokens.prefixes), size=len(batch))
            own = self.share(len(batch))
            yield self.packer.pack(items, windows[batch[own]], instruction[own]) if len(batch[own]) else None

    def _plan(self):
        """The epoch's items, windows, batches (lists of indices) and generator, ready to draw the instructions."""
        if self._planned is None:
            generator = np.random.default_rng([self.seed, self._epoch if self.shuffle else 0])
            items, offsets = self.items, self.offsets
            if self.history_dropout:
                items, offsets = drop_interactions(items, offsets, self.history_dropout, generator)
            windows = self.packer.plan(items, offsets, self.min_history, generator)
            lengths = self.packer.sequence_lengths(items, windows)
            batches = batches_of_like_length(
                lengths, self.batch_tokens, self.batch_size, generator if self.shuffle else None
            )
            self._planned = items, windows, batches, generator
        return self._planned


def check_dropout(offsets, share):
    """Refuse to leave out so many interactions that an epoch has nothing to train on.

    Args:
        offsets: of the users' sequences ``[U + 1]``.
        share: of the interactions that each epoch leaves out.

    Raises:
        GenRecError: fewer than one target is left on average.
    """
    targets = int(np.maximum(np.diff(offsets) - 1, 0).sum())
    if targets * (1 - share) < 1:
        raise GenRecError(f"'history_dropout: {share}' leaves less than one of {targets} targets to an epoch.")


def drop_interactions(items, offsets, share, generator):
    """Leave a random share of the interactions out of all sequences.

    It is drawn anew where no sequence keeps the two interactions that a target needs.

    Args:
        items: of all sequences, one after the other ``[N]``.
        offsets: where each begins ``[U + 1]``.
        share: what is left out; see :func:`check_dropout`.
        generator: of numpy.

    Returns:
        The items that are kept, and their offsets.
    """
    while True:
        kept = generator.random(len(items)) >= share
        new_offsets = np.append(0, kept.cumsum())[offsets]
        if (np.diff(new_offsets) > 1).any():
            return items[kept], new_offsets


def batches_of_like_length(lengths, batch_tokens, batch_size, generator=None):
    """Split sequences into batches, those of about the same length together.

    Args:
        lengths: of the sequences, in tokens ``[W]``.
        batch_tokens: padded tokens in a batch, at least one sequence; 0: ``batch_size`` sequences.
        batch_size: sequences in a batch, where ``batch_tokens`` is 0.
        generator: of the order of the batches, and of a little noise in that of the lengths; ``None``: longest first.

    Returns:
        A list of arrays of indices.
    """
    noise = generator.random(len(lengths)) * 0.1 if generator else 0
    order = np.argsort(lengths * (1 + noise), kind="stable")[::-1]  # longest first: the first one sets the width
    batches, start, widest = [], 0, 0
    for place, length in enumerate(lengths[order]):
        size = place - start
        tokens = max(widest, length) * (size + 1)
        full = tokens > batch_tokens if batch_tokens else size == batch_size
        if full and size:
            batches.append(order[start:place])
            start, widest = place, 0
        widest = max(widest, length)
    batches.append(order[start:])
    if generator:
        batches = [batches[i] for i in generator.permutation(len(batches))]
    return [batch for batch in batches if len(batch)]


def packed_train_loader(config, train_dataset, model):
    """The training loader of a model of this package.

    Args:
        config: RecBole's configuration.
        train_dataset: the training part of the split.
        model: gives ``packer`` and ``engine``.

    Returns:
        :class:`PackedLoader`.
    """
    return PackedLoader(
        model.packer,
        train_sequences(train_dataset),
        train_dataset,
        min_history=model.engine.min_history,
        history_dropout=model.engine.history_dropout,
        batch_tokens=model.engine.train_batch_tokens,
        batch_size=config["train_batch_size"],
        seed=config["seed"],
        shuffle=config["shuffle"] is not False,
    )
