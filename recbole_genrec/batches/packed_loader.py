"""Batches of packed training windows."""

from dataclasses import replace

import numpy as np

from recbole_genrec.batches.epoch_loader import EpochLoader, batches_of_like_length, check_dropout
from recbole_genrec.batches.layout import HistoryContext


class PackedLoader(EpochLoader):
    """Iterates over an epoch's windows in batches of about the same number of tokens.

    Windows are cut anew in every epoch; windows of about the same length share a batch, batches come in random order.
    With ``history_dropout`` no epoch repeats another's histories. Without ``shuffle`` windows are cut at the same
    points, and come longest first.

    Args:
        packer: :class:`~recbole_genrec.batches.packing.Packer`.
        dataset, sequences, settings: see :class:`~recbole_genrec.batches.epoch_loader.EpochLoader`.
        min_history: items of history that a target keeps in a long sequence.
        branch_share: share of the targets whose identifiers are learnt.
        context: :class:`~recbole_genrec.batches.layout.HistoryContext` of the interactions; by default none.

    Raises:
        GenRecError: ``history_dropout`` leaves less than a target to an epoch.
    """

    def __init__(self, packer, dataset, sequences, settings, min_history, branch_share=1.0, context=None):
        self.packer, self.min_history, self.branch_share = packer, min_history, branch_share
        self.context = context or HistoryContext()
        super().__init__(dataset, settings, sequences)
        check_dropout(self.n_targets, settings.history_dropout)

    def _plan_rows(self, generator):
        """The epoch's items, windows, which items' identifiers are learnt, and the context."""
        kept, offsets = self._kept(generator)
        items = self.items[kept]
        context = self.packer.describe(items, self.context.kept(kept))  # times pass between the interactions kept
        windows = self._with_users(self.packer.plan(items, offsets, self.min_history, generator, context), offsets)
        learnt = generator.random(len(items)) < self.branch_share if self.branch_share < 1 else None
        lengths = self.packer.sequence_lengths(items, windows, learnt, context)
        order = generator if self.settings.shuffle else None
        batches = batches_of_like_length(lengths, self.settings.batch_tokens, self.settings.batch_size, order)
        return (items, windows, learnt, context), batches

    def _with_users(self, windows, offsets):
        """The windows with their users, where prompts name some."""
        if self.packer.tokens.users is None:
            return windows
        return replace(windows, user=self.users[np.searchsorted(offsets, windows.first, side="right") - 1])

    def _draw(self, plan, batch):
        """The number of an instruction for each window, and whether its user is named ``[B, 2]``."""
        instruction = plan.generator.integers(len(self.packer.tokens.prefixes), size=len(batch))
        named, dropout = np.ones(len(batch), np.int64), self.settings.user_dropout
        if self.packer.tokens.users is not None and dropout:
            named = plan.generator.random(len(batch)) >= dropout
        return np.stack([instruction, named], 1)

    def _write(self, plan, batch, drawn):
        items, windows, learnt, context = plan.rows
        windows, (instruction, named) = windows[batch], drawn.T
        if windows.user is not None:
            windows = replace(windows, user=windows.user * named)
        packed = self.packer.pack(items, windows, instruction, learnt, context)
        return replace(packed, learnt_share=self.branch_share)
