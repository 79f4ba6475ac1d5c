"""Metrics by group against plain loops; a planted difference is found, and chance alone is not."""

from dataclasses import replace

import numpy as np
import pytest

from recbole_genrec.evaluation import group_metrics
from recbole_genrec.evaluation.group_metrics import (
    exposure,
    group_figures,
    largest_differences,
    popularity_deciles,
    row_values,
)
from recbole_genrec.evaluation.outcomes import Outcomes


def outcomes_of(lists, targets, item_counts, users=None):
    """Outcomes with one target a row."""
    lists, targets = np.asarray(lists), np.asarray(targets)
    hits = lists == targets[:, None]
    return Outcomes(
        items=np.array(["[PAD]", *(f"i{item}" for item in range(1, len(item_counts)))]),
        item_counts=np.asarray(item_counts),
        users=np.array(users or [f"u{row}" for row in range(len(lists))]),
        user_counts=np.ones(len(lists), int),
        lists=lists,
        rows=np.arange(len(lists)),
        targets=targets,
        places=np.where(hits.any(1), hits.argmax(1) + 1, 0),
    )


@pytest.fixture
def random_outcomes():
    random = np.random.default_rng(3)
    lists = np.stack([random.permutation(np.arange(1, 41))[:6] for _ in range(50)])
    return outcomes_of(lists, random.integers(1, 41, 50), [0, *random.integers(0, 30, 40)])


def test_values_of_rows_are_those_of_a_loop(random_outcomes):
    made = random_outcomes
    made = replace(made, lists=made.lists.copy())
    made.lists[0, 1:], made.lists[1] = 0, 0
    values = row_values(made, 4)
    assert list(values) == ["hit@4", "ndcg@4", "popularity@4"]
    for row in range(50):
        place = made.places[row]
        assert values["hit@4"][row] == (0 < place <= 4)
        assert values["ndcg@4"][row] == pytest.approx(1 / np.log2(place + 1) if 0 < place <= 4 else 0)
        shown = [made.item_counts[item] for item in made.lists[row, :4] if item]
        assert values["popularity@4"][row] == pytest.approx(sum(shown) / len(shown) if shown else 0)


def test_means_lie_in_their_intervals_and_more_users_make_them_narrower():
    random = np.random.default_rng(0)
    few, many = random.random(40), random.random(640)
    for values in (few, many):
        mean, low, high = group_figures({"hit@5": values}, np.arange(len(values)), 1)["hit@5"]
        assert mean == pytest.approx(values.mean()) and low < mean < high
        # the normal interval of a mean
        assert high - low == pytest.approx(2 * 1.96 * values.std() / len(values) ** 0.5, rel=0.15)


def test_deciles_of_items():
    counts = [0, *range(20), 0]  # items 1 and 21 are never trained on: 19 are
    deciles = popularity_deciles(counts)
    assert deciles[0] == -1 and deciles[1] == deciles[21] == 10
    for rank, item in enumerate(sorted(range(2, 21), key=lambda item: -counts[item])):
        assert deciles[item] == rank * 10 // 19


def test_exposure_is_that_of_a_loop(random_outcomes):
    lists, counts = random_outcomes.lists.copy(), random_outcomes.item_counts
    lists[3, 2:] = 0
    found, deciles = exposure(lists, counts), popularity_deciles(counts)
    shown = [item for row in lists.tolist() for item in row if item]
    assert found["coverage"] == len(set(shown)) / 40
    for decile, share in enumerate(found["deciles"]):
        assert share == pytest.approx(sum(deciles[item] == decile for item in shown) / len(shown))
    times = [shown.count(item) for item in range(1, 41)]
    apart = sum(abs(one - other) for one in times for other in times)
    assert found["gini"] == pytest.approx(apart / (2 * 40 * sum(times)))


def test_differences_are_those_of_a_loop_over_rows(monkeypatch):
    monkeypatch.setattr(group_metrics, "RESAMPLES", 50)
    random = np.random.default_rng(5)
    owner, group = np.repeat(np.arange(60), random.integers(1, 4, 60)), random.integers(-1, 3, 60)
    values = {"a": random.random(len(owner)), "b": random.random(len(owner))}
    found = largest_differences(values, owner, group, 0)
    for name, value in values.items():
        means = [np.mean([v for v, user in zip(value, owner) if group[user] == one]) for one in range(3)]
        assert (found[name].highest, found[name].lowest) == (np.argmax(means), np.argmin(means))
        assert found[name].difference == pytest.approx(max(means) - min(means))
        assert found[name].interval[0] < found[name].difference < found[name].interval[1]


def test_a_planted_difference_is_seen_and_chance_is_not():
    random = np.random.default_rng(2)
    group = np.arange(600) % 3
    values = {"same": (random.random(600) < 0.3).astype(float)}
    values["planted"] = np.where(group == 1, random.random(600) < 0.6, values["same"]).astype(float)
    found = largest_differences(values, np.arange(600), group, 0)
    assert found["same"].p_value > 0.05
    assert found["planted"].p_value < 0.002 and found["planted"].highest == 1
    assert found["planted"].interval[0] > 0.1


def test_p_values_of_chance_are_even(monkeypatch):
    """Of tests without a difference, about a share p has a p-value below p, though three groups are compared."""
    monkeypatch.setattr(group_metrics, "RESAMPLES", 200)
    random = np.random.default_rng(7)
    values = {f"m{number}": (random.random(90) < 0.4).astype(float) for number in range(200)}
    found = largest_differences(values, np.arange(90), np.arange(90) % 3, 0)
    p_values = np.array([difference.p_value for difference in found.values()])
    assert 0.35 < (p_values <= 0.5).mean() < 0.62 and (p_values <= 0.05).mean() < 0.1


def test_all_equal_values_differ_by_nothing():
    found = largest_differences({"hit@5": np.full(40, 0.1)}, np.arange(40), np.arange(40) % 2, 0)["hit@5"]
    assert (found.difference, found.p_value) == (0, 1)
