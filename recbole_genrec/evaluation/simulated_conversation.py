"""Simulated conversations: a user with a hidden target, and a system that asks about attributes or shows items.

In each turn the system asks one yes/no question or shows the k likeliest items that are left. The user answers from the
target's columns, and ends the conversation when the target is shown. The system's belief is the recommender's
probabilities, restricted to the items that agree with all answers and have not been shown.

After the protocol of multi-round conversational recommendation (Lei et al. 2020, "Estimation-Action-Reflection",
arXiv 2002.09102), with questions chosen by expected information, and without training.

Letters: I items, Q questions, T turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: how a system chooses its questions.
POLICIES = ("never", "random", "information")


@dataclass(frozen=True)
class Simulation:
    """What a simulated conversation is like."""

    #: T: a conversation that has not shown the target by then has failed.
    turns: int = 10
    #: k: length of a list.
    k: int = 10
    #: ``never`` asks, but shows the next k items; ``random``: a random question among those that split what is left;
    #: ``information``: the question of the highest expected information.
    policy: str = "information"


@dataclass(frozen=True)
class Outcome:
    """How a conversation went."""

    #: the turn that showed the target, from 1; ``None``: none did.
    success: int | None
    #: for each turn whether the target was shown by then, or would be among the k likeliest if they were shown
    #: ``[T]``.
    within_reach: np.ndarray
    #: number of each question that was asked, and its answer.
    asked: tuple[tuple[int, bool], ...]


def expected_information(belief: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Expected information of questions in bits ``[Q]``: the entropy of their answers.

    The answers are certain given the item, so the entropy of an answer is what it takes from the belief's entropy.

    Args:
        belief: probabilities of the items ``[I]``, which sum to 1.
        answers: of the items to the questions ``[Q, I]``.
    """
    share = np.clip(answers @ belief, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    return np.where((share > 0) & (share < 1), bits, 0.0)


def questions_worth_asking(belief: np.ndarray, bits: float, k: int, turns: int) -> int:
    """How many questions to ask before items are shown, to show the target within the turns that are left.

    After m questions of some bits each, a list of k covers what ``k * 2 ** (m * bits)`` items of the present belief do:
    m is such that the ``turns - m`` lists behind them cover most; the smallest such m.

    Args:
        belief: probabilities of the items ``[I]``. bits: of a question. k: length of a list. turns: that are left.
    """
    covered = np.append(0.0, np.cumsum(np.sort(belief)[::-1]))
    best, most = 0, -1.0
    for asked in range(turns):
        shown = int(min((turns - asked) * k * 2 ** (asked * bits), len(belief)))
        if covered[shown] > most + 1e-9:
            best, most = asked, float(covered[shown])
    return best


def simulate(
    scores: np.ndarray, answers: np.ndarray, target: int, simulation: Simulation, random: np.random.Generator
) -> Outcome:
    """One conversation.

    Args:
        scores: log-probabilities of the items ``[I]``; -inf for those that are never shown.
        answers: of the items to the questions ``[Q, I]``.
        target: the place of the item that the user has in mind.
        simulation: how it is held.
        random: draws the questions of the policy ``random``, and nothing else.

    Returns:
        :class:`Outcome`.
    """
    left, asked, success = np.isfinite(scores), [], None
    within_reach = np.zeros(simulation.turns, bool)
    open_questions = np.ones(len(answers), bool)
    for turn in range(1, simulation.turns + 1):
        if not left.any():
            break
        best = likeliest(scores, left, simulation.k)
        within_reach[turn - 1] = target in best
        question = _question(scores, left, answers, open_questions, simulation, turn, random)
        if question is not None:
            answer = bool(answers[question, target])
            left &= answers[question] == answer
            open_questions[question] = False
            asked.append((question, answer))
        elif target in best:
            success = turn
            within_reach[turn - 1 :] = True
            break
        else:
            left[best] = False
    return Outcome(success, within_reach, tuple(asked))


def likeliest(scores: np.ndarray, left: np.ndarray, k: int) -> np.ndarray:
    """Places of the k likeliest items of those that are left, the best first, ties by the lower place."""
    places = np.flatnonzero(left)
    return places[np.argsort(-scores[places], kind="stable")[:k]]


def _question(scores, left, answers, open_questions, simulation, turn, random):
    """The question to ask in a turn; ``None``: show items."""
    if simulation.policy == "never" or not open_questions.any():
        return None
    belief = np.where(left, np.exp(scores - scores[left].max()), 0.0)
    belief /= belief.sum()
    bits = np.where(open_questions, expected_information(belief, answers), 0.0)
    useful = np.flatnonzero(bits > 0)
    if not len(useful):
        return None
    chosen = int(random.choice(useful)) if simulation.policy == "random" else int(bits.argmax())
    worth = questions_worth_asking(belief, float(bits[chosen]), simulation.k, simulation.turns - turn + 1)
    return chosen if worth else None


def measure(outcomes: list[Outcome], turns: int) -> dict[str, object]:
    """What conversations came to.

    Returns:
        ``success``: share that succeeded by each turn ``[T]``; ``recall``: share within reach by each turn ``[T]``;
        ``turns``: mean number of turns, T + 1 for a failure; ``questions``: mean number.
    """
    ended = np.array([turns + 1 if outcome.success is None else outcome.success for outcome in outcomes])
    return {
        "success": [float((ended <= turn).mean()) for turn in range(1, turns + 1)],
        "recall": np.mean([outcome.within_reach for outcome in outcomes], axis=0).tolist(),
        "turns": float(ended.mean()),
        "questions": float(np.mean([len(outcome.asked) for outcome in outcomes])),
    }
