"""Lists by the mean of two ranks, against scipy and plain sorting."""

import torch
from scipy.stats import rankdata

from recbole_genrec.decoding.mean_rank import places_by_mean_rank, ranks


def test_the_example_by_hand():
    first, second = torch.tensor([[5.0, 4, 4, 1]]), torch.tensor([[0.0, 2, 3, 7]])
    assert ranks(first).tolist() == [[1, 2.5, 2.5, 4]] and ranks(second).tolist() == [[4, 3, 2, 1]]
    assert places_by_mean_rank(first, second).tolist() == [[3, 4, 1, 2]]


def test_ties_by_both_scores_share_a_place_and_no_candidate_has_none():
    first = torch.tensor([[2.0, 2, 1, -torch.inf]])
    assert places_by_mean_rank(first, first).tolist() == [[1, 1, 3, torch.inf]]


def test_random_lists_with_many_ties():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(4, (2, 50, 9), generator=generator).float()
    found = places_by_mean_rank(first, second)
    for row in range(50):
        of_first, of_second = rankdata(-first[row]), rankdata(-second[row])
        key = [((a + b) / 2, b) for a, b in zip(of_first, of_second)]
        assert found[row].tolist() == [1 + sum(other < own for other in key) for own in key]


def test_what_is_no_candidate_changes_no_place():
    generator = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 1, 30, generator=generator)
    out = torch.zeros(1, 30, dtype=torch.bool)
    out[0, ::3] = True
    found = places_by_mean_rank(first.masked_fill(out, -torch.inf), second.masked_fill(out, -torch.inf))
    kept = places_by_mean_rank(first[~out][None], second[~out][None])
    assert found[~out].tolist() == kept[0].tolist() and (found[out] == torch.inf).all()
