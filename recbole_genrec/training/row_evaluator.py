"""RecBole's evaluator, extended to keep the metrics of single rows, which RecBole only averages.

Letter: R rows.
"""

from recbole.evaluator import Evaluator
from recbole.evaluator.base_metric import TopkMetric


class RowEvaluator(Evaluator):
    """RecBole's evaluator with the top-k metrics of every row.

    Attributes:
        rows: of the last evaluation, by name, such as ``ndcg@10``, the metric of every row ``[R]``.
    """

    def __init__(self, config):
        super().__init__(config)
        self.rows = {}
        for name, metric in self.metric_class.items():
            if isinstance(metric, TopkMetric):
                kind = type(metric)
                self.metric_class[name] = type(kind.__name__, (_KeepsRows, kind), {})(config)

    def evaluate(self, dataobject):
        """RecBole's ``evaluate``."""
        result = super().evaluate(dataobject)
        self.rows = {}
        for metric in self.metric_class.values():
            if isinstance(metric, _KeepsRows):
                self.rows |= metric.rows
        return result


class _KeepsRows:
    """Mixin before one of RecBole's top-k metrics."""

    def topk_result(self, metric, value):
        """RecBole's averages by name; ``value`` is ``[R, K]``, whose column ``k - 1`` is the metric at ``k``."""
        self.rows = {f"{metric}@{k}": value[:, k - 1].astype(float) for k in self.topk}
        return super().topk_result(metric, value)
