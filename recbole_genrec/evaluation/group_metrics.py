"""Test results by group of users: metrics with intervals, exposure, and differences between groups.

Letters: R rows of a test, U users, G groups, M metrics, K length of a list.
"""

from dataclasses import dataclass

import numpy as np

from recbole_genrec.evaluation.confidence import LEVEL, bootstrap_intervals, resampled_means

#: draws of the permutation test and of the interval of a difference: the least p-value is about their reciprocal.
RESAMPLES = 2000
#: groups of items by popularity whose shares of exposure are given.
DECILES = 10
#: tolerance of a comparison of sums in another order.
_TINY = 1e-12


@dataclass(frozen=True)
class Difference:
    """The largest difference of one metric between groups.

    Attributes:
        highest, lowest: groups with the highest and the lowest mean.
        difference: of these means.
        interval: its 95 % bootstrap interval, users drawn with replacement within the two groups. The two are those
            that differ most in this test, so it lies somewhat too high where there are several groups.
        p_value: of a permutation test: how often groups of users drawn at random differ as much.
    """

    highest: int
    lowest: int
    difference: float
    interval: tuple[float, float]
    p_value: float


def row_values(outcomes, length):
    """The value of every row, by metric ``[R]``.

    Args:
        outcomes: :class:`~recbole_genrec.evaluation.outcomes.Outcomes` with lists.
        length: of the lists, at most K.

    Returns:
        ``hit@k`` and ``ndcg@k`` as RecBole has them, and ``popularity@k``, the mean training interactions of the items
        recommended; gaps of a list are left out, and a list of gaps has 0.
    """
    values = dict(outcomes.metrics(["Hit", "NDCG"], [length]))
    lists = outcomes.lists[:, :length]
    counts = np.where(lists > 0, outcomes.item_counts[lists], 0).sum(1)
    values[f"popularity@{length}"] = counts / np.maximum((lists > 0).sum(1), 1)
    return values


def group_figures(values, users, seed):
    """Means of metrics over the rows of a group, each with its interval.

    Args:
        values: by metric, of the group's rows.
        users: whose row it is.
        seed: of the bootstrap over users.

    Returns:
        By metric, mean, and lower and upper end of the 95 % interval.
    """
    intervals = bootstrap_intervals(values, users, seed)
    return {name: (float(value.mean()), *map(float, intervals[name])) for name, value in values.items()}


def popularity_deciles(item_counts):
    """The tenth of the catalogue that an item belongs to by its training interactions.

    Args:
        item_counts: training interactions of every item, item 0 is padding ``[n_items]``.

    Returns:
        0 for the most popular tenth of the items that training has seen, 9 for the least popular one, 10 for items
        without a training interaction; ties go to the lower id; -1 for padding ``[n_items]``.
    """
    counts = np.asarray(item_counts)[1:]
    seen = np.flatnonzero(counts)
    order = seen[np.argsort(-counts[seen], kind="stable")]
    decile = np.full(len(counts), DECILES)
    decile[order] = np.arange(len(order)) * DECILES // max(len(order), 1)
    return np.r_[-1, decile]


def exposure(lists, item_counts):
    """The exposure of items in lists.

    Args:
        lists: item ids, 0 for a gap ``[R, K]``.
        item_counts: training interactions of every item ``[n_items]``.

    Returns:
        ``coverage``, the share of the catalogue in some list; ``gini``, 0 where all items are shown equally often, near
        1 where few are; ``deciles``, the share of all places that each of :func:`popularity_deciles` has, that of items
        without a training interaction last.
    """
    counts = np.bincount(lists[lists > 0], minlength=len(item_counts))[1:]
    n_items, shown = len(counts), max(counts.sum(), 1)
    rank = np.arange(1, n_items + 1)
    deciles = np.bincount(popularity_deciles(item_counts)[1:], counts, DECILES + 1) / shown
    return {
        "coverage": float((counts > 0).mean()),
        "gini": float(((2 * rank - n_items - 1) * np.sort(counts)).sum() / (n_items * shown)),
        "deciles": deciles.tolist(),
    }


def largest_differences(values, owner, group, seed):
    """Find and test the largest difference of each metric between groups of users.

    Args:
        values: by metric, of every row ``[R]``.
        owner: the user of each row, 0 to U - 1 ``[R]``.
        group: of each user, 0 to G - 1; -1 takes no part ``[U]``. A group's mean is over its rows.
        seed: of the draws.

    Returns:
        By metric, :class:`Difference`.
    """
    names, n_users = list(values), len(group)
    columns = [np.ones(len(owner)), *values.values()]
    sums = np.stack([np.bincount(owner, column, n_users) for column in columns], 1)  # [U, 1 + M]
    taken = (group >= 0) & (sums[:, 0] > 0)
    sums, group = sums[taken], group[taken]
    means, n_groups = _group_means(sums, group), group.max() + 1  # [G, M]
    ranges, generator = np.ptp(means, axis=0), np.random.default_rng(seed)
    as_large = np.zeros(len(names))
    for _ in range(RESAMPLES):
        drawn = _group_means(sums, generator.permutation(group))
        as_large += np.ptp(drawn, axis=0) >= ranges - _TINY * np.abs(means).max(0)
    resampled = [resampled_means(sums[group == one], RESAMPLES, [seed, one]) for one in range(n_groups)]
    found = {}
    for at, name in enumerate(names):
        high, low = int(means[:, at].argmax()), int(means[:, at].argmin())
        ends = np.quantile(resampled[high][:, at] - resampled[low][:, at], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        p_value = float((1 + as_large[at]) / (1 + RESAMPLES))
        found[name] = Difference(high, low, float(ranges[at]), (float(ends[0]), float(ends[1])), p_value)
    return found


def _group_means(sums, group):
    """Means ``[G, M]`` of users' sums ``[U, 1 + M]``, the first of which counts rows."""
    table = np.stack([np.bincount(group, column) for column in sums.T], 1)
    return table[:, 1:] / table[:, :1]
