"""The interface of a language model that decoding needs.

:class:`recbole_genrec.backbone.backbone.Backbone` implements it.

Shapes: B rows, T new tokens, P cached tokens, H hidden size, V vocabulary, N chosen tokens.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import torch


class Cache(Protocol):
    """Keys and values of prompts and of the edges fed after them."""

    def select(self, rows: torch.Tensor | None) -> None:
        """Rows that the next forward continues; ``None``: all."""

    def rewind(self) -> None:
        """Forget all tokens but the prompts'."""


class LanguageModel(Protocol):
    """A causal language model, or the decoder of an encoder-decoder."""

    is_encoder_decoder: bool

    @property
    def vocab_size(self) -> int:
        """How many tokens the model knows, V."""

    @property
    def pad_id(self) -> int:
        """The token that fills short rows."""

    def __call__(
        self,
        input_embeds: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """States ``[B, T, H]`` of ``input_embeds [B, T, H]``; ``mask [B, T, P + T]``, true where a token is seen.

        A mask of numbers ``[B, A, T, P + T]`` is added in each of A heads.
        """

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """``[B, T, H]`` of ``[B, T]``."""

    def logits(self, hidden: torch.Tensor, token_ids: torch.Tensor | None = None) -> torch.Tensor:
        """``[..., V]`` of ``[..., H]``, or ``[..., N]`` for some tokens."""

    def fill(
        self, input_embeds: torch.Tensor, cache: Cache, rows: torch.Tensor, mask: torch.Tensor | None = None
    ) -> None:
        """Write tokens of some rows, which begin there, into the cache; ``mask`` as in a call, by default causal."""

    def continuation(self, prompt: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        """States ``[B, T, H]`` that predict the tokens ``answer [B, T, H]`` after one prompt ``[1, P, H]``."""

    def new_cache(self, *shape: Any) -> Cache:
        """A cache for B prompts of at most P tokens; of an encoder-decoder, for what it has read."""

    def read(self, input_embeds: torch.Tensor, lengths: torch.Tensor, local: Any = None) -> Any:
        """Run the encoder over prompts, with a mask for its first layers; encoder-decoders only."""

    def start(self, batch: int) -> torch.Tensor:
        """The start token's embeddings ``[B, 1, H]``; encoder-decoders only."""

    def named_parameters(self) -> Iterable[tuple[str, torch.Tensor]]:
        """Names and values of all weights."""
