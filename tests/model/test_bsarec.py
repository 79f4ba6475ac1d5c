"""BSARec equals its formulas, computed with plain sums, in the authors' way and at all positions."""

import numpy as np
import pytest
import torch

from recbole_genrec import run_recbole_genrec
from recbole_genrec.model.bsarec import FrequencyFilter, causal_filter, left_padded, low_pass, low_pass_kernel
from tests.model.all_positions_world import LONGEST, build, write_world
from tests.model.plain_layers import attention, feed_forward, named, norm, weights_of


@pytest.fixture
def world(tmp_path, write_dataset):
    data_path = write_world(write_dataset, tmp_path / "data")
    return lambda **settings: build("BSARec", data_path, **settings)


def plain_low_pass(states, count):
    """The lowest frequencies of states [L, H], by the sums of a discrete Fourier transform and its inverse."""
    length = len(states)
    kept = [k for k in range(length) if min(k, length - k) <= count // 2]
    angle = 2j * np.pi / length
    spectrum = {k: sum(states[n] * np.exp(-angle * k * n) for n in range(length)) for k in kept}
    return np.stack([sum(spectrum[k] * np.exp(angle * k * n) for k in kept).real / length for n in range(length)])


def plain_layer(model, number, states, low, padded):
    """A layer for states [L, H] whose low frequencies are ``low [L, H]``."""
    weights, share = weights_of(model), model.arguments.frequency_weight
    place = f"layers.{number}"
    attended = attention(weights, f"{place}.attention", states, 2, padded)
    result = []
    for state, of_low, other in zip(states, low, attended):
        rescaled = of_low + weights[f"{place}.filter.beta"] ** 2 * (state - of_low)
        filtered = norm(state + rescaled, *named(weights, f"{place}.filter.LayerNorm"))
        result.append(feed_forward(weights, f"{place}.feed_forward", share * filtered + (1 - share) * other))
    return np.stack(result)


def plain_input(model, items):
    """The input [L, H] of the first layer for items [L]."""
    weights = weights_of(model)
    vectors = weights["item_embedding.weight"][items] + weights["position_embedding.weight"][: len(items)]
    return np.stack([norm(vector, *named(weights, "LayerNorm")) for vector in vectors])


def ending_at(states, end):
    """The window [L, H] of some states that ends at a position, with zeros before their beginning."""
    window = np.zeros((LONGEST, states.shape[1]))
    window[LONGEST - end - 1 :] = states[: end + 1]
    return window


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 9])
@pytest.mark.parametrize("length", [6, 7])
def test_low_frequencies_are_those_of_the_plain_transform(length, count):
    states = torch.randn(2, length, 3, generator=torch.Generator().manual_seed(count))
    expected = np.stack([plain_low_pass(row, count) for row in states.double().numpy()])
    np.testing.assert_allclose(low_pass(states, count), expected, atol=1e-6)


@pytest.mark.parametrize("settings", [{"low_frequencies": 1}, {"low_frequencies": 3, "frequency_weight": 0.2}])
def test_last_is_the_authors_model(world, settings):
    model = world(train_on="last", **settings).model.eval()
    for items in ([3], [4, 1, 7], [5, 2, 9, 8, 1, 6]):
        window = [0] * (LONGEST - len(items)) + items
        states = plain_input(model, window)
        for number in range(2):
            low = plain_low_pass(states, model.arguments.low_frequencies)
            states = plain_layer(model, number, states, low, [item == 0 for item in window])
        batch = {"item_id_list": torch.tensor([items]), "item_length": torch.tensor([len(items)])}
        np.testing.assert_allclose(model(batch)[0][0].detach(), states[-1], atol=1e-4)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_the_causal_filter_is_the_authors_on_the_window_that_ends_at_each_position(count):
    torch.manual_seed(0)
    layer = FrequencyFilter(4, 0.0, 1e-12)
    states = torch.randn(3, LONGEST, 4)
    triangle = causal_filter(low_pass_kernel(LONGEST, count))
    filtered = layer(states, lambda states: triangle @ states)
    for end in range(LONGEST):
        window = torch.cat([torch.zeros(3, LONGEST - end - 1, 4), states[:, : end + 1]], 1)
        expected = layer(window, lambda window: low_pass(window, count))[:, -1]
        torch.testing.assert_close(filtered[:, end], expected)


@pytest.mark.parametrize("settings", [{"low_frequencies": 1}, {"low_frequencies": 3, "frequency_weight": 0.2}])
def test_all_filters_the_window_that_ends_at_each_position_in_every_layer(world, settings):
    model = world(**settings).model.eval()
    items = [5, 2, 9, 8, 1]
    states = plain_input(model, items)
    for number in range(2):
        windows = [plain_low_pass(ending_at(states, end), model.arguments.low_frequencies) for end in range(len(items))]
        low = np.stack([window[-1] for window in windows])
        states = plain_layer(model, number, states, low, [False] * len(items))
    batch = {"item_id_list": torch.tensor([[*items, 0]]), "item_length": torch.tensor([len(items)])}
    found = model.states(batch, model.item_vectors())[0, : len(items)].detach()
    np.testing.assert_allclose(found, states, atol=1e-4)


def test_both_are_the_same_with_one_layer_no_positions_and_zeros_for_padding(world):
    models = [world(n_layers=1, train_on=train_on).model.eval() for train_on in ("all", "last")]
    for model in models:
        model.load_state_dict(models[0].state_dict())
        model.position_embedding.weight.data.zero_()
        model.item_embedding.weight.data[0] = 0
        model.LayerNorm.bias.data.zero_()
    for length in range(1, LONGEST + 1):
        items = torch.tensor([[*range(1, length + 1), *[0] * (LONGEST - length)]])
        batch = {"item_id_list": items, "item_length": torch.tensor([length])}
        torch.testing.assert_close(models[0](batch)[0], models[1](batch)[0])


def test_last_takes_a_row_for_each_target(world):
    built = world(train_on="last")
    assert built.loader is None
    batch = next(iter(built.train))
    states, vectors = built.model(batch)
    expected = torch.nn.functional.cross_entropy(states @ vectors.T, batch["item_id"])
    loss = built.model.calculate_loss(batch)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in built.model.parameters())
    assert world().loader.n_targets == len(built.train.dataset)


def test_last_learns_a_circle(checkerboard):
    settings = {key: checkerboard[key] for key in ("data_path", "topk", "metrics", "valid_metric", "show_progress")}
    own = {"train_on": "last", "epochs": 30, "hidden_size": 32, "learning_rate": 0.01, "low_frequencies": 3}
    result = run_recbole_genrec("BSARec", "tiny", config_dict=settings | own)
    assert result["test_result"]["hit@1"] > 0.9


def test_histories_move_to_the_end_of_a_window():
    moved = left_padded(torch.tensor([[7, 8, 0], [9, 0, 0]]), torch.tensor([2, 1]), 4)
    assert moved.tolist() == [[0, 0, 7, 8], [0, 0, 0, 9]]
    assert left_padded(torch.tensor([[7, 8]]), torch.tensor([2]), 2).tolist() == [[7, 8]]
