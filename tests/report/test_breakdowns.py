import numpy as np
import pytest
import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct

from recbole_genrec.report.breakdowns import beyond_hits, by_history, by_popularity, margins, over_seeds, popularity


def test_groups_of_history_length_are_those_of_a_loop(outcomes):
    made = outcomes(np.random.default_rng(1).integers(0, 11, 200))
    groups = by_history(made, "hit@5")
    for name, low, high in (("0-5", 0, 5), ("6-10", 6, 10), ("51-100", 51, 100), ("over 100", 101, 999)):
        hits = [0 < place <= 5 for place, n in zip(made.places, made.user_counts) if low <= n <= high]
        assert groups[name] == (pytest.approx(np.mean(hits)), len(hits))
    assert sum(count for _, count in groups.values()) == 200


def test_popularity_takes_shares_of_the_items_seen():
    counts = np.array([0, 5, 1, 9, 0, 3, 2, 7, 4, 8, 6, 1])  # ten seen, two never
    names = ("head", "middle", "tail", "cold")
    groups = {name: np.flatnonzero(popularity(counts) == place).tolist() for place, name in enumerate(names)}
    assert groups == {"head": [3, 9], "middle": [1, 7, 10], "tail": [2, 5, 6, 8, 11], "cold": [0, 4]}


def test_each_target_counts_alone(outcomes):
    from dataclasses import replace

    made = outcomes([1, 0, 3])
    several = replace(made, rows=np.array([0, 0, 2]), targets=np.array([made.lists[0, 0], 30, made.lists[2, 2]]))
    groups = by_popularity(several, "hit@10")
    assert sum(count for _, count in groups.values()) == 3
    assert sum(mean * count for mean, count in groups.values()) == 2
    assert groups["cold"] == (0, 1)  # i30 has no training interaction


def test_margins_are_those_of_a_loop(outcomes):
    made = outcomes(np.random.default_rng(2).integers(0, 11, 150))
    found = margins(made, "hit@5")
    groups = {"0-5": made.user_counts <= 5, "over 100": made.user_counts > 100}
    groups["tail"] = popularity(made.item_counts)[made.targets] == 2
    for name, rows in groups.items():
        hits = [float(0 < place <= 5) for place in made.places[rows]]
        mean = sum(hits) / len(hits)
        variance = sum((hit - mean) ** 2 for hit in hits) / (len(hits) - 1)
        assert found[name] == pytest.approx(1.96 * (variance / len(hits)) ** 0.5)
    assert margins(outcomes([1]), "hit@5") == {}


def test_coverage_and_gini_are_recboles_but_for_the_padding(outcomes):
    made = outcomes([1, 0, 3, 9], n_items=40)
    names = ["ItemCoverage", "GiniIndex"]
    evaluator, collected = Evaluator({"metrics": names, "topk": [7], "metric_decimal_place": 12}), DataStruct()
    collected.set("rec.items", torch.from_numpy(made.lists - 1))
    collected.set("data.num_items", 40)
    found = beyond_hits(made, 7)
    expected = evaluator.evaluate(collected)
    assert (found["coverage"], found["gini"]) == pytest.approx(tuple(expected.values()))


def test_novelty_and_gaps(outcomes):
    from dataclasses import replace

    made = replace(
        outcomes([1, 1, 1]),
        items=np.array(["[PAD]", "a", "b", "c"]),
        item_counts=np.array([0, 5, 0, 0]),  # with one more each: 6, 1 and 1 of 8
        lists=np.array([[1, 2], [1, 1], [3, 0]]),
    )
    found = beyond_hits(made, 2)
    assert found["novelty"] == pytest.approx((3 * np.log2(8 / 6) + 2 * 3) / 5)
    assert found["full"] == pytest.approx(1 / 3)
    assert found["coverage"] == 1
    assert beyond_hits(made, 1)["full"] == 1


def test_over_seeds_a_group_that_some_runs_lack():
    assert over_seeds([{"head": 1.0, "cold": 0.5}, {"head": 0.0}]) == {
        "head": (0.5, pytest.approx(0.5**0.5)),
        "cold": (0.5, None),
    }
