"""The probe: its AUC against pairs of users, what it reads, and what it must not read."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recbole_genrec.evaluation import probe as module
from recbole_genrec.evaluation.probe import macro_auc, out_of_fold, probe


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(module, "SHUFFLES", 9)
    monkeypatch.setattr(module, "RESAMPLES", 200)


def by_pairs(score, positive):
    """Share of pairs of a positive and a negative user that the score has in order."""
    pairs = [(one > other) + (one == other) / 2 for one in score[positive] for other in score[~positive]]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("n_groups", [2, 3])
def test_auc_is_that_of_all_pairs(n_groups):
    random = np.random.default_rng(n_groups)
    group, scores = np.arange(60) % n_groups, np.round(random.random((60, n_groups)), 1)  # with ties
    of_groups = [by_pairs(scores[:, one], group == one) for one in range(n_groups)]
    expected = of_groups[1] if n_groups == 2 else np.mean(of_groups)
    assert macro_auc(scores, group) == pytest.approx(expected)
    if n_groups == 3:
        shares = scores / scores.sum(1, keepdims=True)
        sklearns = roc_auc_score(group, shares, multi_class="ovr", average="macro")
        assert macro_auc(shares, group) == pytest.approx(sklearns)


def test_weights_are_users_that_come_several_times():
    random = np.random.default_rng(0)
    group, scores, times = np.arange(30) % 3, random.random((30, 3)), random.integers(1, 4, (2, 30))
    expected = [macro_auc(np.repeat(scores, row, 0), np.repeat(group, row)) for row in times]
    assert macro_auc(scores, group, times) == pytest.approx(expected)


@pytest.mark.parametrize("n_groups", [2, 3])
def test_a_planted_attribute_is_read_and_chance_is_not(n_groups):
    random = np.random.default_rng(4)
    group, states = random.integers(0, n_groups, 240), random.normal(size=(240, 6))
    nothing = probe(states, group, 1)
    assert abs(nothing.auc - 0.5) < 0.1 and nothing.interval[0] < 0.55 and nothing.p_value > 0.05
    states[:, 2] += 2 * group
    found = probe(states, group, 1)
    assert found.auc > 0.8 and found.interval[0] < found.auc < found.interval[1] and found.p_value == 0.1
    assert abs(found.shuffled[0] - 0.5) < 0.06 and 0 < found.shuffled[1] < 0.1


def test_users_are_scored_by_classifiers_that_have_not_seen_them():
    """More dimensions than users: a classifier that has seen a user reads everything, another one nothing."""
    random = np.random.default_rng(1)
    states, group = random.normal(size=(100, 300)), np.arange(100) % 2
    assert abs(macro_auc(out_of_fold(states, group, 0), group) - 0.5) < 0.15


def test_many_users_are_sampled_and_keep_their_shares(monkeypatch):
    monkeypatch.setattr(module, "MOST_USERS", 60)
    group = np.array([0] * 180 + [1] * 60 + [2] * 5)
    states = np.eye(3)[group]
    found = probe(states, group, 0)
    assert found.users == 44 + 15 + 5  # 60 of 245: shares of 44.1, 14.7 and 1.2, of which FOLDS are kept
    assert found.auc == 1
