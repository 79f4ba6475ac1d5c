"""Similarity of lists: by hand on tiny lists, and against the formulas as loops."""

import numpy as np
import pytest

from recbole_genrec.evaluation.list_change import similarities, spread


def by_formula(neutral, named):
    """Zhang et al. 2023, section 3, one pair of lists; PRAG* over the number of pairs."""
    k = len(neutral)
    n, s = [item for item in neutral if item], [item for item in named if item]
    rank = {item: place for place, item in enumerate(n, 1)}
    jaccard = len(set(n) & set(s)) / len(set(n) | set(s))
    serp = sum(k - place + 1 for place, item in enumerate(s, 1) if item in n) / (k * (k + 1) / 2)
    pairs = 0
    for place, item in enumerate(s):
        for other_place, other in enumerate(s):
            before = rank.get(item, np.inf) < rank.get(other, np.inf)
            pairs += item != other and item in n and before and place < other_place
    return jaccard, serp, pairs / (k * (k - 1) / 2)


@pytest.mark.parametrize(
    ("neutral", "named", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], (1, 1, 1)),
        ([1, 2, 3], [3, 2, 1], (1, 1, 0)),
        ([1, 2, 3], [4, 5, 6], (0, 0, 0)),
        ([1, 2, 3], [2, 1, 4], (2 / 4, (3 + 2) / 6, 2 / 3)),  # in order: 2 before 4, 1 before 4
        ([1, 2, 3], [4, 1, 5], (1 / 5, 2 / 6, 1 / 3)),  # in order: 1 before 5
        ([1, 2, 3], [3, 1, 0], (2 / 3, (3 + 2) / 6, 0)),  # a gap is no item
    ],
)
def test_by_hand(neutral, named, expected):
    found = similarities(np.array([neutral]), np.array([named]))
    assert [found[name][0] for name in ("jaccard", "serp", "prag")] == pytest.approx(expected)


def test_random_lists_are_those_of_the_formulas():
    random = np.random.default_rng(0)
    neutral, named = (np.stack([random.permutation(9)[:5] + 1 for _ in range(40)]) for _ in range(2))
    named[::4, 3:] = 0
    found = similarities(neutral, named)
    expected = np.array([by_formula(*pair) for pair in zip(neutral.tolist(), named.tolist())])
    for column, name in enumerate(("jaccard", "serp", "prag")):
        assert found[name] == pytest.approx(expected[:, column])


def test_lists_of_one_item():
    found = similarities(np.array([[1], [1]]), np.array([[1], [2]]))
    assert {name: value.tolist() for name, value in found.items()} == dict.fromkeys(found, [1, 0])


def test_range_and_deviation():
    assert spread([0.2, 0.5, 0.8]) == pytest.approx((0.6, np.sqrt((0.3**2 + 0.3**2) / 3)))
