"""What every model that trains at all positions promises; the models are found, not listed."""

from itertools import product

import numpy as np
import pytest
import torch
from recbole.trainer import Trainer

from recbole_genrec import run_recbole_genrec
from recbole_genrec.batches.windows import WindowLoader
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import MODELS, plugin_model
from recbole_genrec.errors import GenRecError
from recbole_genrec.model.all_positions import AllPositions
from tests.model.all_positions_world import LONGEST, alone, build, write_world

NAMES = [name for name in sorted(MODELS) if issubclass(plugin_model(name), AllPositions)]
CONTEXTS = [{"context": context} for context in ([], ["gap"], ["request_time", "rating"])]
CONTEXTS.append({"user_columns": ["age", "gender"]})
#: settings of a model that change what it computes.
VARIANTS = {
    "SASRecAll": CONTEXTS,
    "BSARec": CONTEXTS,
    "HSTU": [
        {"time_bias": time_bias, "similarity": similarity}
        for time_bias, similarity in product(("none", "gap", "request_time"), ("dot", "cosine"))
    ]
    + [{"time_bias": "request_time", "context": ["rating"], "user_columns": ["gender"]}],
}
#: what all that comes later in a history is changed to, by column.
CHANGED = {"exact_time": 7, "rating": 9}
EVERY = [(name, variant) for name in NAMES for variant in VARIANTS.get(name, [{}])]


@pytest.fixture
def world(tmp_path, write_dataset):
    """Build a model by name and settings over the same data."""
    data_path = write_world(write_dataset, tmp_path / "data")
    return lambda name, **settings: build(name, data_path, **settings)


def columns_of(built):
    return ("item_id", *built.model.columns)


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_the_loss_is_that_of_each_target_alone(world, name, variant):
    """The oracle has a row for each target, which the model sees without what comes later; gradients included."""
    built = world(name, **variant)
    for batch in built.loader:
        rows = alone(batch, columns_of(built))
        losses = [built.model.calculate_loss(batch)]
        states, vectors = built.model(rows)
        losses.append(torch.nn.functional.cross_entropy(states @ vectors.T, rows["item_id"]))
        torch.testing.assert_close(*losses)
        gradients = [torch.autograd.grad(loss, list(built.model.parameters())) for loss in losses]
        for parameter, ours, theirs in zip(built.model.parameters(), *gradients):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
            assert parameter.requires_grad
        assert built.model.loss_weight(batch) == len(rows["item_id"])


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_a_state_knows_nothing_of_later_items(world, name, variant):
    built = world(name, **variant)
    batch = next(iter(built.loader))
    vectors = built.model.item_vectors()
    states = built.model.states(batch, vectors)
    changed = {field: batch[field].clone() for field in batch.columns}
    cut = 3
    changed["item_id_list"][:, cut:] = 1
    change_after(cut, changed, built.model.columns, variant)
    long = batch["item_length"] > cut
    assert long.any()
    again = built.model.states(changed, vectors)
    torch.testing.assert_close(again[long, :cut], states[long, :cut])
    assert not torch.allclose(again[long, cut:], states[long, cut:])


def change_after(cut, batch, columns, variant):
    """Change a batch's columns from position ``cut`` on; the time of the next item is known to request_time."""
    asks = "request_time" in (variant.get("time_bias"), *variant.get("context", ()))
    for column in columns:
        batch[f"{column}_list"][:, cut + (asks and column == "exact_time") :] = CHANGED[column]
        batch[column][:] = CHANGED[column]


@pytest.mark.parametrize("cut", range(1, LONGEST))
@pytest.mark.parametrize(("name", "variant"), [each for each in EVERY if each[1].get("context")])
def test_a_state_knows_nothing_of_the_context_of_later_items(world, name, variant, cut):
    built = world(name, **variant)
    batch = next(iter(built.loader))
    vectors = built.model.item_vectors()
    states = built.model.states(batch, vectors)
    changed = {field: batch[field].clone() for field in batch.columns}
    change_after(cut, changed, built.model.columns, variant)
    long = batch["item_length"] > cut
    again = built.model.states(changed, vectors)
    torch.testing.assert_close(again[long, :cut], states[long, :cut])
    assert not torch.allclose(again[long, cut:], states[long, cut:])


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_ranking_and_single_scores_agree(world, name, variant):
    built = world(name, **variant)
    built.model.eval()
    for loader in (built.valid, built.test):
        interaction = next(iter(loader))[0]
        scores = built.model.full_sort_predict(interaction)
        assert scores.shape == (len(interaction), built.model.n_items) and scores.isfinite().all()
        own = scores[np.arange(len(scores)), interaction["item_id"]]
        torch.testing.assert_close(built.model.predict(interaction), own)
        assert scores.std(0).max() > 1e-3  # histories differ


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_state_survives_a_round_trip(world, name, variant):
    built, other = world(name, **variant), world(name, **variant)
    other.model.load_state_dict(built.model.state_dict())
    interaction = next(iter(built.test))[0]
    scores = [model.eval().full_sort_predict(interaction) for model in (built.model, other.model)]
    assert torch.equal(*scores)


@pytest.mark.parametrize("name", NAMES)
def test_recboles_rows_and_trainer_are_taken_too(world, name):
    built = world(name)
    assert isinstance(built.loader, WindowLoader)
    batch = next(iter(built.train))
    states, vectors = built.model(batch)
    expected = torch.nn.functional.cross_entropy(states @ vectors.T, batch["item_id"])
    torch.testing.assert_close(built.model.calculate_loss(batch), expected)
    assert built.model.loss_weight(batch) == len(batch)
    built.config.final_config_dict["epochs"] = 1
    Trainer(built.config, built.model).fit(built.train, built.valid, saved=False)


@pytest.mark.parametrize("name", NAMES)
def test_eight_layers_train(world, name):
    built = world(name, n_layers=8, spread=False)
    optimizer = torch.optim.Adam(built.model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        of_epoch = []
        for batch in built.loader:
            loss = built.model.calculate_loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            of_epoch.append(loss.item())
        losses.append(np.mean(of_epoch))
    assert losses[-1] < losses[0] - 0.05
    assert all(parameter.grad.abs().sum() > 0 for parameter in built.model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_another_loss_is_refused(name):
    with pytest.raises(GenRecError, match=f"{name} takes 'loss_type: CE', not 'BPR'"):
        GenRecConfig(name, "ml-100k", config_dict={"loss_type": "BPR"})


@pytest.mark.parametrize("name", NAMES)
def test_heads_that_do_not_divide_the_width_are_refused(name):
    with pytest.raises(GenRecError, match=f"{name}: 'n_heads: 3' does not divide 'hidden_size: 64'"):
        GenRecConfig(name, "ml-100k", config_dict={"n_heads": 3})


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_a_circle(checkerboard, name):
    own = {"epochs": 60, "hidden_size": 32, "learning_rate": 0.01}
    settings = {key: value for key, value in checkerboard.items() if not key.startswith("scratch")}
    settings = {key: settings[key] for key in ("data_path", "topk", "metrics", "valid_metric", "show_progress")}
    result = run_recbole_genrec(name, "tiny", config_dict=settings | own)
    assert result["test_result"]["hit@1"] > 0.9  # the last two items say which is next
