"""A probe: can a linear classifier predict an attribute from a model's user states?

Letters: U users, H hidden size, G groups.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from recbole_genrec.evaluation.confidence import LEVEL, RESAMPLES

#: parts of the cross-validation.
FOLDS = 5
#: how often labels are shuffled for the baseline.
SHUFFLES = 20
#: wider states are cut to so many principal components, fitted on the training folds.
WIDEST = 128
#: more users are sampled.
MOST_USERS = 5000


@dataclass(frozen=True)
class Probe:
    """The result of a probe.

    Attributes:
        users: how many took part.
        auc: area under the ROC curve of users outside the training folds, one group against the rest, the mean over
            groups; of two groups, of the second one.
        interval: its 95 % bootstrap interval, users drawn within each group.
        shuffled: the AUC of the same procedure after the groups were shuffled over users: mean and standard deviation.
        p_value: how often shuffled groups are read as well; at least one in ``SHUFFLES + 1``.
    """

    users: int
    auc: float
    interval: tuple[float, float]
    shuffled: tuple[float, float]
    p_value: float


def probe(states, group, seed):
    """Predict groups from states by a cross-validated logistic regression.

    Args:
        states: ``[U, H]``.
        group: of each user, 0 to G - 1; every group has at least ``FOLDS`` users ``[U]``.
        seed: of folds, samples, shuffles and the bootstrap.

    Returns:
        :class:`Probe`.
    """
    generator = np.random.default_rng(seed)
    if len(group) > MOST_USERS:
        states, group = _sampled(states, group, generator)
    scores = out_of_fold(states, group, seed)
    shuffled = []
    for _ in range(SHUFFLES):
        drawn = generator.permutation(group)
        shuffled.append(float(macro_auc(out_of_fold(states, drawn, seed), drawn)))
    auc = float(macro_auc(scores, group))
    weights = np.zeros((RESAMPLES, len(group)))
    for one in range(group.max() + 1):
        mine = np.flatnonzero(group == one)
        weights[:, mine] = generator.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), RESAMPLES)
    low, high = np.quantile(macro_auc(scores, group, weights), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    p_value = (1 + sum(other >= auc for other in shuffled)) / (1 + SHUFFLES)
    spread = float(np.mean(shuffled)), float(np.std(shuffled, ddof=1))
    return Probe(len(group), auc, (float(low), float(high)), spread, p_value)


def _sampled(states, group, generator):
    """A sample of ``MOST_USERS`` users, in which every group keeps its share, and at least ``FOLDS`` users."""
    order = generator.permutation(len(group))
    share = MOST_USERS / len(group)
    kept = [
        (mine := order[group[order] == one])[: max(FOLDS, round(share * len(mine)))] for one in range(group.max() + 1)
    ]
    kept = np.sort(np.concatenate(kept))
    return states[kept], group[kept]


def out_of_fold(states, group, seed):
    """Probabilities ``[U, G]`` of every user's groups, from a classifier that was not trained on the user."""
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps = [StandardScaler(), LogisticRegression(tol=1e-3, max_iter=500)]
    if states.shape[1] > WIDEST:
        in_training = len(group) - -(-len(group) // FOLDS)
        steps.insert(1, PCA(min(WIDEST, in_training), random_state=seed))
        steps.insert(2, StandardScaler())
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where groups part perfectly, weights grow without end
        return cross_val_predict(make_pipeline(*steps), states, group, cv=folds, method="predict_proba")


def macro_auc(scores, group, weights=None):
    """Area under the ROC curve, one group against the rest, the mean over groups.

    It is the probability that a user of the group has a higher score than another one, ties counted half.

    Args:
        scores: of users and groups ``[U, G]``.
        group: of each user ``[U]``.
        weights: how often each user counts in each of some draws ``[D, U]``; None for once.

    Returns:
        A number, or one for each draw ``[D]``.
    """
    weights = np.ones((1, len(group))) if weights is None else weights
    of_groups = range(scores.shape[1]) if scores.shape[1] > 2 else [1]
    found = np.mean([_auc(scores[:, one], group == one, weights) for one in of_groups], axis=0)
    return found if len(found) > 1 else found[0]


def _auc(score, positive, weights):
    order = np.argsort(score, kind="stable")
    begins = np.flatnonzero(np.diff(score[order], prepend=-np.inf))  # of equal scores
    is_positive, weights = positive[order], weights[:, order]
    high = np.add.reduceat(weights * is_positive, begins, axis=1)  # [D, different scores]
    low = np.add.reduceat(weights * ~is_positive, begins, axis=1)
    below = np.cumsum(low, 1) - low / 2
    return (high * below).sum(1) / (high.sum(1) * low.sum(1))
