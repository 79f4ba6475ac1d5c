"""Bootstrap confidence intervals of RecBole's top-k metrics over the evaluated users."""

import numpy as np

from recbole_genrec.training.listeners import Listener

LEVEL = 0.95
RESAMPLES = 1000
#: resamples drawn at once, times users: bounds the memory.
DRAWN_AT_ONCE = 10_000_000


class RowMetrics(Listener):
    """Record the top-k metrics of every row of the last evaluation.

    Attributes:
        values: by name, such as ``ndcg@10``, the metric of every row ``[R]``.
    """

    def __init__(self):
        self.values = {}

    def rows_measured(self, values):
        """Keep the rows."""
        self.values = values


def bootstrap_intervals(values, users, seed):
    """Percentile intervals of the means (Efron 1979), users drawn with replacement, each with all of its rows.

    Args:
        values: by name, the metric of every row ``[R]``.
        users: whose row it is ``[R]``.
        seed: of the draws; the same users and seed give the same draws for every model.

    Returns:
        By name, the lower and upper end of the interval that covers ``LEVEL`` of the resampled means.
    """
    if not values:
        return {}
    _, owner = np.unique(users, return_inverse=True)
    table = np.stack([np.ones(len(owner)), *values.values()], 1)  # [R, 1 + M]
    sums = np.stack([np.bincount(owner, column) for column in table.T], 1)  # [U, 1 + M]
    means = resampled_means(sums, RESAMPLES, seed)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {name: [low[column], high[column]] for column, name in enumerate(values)}


def resampled_means(sums, resamples, seed):
    """Means over users that are drawn again with replacement.

    Args:
        sums: for each user the number of rows, and then of each column the sum over them ``[U, 1 + M]``.
        resamples: how often all users are drawn.
        seed: of the draws.

    Returns:
        ``[resamples, M]``
    """
    generator, drawn = np.random.default_rng(seed), []
    while len(drawn) < resamples:
        count = min(resamples - len(drawn), max(1, DRAWN_AT_ONCE // len(sums)))
        drawn.extend(generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), count) @ sums)
    drawn = np.array(drawn)
    return drawn[:, 1:] / drawn[:, :1]
