"""What :class:`~recbole_genrec.batches.packing.Packer` is given, and what it gives: windows, packed batches, prompts.

Letters: W windows, T tokens of a packed sequence, D decisions (or labelled tokens).
"""

from dataclasses import dataclass

import numpy as np
import torch

from recbole_genrec.backbone.time_bias import CellTimes, causal_bias
from recbole_genrec.batches.layout import ItemCells, Labels, PackedAttention, moved


@dataclass
class Windows:
    """Parts of item sequences laid end to end, all arrays ``[W]`` of indices into the flat array of items.

    A window's history begins at ``first``, its targets at ``target``; both end before ``stop``. ``user`` is the number
    of its user in the table of :class:`~recbole_genrec.batches.user_tokens.UserTokens`, 0 for one who is not known;
    ``None``: none is.
    """

    first: np.ndarray
    target: np.ndarray
    stop: np.ndarray
    user: np.ndarray | None = None

    def __len__(self):
        return len(self.first)

    def __getitem__(self, index):
        user = None if self.user is None else self.user[index]
        return Windows(self.first[index], self.target[index], self.stop[index], user)


@dataclass
class PackedBatch:
    """What one training forward needs.

    Attributes:
        input_ids: ``[W, T]``, right-padded.
        attention: :class:`~recbole_genrec.batches.layout.PackedAttention`, or ``None`` where attention is plainly
            causal and positions simply count.
        items: :class:`~recbole_genrec.batches.layout.ItemCells` of the histories.
        labels: :class:`~recbole_genrec.batches.layout.Labels` of the targets whose identifiers are learnt.
        targets: :class:`~recbole_genrec.batches.layout.ItemCells` of all targets: the cell before the first token of
            each one's identifier, and which item it is.
        learnt: booleans, whether each of them is learnt.
        times: :class:`~recbole_genrec.backbone.time_bias.CellTimes` of all cells; ``None``: time plays no part.
        n_tokens: tokens without padding.
        n_decisions: terms that the mean loss is taken over: the labels of all targets, learnt or not.
        learnt_share: expected share of the targets that are learnt.
    """

    input_ids: torch.Tensor
    attention: PackedAttention | None
    items: ItemCells
    labels: Labels
    targets: ItemCells
    learnt: torch.Tensor
    times: CellTimes | None
    n_tokens: int
    n_decisions: int
    learnt_share: float = 1.0

    @property
    def position_ids(self):
        """``[W, T]``, or ``None`` where positions simply count."""
        return None if self.attention is None else self.attention.position_ids

    @property
    def n_targets(self):
        """Targets in the batch."""
        return len(self.targets.item)

    def to(self, device):
        """The same batch on another device."""
        return moved(self, device)

    def mask(self, kind="dense", time_bias=None):
        """Attention mask.

        Args:
            kind: ``dense``, or a form that skips what nobody sees: ``branches`` for a
                :class:`~recbole_genrec.backbone.branches.BranchMask`, ``blocks`` for a ``BlockMask`` of FlexAttention.
            time_bias: :class:`~recbole_genrec.backbone.time_bias.TimeBias`, which takes no blocks; ``None``: none.

        Returns:
            The mask, if dense boolean ``[W, T, T]``, or with a bias float ``[W, A, T, T]``; ``None`` for plain causal
            attention.
        """
        if time_bias is None:
            return None if self.attention is None else self.attention.mask(kind)
        if self.attention is None:
            return causal_bias(time_bias, self.times)

        def bias(query, key, seen):
            return time_bias.masked(self.times[:, query], self.times.known[:, key], seen)

        return self.attention.mask(kind, bias)


@dataclass
class Prompts:
    """Prompts up to the target.

    Attributes:
        input_ids: ``[W, T]``, right-padded.
        lengths: ``[W]``.
        items: :class:`~recbole_genrec.batches.layout.ItemCells` of the histories.
        times: as in :class:`PackedBatch`.
    """

    input_ids: torch.Tensor
    lengths: torch.Tensor
    items: ItemCells
    times: CellTimes | None = None
