"""Means over seeds, and two paired tests: over users by bootstrap, over seeds by Student's t."""

from dataclasses import dataclass

import numpy as np

from recbole_genrec.config.metrics import OF_ROWS

#: resamples of a test over users: the least p-value is twice their reciprocal.
RESAMPLES = 2000
#: seeds that a test over seeds needs.
FEWEST_SEEDS = 3
#: a difference is marked where its corrected p-value is below.
LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """A row of a board against its reference, one metric.

    Attributes:
        difference: of the means over users, the row's minus the reference's.
        interval: the 95 % bootstrap interval of the difference.
        p_users: over users, corrected; None where the runs do not have the same users and targets.
        p_seeds: over seeds, corrected; None below three common seeds.
    """

    difference: float | None
    interval: tuple[float, float] | None
    p_users: float | None
    p_seeds: float | None


def mean_and_deviation(values):
    """Mean, and sample standard deviation, None for a single value."""
    values = list(values)
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def best_row(rows, metric, smaller=False):
    """The row with the highest mean, or with the lowest where ``smaller`` is better."""
    sign = -1 if smaller else 1
    tested = [row for row in rows if row.values(metric)]
    return max(tested, key=lambda row: sign * mean_and_deviation(row.values(metric).values())[0])


def is_row_metric(name):
    """Whether a metric such as ``ndcg@10`` is a mean over rows."""
    metric, at, _ = name.partition("@")
    return bool(at) and metric in OF_ROWS


class UserSums:
    """What the users of a run's test scored.

    Args:
        outcomes: :class:`~recbole_genrec.evaluation.outcomes.Outcomes`.
        names: of metrics such as ``ndcg@10``; those that no row has by itself are left out.

    Attributes:
        users: their tokens, sorted ``[U]``.
        sums: by metric, the sum over each user's rows ``[U]``.
        counts: each user's rows ``[U]``.
    """

    def __init__(self, outcomes, names):
        parts = {name: name.partition("@") for name in names}
        kept = list(filter(is_row_metric, names))
        lengths = sorted({int(parts[name][2]) for name in kept})
        values = outcomes.metrics({parts[name][0]: 0 for name in kept}, lengths) if kept else {}
        self.users, owner = np.unique(outcomes.users, return_inverse=True)
        self.counts = np.bincount(owner)
        self.sums = {name: np.bincount(owner, values[name]) for name in kept}
        asked = np.stack([owner[outcomes.rows].astype(str), outcomes.items[outcomes.targets]])
        self._asked = asked[:, np.lexsort(asked)]

    def same_test(self, other):
        """Whether another run tested the same users on the same targets."""
        return np.array_equal(self.users, other.users) and np.array_equal(self._asked, other._asked)


def paired_over_users(pairs, seed=0):
    """Bootstrap of differences over users, each drawn with all of its rows under all seeds (Efron 1979).

    Args:
        pairs: for each common seed the two runs' :class:`UserSums`, of the same test.
        seed: of the draws.

    Returns:
        By metric that all runs have: the difference of the means, its 95 % interval, and the two-sided p-value of no
        difference.
    """
    from recbole_genrec.evaluation.confidence import resampled_means

    names = [name for name in pairs[0][0].sums if all(name in run.sums for pair in pairs for run in pair)]
    _, owner = np.unique(np.concatenate([one.users for one, _ in pairs]), return_inverse=True)
    columns = [np.concatenate([one.counts for one, _ in pairs])]
    columns += [np.concatenate([one.sums[name] - other.sums[name] for one, other in pairs]) for name in names]
    sums = np.stack([np.bincount(owner, column) for column in columns], 1)  # [U, 1 + M]
    drawn = resampled_means(sums, RESAMPLES, seed)  # [RESAMPLES, M]
    fewer = np.minimum((drawn >= 0).sum(0), (drawn <= 0).sum(0))
    p_values = np.minimum(1, 2 * (1 + fewer) / (RESAMPLES + 1))
    means, ends = sums[:, 1:].sum(0) / sums[:, 0].sum(), np.quantile(drawn, [0.025, 0.975], axis=0)
    return {
        name: (float(mean), (float(low), float(high)), float(p))
        for name, mean, low, high, p in zip(names, means, *ends, p_values)
    }


def paired_over_seeds(values, others):
    """Two-sided p-value of Student's paired t-test over common seeds.

    Args:
        values: a metric by seed. others: the same of the reference.

    Returns:
        The p-value; None below three common seeds, or where all differences are equal and so say nothing of chance.
    """
    seeds = sorted(values.keys() & others.keys())
    differences = [values[seed] - others[seed] for seed in seeds]
    if len(seeds) < FEWEST_SEEDS or np.ptp(differences) < 1e-12:
        return None
    return _t_test(np.asarray(differences))


def _t_test(values):
    """What ``scipy.stats.ttest_1samp(values, 0).pvalue`` gives, without half a second for importing ``scipy.stats``."""
    from scipy.special import stdtr  # Student's distribution function

    count, mean = len(values), values.mean()
    variance = ((values - mean) ** 2).mean() * (count / (count - 1))
    return float(2 * stdtr(count - 1, -abs(mean / np.sqrt(variance / count))))


def holm(p_values):
    """Correct p-values for their number (Holm 1979); None stays None and is not counted."""
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected, largest = list(p_values), 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[index] = largest
    return corrected


class PairedRows:
    """Rows compared over users, all metrics of two rows at once, and once.

    Args:
        users: :class:`UserSums` by row's name and seed, of those runs that have them.
    """

    def __init__(self, users):
        self._users, self._found = users, {}

    def __call__(self, row, reference):
        """:func:`paired_over_users` of two rows; nothing where a common seed lacks outcomes or has other users."""
        names = row.name, reference.name
        if names not in self._found:
            seeds = sorted(row.runs.keys() & reference.runs.keys())
            pairs = [(self._users.get((names[0], seed)), self._users.get((names[1], seed))) for seed in seeds]
            paired = pairs and all(one and other and one.same_test(other) for one, other in pairs)
            self._found[names] = paired_over_users(pairs) if paired else {}
        return self._found[names]


def compare_rows(rows, reference, metric, paired):
    """Compare rows with one of them.

    Args:
        rows: of a board.
        reference: the row that they are compared with.
        metric: such as ``ndcg@10``.
        paired: :class:`PairedRows`.

    Returns:
        :class:`Comparison` by name of the row; p-values corrected for the number of rows.
    """
    others = [row for row in rows if row is not reference and row.values(metric)]
    over_users = [paired(row, reference).get(metric, (None, None, None)) for row in others]
    over_seeds = [paired_over_seeds(row.values(metric), reference.values(metric)) for row in others]
    p_users = holm([p for _, _, p in over_users])
    return {
        row.name: Comparison(difference, interval, one, other)
        for row, (difference, interval, _), one, other in zip(others, over_users, p_users, holm(over_seeds))
    }
