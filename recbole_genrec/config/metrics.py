"""RecBole's metrics by name (``recbole/evaluator/metrics.py``), known without importing it, which takes seconds."""

from recbole_genrec.errors import unknown_name

#: taken over each row's list of a length.
OF_ROWS = ("hit", "ndcg", "mrr", "recall", "precision", "map")
#: taken over all lists of a length together.
OF_LISTS = ("itemcoverage", "averagepopularity", "giniindex", "shannonentropy", "tailpercentage")
#: taken over scores or predicted values, at no list length.
WITHOUT_LENGTH = ("auc", "gauc", "mae", "rmse", "logloss")
METRICS = (*OF_ROWS, *OF_LISTS, *WITHOUT_LENGTH)
#: those of which less is better (``smaller``).
SMALLER = ("averagepopularity", "giniindex", "logloss", "mae", "rmse")


def check_metrics(metrics):
    """Refuse names of metrics that RecBole does not have.

    Args:
        metrics: a name or a list of names, in any case.

    Raises:
        GenRecError: one is unknown; the message names the nearest.
    """
    for metric in [metrics] if isinstance(metrics, str) else metrics:
        if str(metric).lower() not in METRICS:
            raise unknown_name("metric", metric, METRICS, " in 'metrics'")
