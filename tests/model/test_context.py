"""GenRec with a context: what it learns from times and ratings, and the same answers by every way in."""

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model

from recbole_genrec import GenRec, GenRecError, run_recbole_genrec
from recbole_genrec.model.value_vectors import BINS, ValueVectors
from tests.builders import SCRATCH, write_base
from tests.model.context_world import write_context_world


@pytest.fixture
def world(tmp_path, write_dataset, monkeypatch):
    """Settings of a small model on :mod:`tests.model.context_world`."""
    monkeypatch.chdir(tmp_path)

    def make(by):
        return {
            **SCRATCH,
            "data_path": write_context_world(write_dataset, tmp_path / by, by),
            "topk": [1],
            "valid_metric": "NDCG@1",
            "epochs": 40,
            "eval_step": 20,
            "learning_rate": 0.01,
            "embedding_dropout": 0.0,
            "hidden_dropout": 0.0,
            "show_progress": False,
            "train_batch_tokens": 0,
            "train_batch_size": 6,
        }

    return make


@pytest.mark.parametrize("history", ["text", "vectors"])
@pytest.mark.parametrize(("by", "context"), [("rating", ["rating"]), ("time", ["request_time"])])
def test_it_learns_what_the_context_alone_tells(world, by, context, history):
    settings = world(by) | {"history": history}
    blind = run_recbole_genrec("GenRec", "tiny", config_dict=settings | {"epochs": 20})
    seeing = run_recbole_genrec("GenRec", "tiny", config_dict=settings | {"context": context})
    assert blind["test_result"]["hit@1"] < 0.75
    assert seeing["test_result"]["hit@1"] > 0.95


@pytest.mark.filterwarnings("ignore:.*past_key_values.* is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("history", "adapter"), [("text", None), ("vectors", None), ("text", "prefix"), ("vectors", "prompt")]
)
def test_every_way_gives_the_same_scores(world, tmp_path, history, adapter):
    """Exact search, all scores, pairs, the loss of a single prompt, and the checkpoint that comes back."""
    settings = world("time") | {"history": history, "context": ["gap", "request_time", "rating"], "epochs": 2}
    if adapter:
        settings |= {"backbone": write_base(tmp_path / "base"), "adapter": adapter, "adapter_tokens": 3}
    settings |= {"eval_batch_size": 256}  # all users in one batch
    result = run_recbole_genrec("GenRec", "tiny", config_dict=settings)
    _, model, _, _, _, test = load_data_and_model(result["checkpoint"])
    model.eval()
    interaction = next(iter(test))[0]
    for table in model.time_bias.tables.values():
        assert table.weight.any()
    assert model.value_vectors["rating"].bounds.min() > 1e300  # there is one rating
    best = model.full_sort_predict(interaction)
    model.scores_all_items = True
    scores = model.full_sort_predict(interaction)
    torch.testing.assert_close(scores[:, 1:].exp().sum(1), torch.ones(len(scores)))
    torch.testing.assert_close(best.max(1), scores.max(1))
    target = interaction["item_id"]
    own = scores.gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(model.predict(interaction), own, atol=1e-5, rtol=1e-5)
    twice = interaction[torch.arange(len(target)).repeat(2)]
    torch.testing.assert_close(model.predict(twice), own.repeat(2), atol=1e-5, rtol=1e-5)
    batch = model.pack_interaction(interaction)
    loss = model.calculate_loss(batch) * batch.n_decisions
    torch.testing.assert_close(loss, -own.sum(), atol=1e-3, rtol=1e-4)
    assert result["test_result"]["hit@1"] == pytest.approx((best.argmax(1) == target).float().mean().item(), abs=1e-4)


def test_without_training_a_context_changes_nothing(world):
    settings = world("rating")
    scores = []
    for context in ([], ["gap", "request_time", "rating"]):
        config = Config(model=GenRec, dataset="tiny", config_dict=settings | {"context": context})
        train, _, test = data_preparation(config, create_dataset(config))
        torch.manual_seed(0)
        model = GenRec(config, train.dataset).eval()
        model.scores_all_items = True
        scores.append(model.full_sort_predict(next(iter(test))[0]))
    torch.testing.assert_close(*scores)


@pytest.mark.parametrize(
    ("context", "message"),
    [(["ratings"], r"'context' needs the column .*ratings"), (["user_id"], "numbers"), ("gapp", "gapp")],
)
def test_a_column_that_is_not_there_is_named(world, context, message):
    with pytest.raises(GenRecError, match=message):
        run_recbole_genrec("GenRec", "tiny", config_dict=world("rating") | {"context": context})


def test_values_have_vectors_of_their_own_until_there_are_too_many():
    few, many = ValueVectors(2), ValueVectors(2)
    for vectors in (few, many):
        torch.nn.init.normal_(vectors.table.weight)
    few.fit(np.array([3.0, 1.0, 5.0, 1.0]))
    rows = few(torch.tensor([1.0, 3.0, 5.0, 0.0, 9.0, 1.9]))
    assert torch.equal(rows, few.table.weight[torch.tensor([0, 1, 2, 0, 2, 0])])
    missing = few(torch.tensor([[3.0, torch.nan]]))
    assert torch.equal(missing[0], torch.stack([few.table.weight[1], torch.zeros(2)]))
    other = ValueVectors(2)
    other.fit(np.array([3.0, np.nan, 1.0, 5.0]))
    assert torch.equal(other.bounds, few.bounds)
    values = np.random.default_rng(0).random(5000).astype(np.float32)
    many.fit(values)
    counts = torch.bincount(torch.bucketize(torch.from_numpy(values).double(), many.bounds, right=True), minlength=BINS)
    assert len(counts) == BINS and counts.min() > 20 and counts.max() < 200
