"""Simulated conversations against the optimum over all strategies, found by trying them all."""

from functools import cache
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_genrec.evaluation.simulated_conversation import (
    POLICIES,
    Simulation,
    expected_information,
    likeliest,
    measure,
    questions_worth_asking,
    simulate,
)

#: eight items that three questions tell apart.
BITS = np.array([[bool(item >> place & 1) for item in range(8)] for place in range(3)])
EVEN = np.log(np.full(8, 1 / 8))


def optimum(belief, answers, k, turns):
    """The largest probability of success within some turns, over all strategies that show the likeliest items."""
    answers = [frozenset(np.flatnonzero(row).tolist()) for row in answers]

    @cache
    def best(left, turns):
        if not turns or not left:
            return 0.0
        order = sorted(left, key=lambda item: (-belief[item], item))
        shown = sum(belief[item] for item in order[:k]) + best(frozenset(order[k:]), turns - 1)
        asked = (best(left & row, turns - 1) + best(left - row, turns - 1) for row in answers if left & row < left)
        return max([shown, *asked])

    return best(frozenset(range(len(belief))), turns)


def expected_success(belief, answers, simulation, seed=0):
    """The probability of success over all targets."""
    with np.errstate(divide="ignore"):
        scores = np.log(belief)
    found = [
        simulate(scores, answers, target, simulation, np.random.default_rng(seed)).success
        for target in range(len(belief))
    ]
    return sum(mass for mass, success in zip(belief, found) if success is not None)


@pytest.mark.parametrize("k", [1, 2, 8])
@pytest.mark.parametrize("turns", [1, 2, 3, 4, 5])
def test_asking_for_information_is_optimal_where_questions_halve_the_catalogue(turns, k):
    simulation = Simulation(turns, k)
    even = np.full(8, 1 / 8)
    assert expected_success(even, BITS, simulation) == pytest.approx(optimum(even, BITS, k, turns))


def test_what_is_known_in_numbers():
    """Eight even items, one shown at a time: two questions leave two items, found in turn 3 or 4."""
    ended = [simulate(EVEN, BITS, target, Simulation(4, 1), np.random.default_rng(0)).success for target in range(8)]
    assert sorted(ended) == [3] * 4 + [4] * 4
    never = [simulate(EVEN, BITS, t, Simulation(4, 1, "never"), np.random.default_rng(0)).success for t in range(8)]
    assert never == [1, 2, 3, 4, None, None, None, None]


BELIEFS = st.lists(st.integers(1, 20), min_size=2, max_size=6).map(lambda weights: np.array(weights) / sum(weights))


@settings(max_examples=150, deadline=None)
@given(belief=BELIEFS, seed=st.integers(0, 99), k=st.integers(1, 2), turns=st.integers(1, 4))
def test_no_strategy_beats_the_optimum_and_every_answer_is_the_target_s(belief, seed, k, turns):
    answers = np.random.default_rng(seed).random((3, len(belief))) < 0.5
    best = optimum(belief, answers, k, turns)
    for policy in POLICIES:
        simulation = Simulation(turns, k, policy)
        assert expected_success(belief, answers, simulation, seed) <= best + 1e-9
        for target in range(len(belief)):
            outcome = simulate(np.log(belief), answers, target, simulation, np.random.default_rng(seed))
            assert all(answer == answers[question, target] for question, answer in outcome.asked)
            assert len({question for question, _ in outcome.asked}) == len(outcome.asked) <= turns
            assert outcome.success is None or outcome.within_reach[outcome.success - 1 :].all()


@settings(max_examples=60, deadline=None)
@given(belief=BELIEFS, seed=st.integers(0, 99))
def test_information_is_what_the_belief_loses_in_entropy(belief, seed):
    answers = np.random.default_rng(seed).random((4, len(belief))) < 0.5

    def entropy(masses):
        return -sum(mass / sum(masses) * log2(mass / sum(masses)) for mass in masses)

    for row, found in zip(answers, expected_information(belief, answers)):
        parts = [belief[row], belief[~row]]
        after = sum(part.sum() * entropy(part) for part in parts if len(part))
        assert found == pytest.approx(entropy(belief) - after, abs=1e-9)


def test_never_asking_shows_the_list_page_by_page():
    scores = np.log(np.arange(20, 0, -1) / 210)
    answers = np.random.default_rng(0).random((5, 20)) < 0.5
    for target in range(20):
        outcome = simulate(scores, answers, target, Simulation(5, 4, "never"), np.random.default_rng(0))
        assert outcome.success == target // 4 + 1 and not outcome.asked
        assert outcome.within_reach.tolist() == [turn >= target // 4 for turn in range(5)]


def test_items_that_are_never_shown_are_not_in_mind_of_the_system():
    scores = np.array([-np.inf, -1.0, -2.0])
    assert likeliest(scores, np.isfinite(scores), 3).tolist() == [1, 2]
    outcome = simulate(scores, np.eye(3, dtype=bool), 0, Simulation(6, 1), np.random.default_rng(0))
    assert outcome.success is None and not outcome.within_reach.any()


def test_questions_are_worth_asking_where_time_is_left():
    even = np.full(64, 1 / 64)
    assert questions_worth_asking(even, 1.0, 1, 1) == 0
    assert questions_worth_asking(even, 1.0, 1, 5) == 3  # 16 items, as after four
    assert questions_worth_asking(even, 0.0, 1, 5) == 0
    assert questions_worth_asking(np.array([0.99, 0.01]), 0.05, 1, 3) == 0


def test_random_questions_depend_on_the_seed_alone():
    random = np.random.default_rng(5)
    scores, answers = np.log(random.dirichlet(np.ones(40))), random.random((20, 40)) < 0.5
    simulation = Simulation(6, 2, "random")
    asked = [simulate(scores, answers, 7, simulation, np.random.default_rng(seed)).asked for seed in (1, 1, 2)]
    assert asked[0] == asked[1] != asked[2]


def test_measures():
    outcomes = [
        simulate(EVEN, BITS, target, Simulation(4, 1, "never"), np.random.default_rng(0)) for target in (0, 3, 7)
    ]
    found = measure(outcomes, 4)
    assert found["success"] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3]) == found["recall"]
    assert found["turns"] == pytest.approx((1 + 4 + 5) / 3) and found["questions"] == 0
