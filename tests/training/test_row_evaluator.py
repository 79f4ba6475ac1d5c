"""The evaluator that keeps rows gives RecBole's averages, and the rows they are the averages of."""

import pytest
import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct

from recbole_genrec.training.row_evaluator import RowEvaluator

CONFIG = {"metrics": ["Hit", "NDCG", "MRR", "ItemCoverage"], "topk": [1, 3], "metric_decimal_place": 6}
#: three users, a list of three, one target each.
HITS = [[0, 1, 0, 1], [1, 0, 0, 1], [0, 0, 0, 1]]


def collected(hits):
    struct = DataStruct()
    struct.set("rec.topk", torch.tensor(hits))
    struct.set("rec.items", torch.tensor([[1, 2, 3], [2, 3, 4], [1, 4, 2]]))
    struct.set("data.num_items", 6)
    return struct


def test_row_metrics_average_to_recboles_result():
    evaluator = RowEvaluator(CONFIG)
    result = evaluator.evaluate(collected(HITS))
    assert result == Evaluator(CONFIG).evaluate(collected(HITS))
    assert set(evaluator.rows) == {f"{name}@{k}" for name in ("hit", "ndcg", "mrr") for k in (1, 3)}
    for name, value in evaluator.rows.items():
        assert value.mean() == pytest.approx(result[name], abs=1e-6)
    assert evaluator.rows["hit@3"].tolist() == [1, 1, 0]


def test_rows_are_those_of_the_last_evaluation():
    evaluator = RowEvaluator(CONFIG)
    evaluator.evaluate(collected(HITS))
    first = evaluator.rows
    evaluator.evaluate(collected(HITS[::-1]))
    assert first["hit@3"].tolist() == [1, 1, 0]
    assert evaluator.rows["hit@3"].tolist() == [0, 1, 1]
