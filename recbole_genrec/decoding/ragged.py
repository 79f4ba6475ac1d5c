"""Index arithmetic on ragged arrays, so that nothing loops over users, nodes or tokens in Python."""

import torch


def ragged_arange(lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Count from 0 within each of several segments laid end to end.

    Args:
        lengths: ``[M]``, how long each segment is.

    Returns:
        ``owner [N]``, the segment that each entry belongs to, and ``order [N]``, its number within the segment;
        N is the sum of ``lengths``.

    Example:
        lengths ``[2, 0, 3]`` give owner ``[0, 0, 2, 2, 2]`` and order ``[0, 1, 0, 1, 2]``.
    """
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    first = lengths.cumsum(0) - lengths
    return owner, torch.arange(len(owner), device=lengths.device) - first[owner]


def last_of(owner: torch.Tensor) -> torch.Tensor:
    """True at the last entry of each segment of :func:`ragged_arange`, ``[N]``."""
    last = torch.ones_like(owner, dtype=torch.bool)
    last[:-1] = owner[1:] != owner[:-1]
    return last


def rank_within(group: torch.Tensor, score: torch.Tensor, tie: torch.Tensor | None = None) -> torch.Tensor:
    """Rank of each entry within its group: highest score first, then lowest ``tie``, then first come.

    Args:
        group: ``[N]`` integers.
        score: ``[N]`` floats.
        tie: ``[N]`` integers or ``None``.

    Returns:
        ``[N]`` ranks that start at 0 in every group.
    """
    order = torch.arange(len(group), device=group.device) if tie is None else torch.argsort(tie, stable=True)
    order = order[torch.argsort(score[order], descending=True, stable=True)]
    order = order[torch.argsort(group[order], stable=True)]
    sorted_group = group[order]
    index = torch.arange(len(group), device=group.device)
    starts = torch.ones_like(sorted_group, dtype=torch.bool)
    starts[1:] = sorted_group[1:] != sorted_group[:-1]
    first = torch.cummax(torch.where(starts, index, torch.zeros_like(index)), 0).values if len(group) else index
    rank = torch.empty_like(index)
    rank[order] = index - first
    return rank
