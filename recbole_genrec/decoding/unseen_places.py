"""List positions reserved for items unseen in training.

Nothing in the training says how likely a new item is beside the known ones, so few of them reach a list by their own
probability. A list can hold one anyway, the likeliest: at a place that costs the known items little.

Letters: B prompts, K list length, I items.
"""

from dataclasses import replace
from typing import Any

import torch

from recbole_genrec.decoding.prior import unseen_items
from recbole_genrec.decoding.search import SearchEffort, TopK, search
from recbole_genrec.decoding.tree import PromptTree


def search_with_unseen(
    tree: PromptTree, k: int, normalization: str = "trie", effort: SearchEffort | None = None, **choice: Any
) -> TopK:
    """Find the K most probable items, and give items unseen in training one place in every ``unseen_every``.

    With the trie's ``unseen_every`` of 10, the likeliest unseen item that does not stand above takes place 10 of a list
    that has none up to there, place 20 of one that has fewer than two, and so on; the others keep their order. Where
    ``unseen_every`` is 0, or there are no unseen items, it is :func:`~recbole_genrec.decoding.search.search`.

    Args:
        tree, k, normalization, effort: see there. choice: its ``allowed`` and ``left_out``.

    Returns:
        :class:`~recbole_genrec.decoding.search.TopK`; the scores are those of the items, and so not in order where an
        unseen item has been put.
    """
    found = search(tree, k, normalization, effort, **choice)
    every, trie = tree.trie.unseen_every, tree.trie
    if not every or every > k or trie.item_vectors is None:
        return found
    unseen = unseen_items(trie.item_vectors)
    unseen[0] = False
    if not unseen.any():
        return found
    allowed = choice.get("allowed")
    choice["allowed"] = unseen if allowed is None else unseen & allowed.to(unseen.device)
    tree.rewind()
    more = search(tree, min(k // every, trie.n_items), normalization, effort, **choice)
    items, scores = found.items, found.scores
    for number in range(1, k // every + 1):
        items, scores = _put(items, scores, number, number * every, unseen, more)
    return replace(
        found,
        items=items,
        scores=scores,
        expanded=found.expanded + more.expanded,
        over_budget=found.over_budget | more.over_budget,
        rounds=found.rounds + more.rounds,
    )


def _put(
    items: torch.Tensor, scores: torch.Tensor, number: int, place: int, unseen: torch.Tensor, more: TopK
) -> tuple[torch.Tensor, torch.Tensor]:
    """Put the next unseen item at a place, counted from 1, of lists ``[B, K]`` with fewer than ``number`` up to it."""
    above = unseen[items[:, :place]].sum(1)
    column = above.clamp_max(more.items.shape[1] - 1)[:, None]  # those above are the likeliest, in the same order
    item, score = more.items.gather(1, column), more.scores.gather(1, column)
    short = ((above < number) & (above < more.items.shape[1]))[:, None] & (item > 0)
    order = torch.arange(items.shape[1], dtype=torch.float, device=items.device).expand(items.shape)
    order = order.masked_fill(short & (items == item), torch.inf)  # it may stand further below
    own = torch.where(short, place - 1.5, torch.inf)
    chosen = torch.cat([order, own], 1).argsort(dim=1, stable=True)[:, : items.shape[1]]
    return torch.cat([items, item], 1).gather(1, chosen), torch.cat([scores, score], 1).gather(1, chosen)
