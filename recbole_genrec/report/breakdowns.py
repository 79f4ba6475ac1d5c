"""For whom and for which items a run's lists are good, and what they are like beyond their hits."""

import numpy as np

from recbole_genrec.report.statistics import mean_and_deviation

#: longest history of each group but the last, in training interactions.
HISTORY_ENDS = (5, 10, 20, 50, 100)
HISTORIES = ("0-5", "6-10", "11-20", "21-50", "51-100", "over 100")
#: of the items that training has seen, the most popular fifth is the head, the least popular half the tail.
HEAD, TAIL = 0.2, 0.5
POPULARITIES = ("head", "middle", "tail", "cold")
#: standard errors from a mean to the ends of its 95 % interval.
NORMAL_95 = 1.96


def by_history(outcomes, metric):
    """The mean of a metric, such as ``ndcg@10``, and the number of rows, by length of the user's history."""
    return _means(*_histories(outcomes, metric), HISTORIES)


def by_popularity(outcomes, metric):
    """The mean of a metric over targets, and their number, by popularity of the target; each target counts alone."""
    return _means(*_popularities(outcomes, metric), POPULARITIES)


def margins(outcomes, metric):
    """Half the width of the 95 % interval of each mean of :func:`by_history` and :func:`by_popularity`.

    The interval is the normal approximation over rows, or targets, of one run; groups of one have none.
    """
    found = {}
    for grouped, names in ((_histories, HISTORIES), (_popularities, POPULARITIES)):
        values, group = grouped(outcomes, metric)
        for at, name in enumerate(names):
            own = values[group == at]
            if len(own) > 1:
                found[name] = float(NORMAL_95 * own.std(ddof=1) / np.sqrt(len(own)))
    return found


def _histories(outcomes, metric):
    """The metric of every row, and the group of its history."""
    return _values(outcomes, metric), np.searchsorted(HISTORY_ENDS, outcomes.user_counts)


def _popularities(outcomes, metric):
    """The metric of every target alone, and the group of its popularity."""
    return _values(outcomes.one_row_a_target(), metric), popularity(outcomes.item_counts)[outcomes.targets]


def popularity(counts):
    """The group of every item by its training interactions ``[n_items]``: an index into ``POPULARITIES``."""
    seen = np.flatnonzero(counts)
    group = np.full(len(counts), POPULARITIES.index("cold"))
    order = seen[np.argsort(-counts[seen], kind="stable")]
    group[order] = POPULARITIES.index("middle")
    group[order[: round(HEAD * len(order))]] = POPULARITIES.index("head")
    group[order[len(order) - round(TAIL * len(order)) :]] = POPULARITIES.index("tail")
    return group


def beyond_hits(outcomes, length):
    """What the first ``length`` items of all lists are like.

    Returns:
        ``coverage``, the share of the catalogue that is in some list; ``gini``, how unequally items are recommended,
        0 to 1; ``novelty``, the mean of -log2 of an item's share of training interactions, one added to every count;
        ``full``, the share of lists without a gap or an item twice. None where neither lists nor counts for this length
        are kept.
    """
    counted = outcomes.counts(length)
    if counted is None:
        return None
    counts, n_items = counted[0][1:], len(outcomes.items) - 1  # number 0 is no item
    rank = np.arange(1, n_items + 1)
    gini = ((2 * rank - n_items - 1) * np.sort(counts)).sum() / max(n_items * counts.sum(), 1)
    information = -np.log2((outcomes.item_counts[1:] + 1) / (outcomes.item_counts[1:] + 1).sum())
    return {
        "coverage": float((counts > 0).mean()),
        "gini": float(gini),
        "novelty": float((counts * information).sum() / max(counts.sum(), 1)),
        "full": counted[1] / len(outcomes.users),
    }


def over_seeds(of_runs):
    """Mean and standard deviation of every figure over runs; a group that some runs do not have is that of the rest."""
    names = dict.fromkeys(name for figures in of_runs for name in figures)
    return {name: mean_and_deviation(figures[name] for figures in of_runs if name in figures) for name in names}


def _values(outcomes, metric):
    name, _, length = metric.partition("@")
    return outcomes.metrics([name], [int(length)])[metric]


def _means(values, group, names):
    sums, counts = (np.bincount(group, weights, len(names)) for weights in (values, None))
    return {name: (float(sums[at] / counts[at]), int(counts[at])) for at, name in enumerate(names) if counts[at]}
