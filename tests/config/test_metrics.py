"""The table of metrics is RecBole's."""

import pytest
from recbole.evaluator import metric_types
from recbole.evaluator.base_metric import TopkMetric
from recbole.evaluator.register import metrics_dict

from recbole_genrec import GenRecError
from recbole_genrec.config.metrics import METRICS, OF_LISTS, OF_ROWS, SMALLER, WITHOUT_LENGTH, check_metrics


def test_names_and_kinds():
    assert sorted(METRICS) == sorted(metric_types)
    assert {name for name, kind in metrics_dict.items() if issubclass(kind, TopkMetric)} == {*OF_ROWS}
    assert set(SMALLER) == {name for name, kind in metrics_dict.items() if kind.smaller}
    assert not set(OF_LISTS) & set(WITHOUT_LENGTH)


def test_an_unknown_metric_is_refused_with_the_nearest():
    check_metrics(["NDCG", "hit"])
    with pytest.raises(GenRecError, match="Unknown metric .ndgc. in .metrics.. Did you mean .ndcg."):
        check_metrics("ndgc")
