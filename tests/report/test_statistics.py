"""The tests of a report against slow, plain versions of themselves."""

import warnings

import numpy as np
import pytest
from scipy import stats

from recbole_genrec.report.statistics import (
    PairedRows,
    UserSums,
    best_row,
    compare_rows,
    holm,
    mean_and_deviation,
    paired_over_seeds,
    paired_over_users,
)
from recbole_genrec.report.stored_runs import Row, Run
from tests.results import run_result


def test_mean_and_deviation():
    assert mean_and_deviation([0.1, 0.2, 0.6]) == pytest.approx((0.3, np.std([0.1, 0.2, 0.6], ddof=1)))
    assert mean_and_deviation([0.25]) == (0.25, None)


def test_users_are_paired_as_by_drawing_them_one_by_one(outcomes):
    random = np.random.default_rng(0)
    places = [random.integers(0, 11, 60) for _ in range(2)]
    sums = [UserSums(outcomes(place), ["ndcg@10"]) for place in places]
    difference, (low, high), p = paired_over_users([tuple(sums)])["ndcg@10"]
    gains = [np.where(place > 0, 1 / np.log2(place + 1.0, where=place > 0, out=np.ones(60)), 0) for place in places]
    paired = gains[0] - gains[1]
    assert difference == pytest.approx(paired.mean())
    drawn = np.array([random.choice(paired, 60).mean() for _ in range(4000)])
    width = paired.std() / 60**0.5
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.15 * width)
    assert p == pytest.approx(2 * min((drawn >= 0).mean(), (drawn <= 0).mean()), abs=0.05)


def test_equal_runs_differ_by_nothing_and_much_better_ones_surely(outcomes):
    same = UserSums(outcomes([1, 0, 3] * 20), ["hit@10"])
    assert paired_over_users([(same, same)])["hit@10"] == (0, (0, 0), 1)
    ones, none = (UserSums(outcomes([place] * 60), ["hit@10"]) for place in (1, 0))
    assert paired_over_users([(ones, none)])["hit@10"] == (1, (1, 1), pytest.approx(2 / 2001))


def test_all_metrics_of_two_rows_are_tested_at_once(outcomes):
    names = ["hit@5", "hit@10", "ndcg@5"]
    one, other = (UserSums(outcomes(places), names) for places in ([1, 0, 7, 2] * 10, [0, 6, 3, 2] * 10))
    together = paired_over_users([(one, other)])
    for name in names:
        alone = [UserSums(outcomes(places), [name]) for places in ([1, 0, 7, 2] * 10, [0, 6, 3, 2] * 10)]
        assert paired_over_users([tuple(alone)]) == {name: together[name]}


def test_the_seeds_of_a_user_are_drawn_together(outcomes):
    """Ten equal seeds tell of the users no more than one."""
    one, other = (UserSums(outcomes(places), ["hit@10"]) for places in ([1, 0, 0, 2] * 10, [0, 0, 3, 2] * 10))
    (mean, ends, p), once = (paired_over_users([(one, other)] * seeds)["hit@10"] for seeds in (10, 1))
    assert (mean, *ends, p) == pytest.approx((once[0], *once[1], once[2]))


def test_only_the_same_users_and_targets_are_paired(outcomes):
    from dataclasses import replace

    base = outcomes([1, 2, 0])
    sums = UserSums(base, ["hit@10"])
    shuffled = replace(base, users=base.users[::-1], targets=base.targets[::-1], places=base.places[::-1])
    assert sums.same_test(UserSums(shuffled, ["hit@10"]))
    assert not sums.same_test(UserSums(replace(base, users=np.array(["u0", "u1", "u9"])), ["hit@10"]))
    assert not sums.same_test(UserSums(replace(base, targets=np.array([1, 2, 4])), ["hit@10"]))


def test_metrics_that_no_row_has_by_itself_are_left_out(outcomes):
    assert UserSums(outcomes([1, 2, 0]), ["hit@5", "itemcoverage@5", "auc"]).sums.keys() == {"hit@5"}


def test_seeds_are_paired_by_students_t():
    one, other = {1: 0.11, 2: 0.14, 3: 0.12, 9: 0.5}, {1: 0.10, 2: 0.11, 3: 0.115, 4: 0.9}
    expected = stats.ttest_rel([0.11, 0.14, 0.12], [0.10, 0.11, 0.115]).pvalue
    assert paired_over_seeds(one, other) == pytest.approx(expected)


def test_students_t_is_scipys_to_the_bit():
    random = np.random.default_rng(0)
    for count in random.integers(3, 12, 200):
        values = (random.normal(size=count) + random.normal()) * 10 ** random.uniform(-4, 0)
        expected = float(stats.ttest_1samp(values, 0).pvalue)
        assert paired_over_seeds(dict(enumerate(values)), dict.fromkeys(range(count), 0.0)) == expected


@pytest.mark.parametrize("other", [{1: 0.1, 2: 0.2}, {1: 0.1, 2: 0.2, 3: 0.3}, {1: 0.0, 2: 0.1, 3: 0.2}])
def test_too_few_seeds_or_equal_differences_say_nothing(other):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert paired_over_seeds({1: 0.1, 2: 0.2, 3: 0.3}, other) is None


def test_holm():
    assert holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx([0.03, 0.06, None, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_stepping_down_rejects(seed):
    p_values = np.random.default_rng(seed).random(6) ** 4
    rejected, alpha = set(), 0.05
    for rank, place in enumerate(np.argsort(p_values)):
        if p_values[place] > alpha / (6 - rank):
            break
        rejected.add(place)
    assert {place for place, p in enumerate(holm(list(p_values))) if p <= alpha} == rejected


def row(name, values):
    runs = {seed: Run(None, run_result(model=name, test_result={"ndcg@10": value})) for seed, value in values.items()}
    return Row(name, runs)


def test_rows_are_compared_with_the_reference(outcomes):
    rows = [row("A", {1: 0.3, 2: 0.31, 3: 0.29}), row("B", {1: 0.1, 2: 0.12, 3: 0.11}), row("C", {1: 0.2})]
    users = {("A", 1): UserSums(outcomes([1] * 40), ["ndcg@10"]), ("C", 1): UserSums(outcomes([2] * 40), ["ndcg@10"])}
    assert best_row(rows, "ndcg@10").name == "A" and best_row(rows, "ndcg@10", smaller=True).name == "B"
    compared = compare_rows(rows, rows[0], "ndcg@10", PairedRows(users))
    assert compared.keys() == {"B", "C"}
    assert compared["B"].p_users is None and compared["B"].p_seeds < 0.05  # no outcomes, three seeds
    assert compared["C"].p_users < 0.01 and compared["C"].p_seeds is None  # outcomes, one seed
    assert compared["C"].difference == pytest.approx(1 / np.log2(3) - 1)
