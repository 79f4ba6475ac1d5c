"""The benchmark of simulated conversations over a tiny checkpoint: its rows against a conversation held by hand."""

import json

import numpy as np
import pytest

from benchmarks import conversation
from recbole_genrec import GenRecError, GenRecommender, ItemId
from tests.serve.conftest import ITEMS, pretrained, train, trained  # noqa: F401  fixtures


@pytest.fixture
def checkpoint(trained, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)  # RecBole may write there
    return trained["trie"][2]


def test_targets_and_scores_are_those_of_the_test(checkpoint):
    examples = conversation.histories_of(checkpoint, 8, 1)
    recommender = GenRecommender.from_checkpoint(checkpoint)
    scores = conversation.scores_of(recommender, [history for history, _ in examples])
    assert len(examples) == 8 and conversation.histories_of(checkpoint, 8, 1) == examples
    for (history, target), row in zip(examples, scores):
        user = next(u for u in range(8) if ITEMS[(u + 15) % 10][0] == target and ITEMS[(u + 12) % 10][0] == history[-1])
        assert history == [ITEMS[(user + 3 * t) % 10][0] for t in range(5)]
        best = recommender.recommend([[ItemId(item) for item in history]], 10, exclude_seen=True)[0]
        expected = {recommendation.item_id: recommendation.probability for recommendation in best}
        found = dict(zip(recommender.reader.item_tokens, np.exp(row)))
        assert {token for token, share in found.items() if share > 0} == expected.keys()
        assert [found[token] for token in expected] == pytest.approx(list(expected.values()), abs=2e-4)


def test_the_benchmark_is_the_same_each_time(checkpoint, tmp_path):
    options = ["--checkpoint", str(checkpoint), "--turns", "4", "--topk", "1", "--users", "8", "--draws", "2"]
    results = []
    for name in ("one.json", "two.json"):
        conversation.main([*options, "--output", str(tmp_path / name)])
        results.append(json.loads((tmp_path / name).read_text("utf-8")))
    assert results[0]["rows"] == results[1]["rows"]
    rows = {row["policy"]: row for row in results[0]["rows"]}
    assert rows["never"]["questions"] == 0 < rows["information"]["questions"]
    assert rows["information"]["success@4"] >= rows["never"]["success@4"]
    assert rows["never"]["success@1"] == rows["never"]["recall_in_turn_1"] == rows["information"]["recall_in_turn_1"]
    assert "genre is Comedy" in results[0]["questions"]


def test_columns_are_chosen(checkpoint):
    recommender = GenRecommender.from_checkpoint(checkpoint)
    assert list(conversation.attributes_of(recommender, []).columns) == ["year", "genre", "price"]
    assert list(conversation.attributes_of(recommender, ["genre"]).columns) == ["genre"]
    with pytest.raises(GenRecError, match="no title; there are year, genre, price"):
        conversation.attributes_of(recommender, ["title"])
