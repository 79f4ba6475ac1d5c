"""Item vectors: a learned vector for each item plus the projected vector of its text.

Reference for dropping the learned part: Maksims Volkovs, Guangwei Yu and Tomi Poutanen. "DropoutNet: Addressing Cold
Start in Recommender Systems", NeurIPS 2017.

Letters: I items with padding, D dimensions of text vectors, H hidden size, F further texts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from recbole_genrec.errors import GenRecError


class ItemVectors(nn.Module):
    """A replacement for an item ``nn.Embedding``: ``learned[item] + table[item] @ projection``.

    The projection begins at zero: until it is trained, the module is the embedding alone.

    Args:
        learned: what the learned vectors begin with ``[I, H]``.
        table: vectors of the items' texts ``[I, D]``, zero for padding and for an item without text. It is no part of
            the state dict.
        seen: booleans ``[I]``, true for the items that training has seen; the others have their text alone: their
            learned vector is zero, and stays so. ``None``: all.
        dropout: share of the items that go without their learned vector in a training step.
        padding_idx: an item whose vector gets no gradient from :meth:`forward`.
        fingerprint: whether the state dict holds a fingerprint of ``table``, and a state dict with another is refused.
    """

    learned: nn.Parameter
    projection: nn.Parameter
    table: Tensor

    def __init__(
        self,
        learned: Tensor,
        table: Tensor,
        seen: Tensor | None = None,
        dropout: float = 0.0,
        padding_idx: int | None = None,
        *,
        fingerprint: bool = False,
    ) -> None:
        super().__init__()
        learned = learned.detach().clone()
        if seen is not None:
            learned[~seen] = 0
        self.learned = nn.Parameter(learned)
        self.projection = nn.Parameter(learned.new_zeros(table.shape[1], learned.shape[1]))
        self.dropout, self.padding_idx = dropout, padding_idx
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("_seen", None if seen is None or seen.all() else seen.to(learned), persistent=False)
        self.register_buffer("fingerprint", _fingerprint(table) if fingerprint else None)
        self._kept: Tensor | None = None
        self._more: Tensor | None = None
        self._weight: Tensor | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        """Within the block, a training step, all vectors are computed once; see also :meth:`draw`."""
        self.draw()
        self._weight = self.weight
        try:
            yield
        finally:
            self._weight = None

    def draw(self) -> None:
        """Draw the items whose learned vector is dropped in the coming training step."""
        if self.training and self.dropout:
            kept = torch.rand(len(self.learned), device=self.learned.device) >= self.dropout
            if self.padding_idx is not None:
                kept[self.padding_idx] = True
            self._kept = kept.to(self.learned.dtype)

    def forward(self, item: Tensor) -> Tensor:
        """Vectors ``[..., H]`` of items ``[...]``; items from I on are the texts of :meth:`with_texts`."""
        many = 2 * item.numel() > len(self.learned)  # it costs less to project each item once
        if self._more is None and (many or self._weight is not None):
            return embedding(item, self.weight, self.padding_idx)
        table, learned = self.table, self.learned
        if self._more is not None:
            table = torch.cat([table, self._more])
            learned = torch.cat([learned, learned.new_zeros(len(self._more), learned.shape[1])])
        own, mask = embedding(item, learned, self.padding_idx), self._mask()
        if mask is not None:
            own = own * mask[item][..., None]
        return own + table[item] @ self.projection

    @property
    def weight(self) -> Tensor:
        """The vectors of all items ``[I, H]``, padding included."""
        if self._weight is not None:
            return self._weight
        mask = self._mask()
        own = self.learned if mask is None else self.learned * mask[:, None]
        return own + self.table @ self.projection

    @contextmanager
    def with_texts(self, vectors: Tensor) -> Iterator[None]:
        """Within the block, items I, I + 1, ... are texts with these vectors ``[F, D]``."""
        self._more = vectors.to(self.table)
        try:
            yield
        finally:
            self._more = None

    def _mask(self) -> Tensor | None:
        """The dropout factor of each learned vector ``[I]``; ``None`` outside of training."""
        if not self.training:
            return None
        if self._kept is None or not self.dropout:
            return self._seen
        return self._kept if self._seen is None else self._kept * self._seen

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        stored, name = state_dict.get(f"{prefix}fingerprint"), f"{prefix}fingerprint"
        if self.fingerprint is not None and stored is not None:
            if not torch.allclose(stored.to(self.fingerprint), self.fingerprint, rtol=0, atol=1e-2):
                raise GenRecError(
                    f"The vectors of item texts are others than those that the weights were trained with ({name!r} "
                    "differs): another encoder, other texts or another split. Train again, or load them with the data "
                    "and settings of the training."
                )
        super()._load_from_state_dict(state_dict, prefix, *others)


def _fingerprint(table: Tensor) -> Tensor:
    """A fingerprint of a table ``[I, D]`` that does not depend on rounding: float64 ``[4]``."""
    random = np.random.default_rng(0)
    left = torch.from_numpy(random.standard_normal((4, len(table))))
    right = torch.from_numpy(random.standard_normal(table.shape[1]))
    return left @ (table.double().cpu() @ right)
