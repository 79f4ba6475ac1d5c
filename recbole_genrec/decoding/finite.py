"""Refuse logits that are not finite, and name their cause: no list is made from them.

NaN compares as false with everything, so that a search would drop what it stands for without a word.
"""

from collections.abc import Iterable

import torch

from recbole_genrec.decoding.language_model import LanguageModel
from recbole_genrec.decoding.trie import Trie
from recbole_genrec.errors import GenRecError


def check_scores(backbone: LanguageModel, trie: Trie | None, scores: torch.Tensor, where: str, rows: str) -> None:
    """Refuse logits or log-probabilities that are not finite.

    Args:
        backbone: the language model that gave them.
        trie: the catalogue, whose vectors of edges and items may have a part in them; ``None``: it had none.
        scores: ``[R, N]``, or ``[R]``.
        where: they stand, such as ``"at the first token of a title"``.
        rows: what R counts, such as ``"histories"``.

    Raises:
        GenRecError: one is NaN or infinite; the message names where, the rows and what is to blame.
    """
    finite = torch.isfinite(scores)
    if finite.all():
        return
    bad = torch.nonzero(~finite.reshape(len(finite), -1).all(1))[:, 0]
    raise GenRecError(
        f"The language model gives a score of {scores[~finite][0].item()} {where}, for {len(bad)} of {len(finite)} "
        f"{rows}, number {bad[0].item() + 1} the first: {_blame(backbone, trie)}. Nothing is ranked by it."
    )


class FiniteLogits:
    """A ``LogitsProcessor`` that refuses NaN and infinity and changes nothing.

    Minus infinity is left: other processors rule tokens out with it.

    Args:
        backbone: the language model.
    """

    def __init__(self, backbone: LanguageModel) -> None:
        self.backbone = backbone

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the logits ``scores [B, V]`` of the token after ``input_ids [B, T]`` as they are.

        Raises:
            GenRecError: one is NaN or infinity.
        """
        ruled_out = scores == -torch.inf
        where = f"after token {input_ids.shape[1]} of a text"
        check_scores(self.backbone, None, scores.masked_fill(ruled_out, 0), where, "prompts")
        return scores


def first_not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """Name of the first tensor that holds a NaN or an infinity, of pairs of name and tensor; ``None`` without one."""
    return next((name for name, tensor in tensors if not torch.isfinite(tensor).all()), None)


def _blame(backbone: LanguageModel, trie: Trie | None) -> str:
    tables = {} if trie is None else {"edge_embedding": trie.edge_embedding, "item_embedding": trie.item_vectors}
    weights = [(name, table.weight) for name, table in tables.items() if table is not None]
    name = first_not_finite([*backbone.named_parameters(), *weights])
    if name:
        return f"its weight {name!r} is not finite"
    return "its weights are finite, so a number grew too large on the way, or a vector of an item is not finite"
