"""Lists by the mean of the ranks that two scores give."""

import torch


def ranks(scores: torch.Tensor) -> torch.Tensor:
    """Ranks in each row ``[B, N]``, float64, 1 for the highest score; equal scores share their mean rank."""
    below = -scores
    ordered = below.sort(1).values
    before = torch.searchsorted(ordered, below)
    through = torch.searchsorted(ordered, below, right=True)
    return (before + through + 1).double() / 2


def places_by_mean_rank(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Places of candidates by the mean of their ranks by two scores; of equal means, the lower ``second`` rank leads.

    Example:
        The scores ``first`` 5, 4, 4, 1 give the ranks 1, 2.5, 2.5, 4, and ``second`` 0, 2, 3, 7 the ranks 4, 3, 2, 1.
        The means are 2.5, 2.75, 2.25, 2.5: the places are 3, 4, 1, 2.

    Args:
        first: ``[B, N]``, -inf for what is no candidate.
        second: ``[B, N]``, -inf at the same places.

    Returns:
        ``[B, N]``: 1 for the best; candidates that both scores tie share a place. Infinity for what is no candidate.
    """
    of_first, of_second = ranks(first), ranks(second)
    # sums of ranks are multiples of a half, and a rank is at most N: no tie is broken over a difference of means
    key = (of_first + of_second) * (2 * first.shape[1] + 2) + of_second
    place = torch.searchsorted(key.sort(1).values, key) + 1
    return place.to(first.dtype).masked_fill(first == -torch.inf, torch.inf)
