"""Batches of pretraining (PTUM) for GenRec; see :mod:`recbole_genrec.model.pretraining`.

Letters: W windows of a batch, N the items of all histories, M masked items.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from recbole_genrec.batches.layout import moved
from recbole_genrec.batches.packed_loader import PackedLoader
from recbole_genrec.batches.packing import PackedBatch, Prompts
from recbole_genrec.interactions.segments import ragged


@dataclass
class PretrainBatch:
    """What a step of pretraining needs.

    Attributes:
        n_windows: W.
        packed: the windows for ``next_k``, no identifier learnt; ``None`` without.
        prompts: histories with a masked item, whose id is one more than the last item's; ``None``: there are none.
        masked_item: the item behind each prompt's mask ``[M]``.
    """

    n_windows: int
    packed: PackedBatch | None = None
    prompts: Prompts | None = None
    masked_item: torch.Tensor | None = None

    @property
    def n_decisions(self):
        """Terms that the mean loss is taken over: windows."""
        return self.n_windows

    @property
    def n_tokens(self):
        """Tokens without padding."""
        of_prompts = 0 if self.prompts is None else int(self.prompts.lengths.sum())
        return of_prompts + (0 if self.packed is None else self.packed.n_tokens)

    def to(self, device):
        """The same batch on another device."""
        return moved(self, device)


class PretrainLoader(PackedLoader):
    """Batches of either stage: ``finetune``, those of the base class, or ``pretrain``, :class:`PretrainBatch`.

    A window of pretraining is one of the base class. What is masked is one of all its items, targets among them, that
    a prompt has room for.

    Args:
        pretraining: :class:`~recbole_genrec.config.arguments.PretrainArguments`.
        packer: :class:`~recbole_genrec.batches.packing.Packer`.
        given: the other arguments of the base class.
    """

    def __init__(self, pretraining, packer, *given):
        self.pretraining = pretraining
        self.masked_packer = with_mask(packer) if pretraining.masks else None
        super().__init__(packer, *given)
        self._learnt_share = self.branch_share

    def set_stage(self, stage, first_epoch=0):
        """As the base class; pretraining learns no identifiers."""
        self.branch_share = 0.0 if stage == "pretrain" else self._learnt_share
        super().set_stage(stage, first_epoch)

    def _draw(self, plan, batch):
        """What the base class draws, and for ``pretrain`` where in its history the mask stands, from 0 to 1."""
        drawn = super()._draw(plan, batch)
        if self._stage != "pretrain":
            return drawn
        return np.column_stack([drawn, plan.generator.random(len(batch))])

    def _write(self, plan, batch, drawn):
        if self._stage != "pretrain":
            return super()._write(plan, batch, drawn)
        written = PretrainBatch(len(batch))
        if self.pretraining.looks_ahead:
            written = replace(written, packed=super()._write(plan, batch, drawn[:, :2].astype(np.int64)))
        return self._with_masks(written, plan, batch, drawn[:, -1]) if self.pretraining.masks else written

    def _with_masks(self, written, plan, batch, place):
        items, windows, _, context = plan.rows
        windows = windows[batch]
        first = self.packer.history_start(items, windows.first, windows.stop)
        long_enough = windows.stop - first > 1  # a mask alone says nothing
        if not long_enough.any():
            return written
        first, place, count = first[long_enough], place[long_enough], (windows.stop - first)[long_enough]
        row, order = ragged(count)
        flat = first[row] + order
        begin = count.cumsum() - count
        masked = begin + (place * count).astype(np.int64)
        shown = items[flat]
        target = torch.from_numpy(shown[masked])
        shown[masked] = len(self.packer.item_length)
        user = None if windows.user is None else windows.user[long_enough]
        context = replace(context.kept(flat), user=user)
        prompts = self.masked_packer.prompts(shown, begin, begin + count, context)
        return replace(written, prompts=prompts, masked_item=target)


def with_mask(packer):
    """A packer that knows one more item, the mask: the end token in the place of an item's tokens."""
    tokens = packer.tokens
    mask = np.concatenate([tokens.around.between, [tokens.end], tokens.around.suffix]).astype(np.int64)
    more = replace(
        tokens,
        item_token=np.append(tokens.item_token, mask),
        item_offset=np.append(tokens.item_offset, tokens.item_offset[-1] + len(mask)),
    )
    return packer.with_history_items(more)
