"""HSTU equals its formulas, computed position by position, with each notion of time."""

from math import floor, log, sqrt

import numpy as np
import pytest
import torch

from recbole_genrec.model.hstu import time_buckets
from tests.model.all_positions_world import LONGEST, build, write_world
from tests.model.plain_layers import linear, norm, silu, weights_of

KNOWN = ("none", "gap", "request_time")
ITEMS = [5, 2, 9, 8]
#: of the items, and of the target.
TIMES = [0, 1, 90, 90, 3_000_000]


@pytest.fixture
def world(tmp_path, write_dataset):
    data_path = write_world(write_dataset, tmp_path / "data")
    return lambda **settings: build("HSTU", data_path, **settings)


def batch_of(items=ITEMS, times=TIMES):
    """A history, with its times and that of its target."""
    missing = [0] * (LONGEST - len(items))
    return {
        "item_id_list": torch.tensor([[*items, *missing]]),
        "item_length": torch.tensor([len(items)]),
        "exact_time_list": torch.tensor([[*times[:-1], *missing]]),
        "exact_time": torch.tensor([times[-1]]),
        "item_id": torch.tensor([1]),
    }


def plain_layer(weights, place, states, moments):
    """A layer for states [L, H]; ``moments``: of every position, the moment it is asked at, or ``None``."""
    n_heads, width = 2, states.shape[1]
    size = width // n_heads
    parts = [silu(weights[f"{place}.inputs.weight"] @ norm(state, epsilon=1e-6)) for state in states]
    gate, value, query, key = (np.stack([part[k * width : (k + 1) * width] for part in parts]) for k in range(4))
    result = []
    for i in range(len(states)):
        attended = np.zeros(width)
        for head in range(n_heads):
            part = slice(head * size, (head + 1) * size)
            for j in range(i + 1):
                logit = query[i, part] @ key[j, part] + weights[f"{place}.position_bias"][i - j]
                if moments is not None:
                    bucket = min(128, floor(log(max(1, abs(moments[i] - TIMES[j]))) / 0.301))
                    logit += weights[f"{place}.time_bias"][bucket]
                attended[part] += silu(logit) / LONGEST * value[j, part]
        gated = norm(attended, epsilon=1e-6) * gate[i]
        result.append(states[i] + linear(weights, f"{place}.output", gated))
    return np.stack(result)


@pytest.mark.parametrize("time_bias", KNOWN)
def test_states_and_scores_equal_the_formulas(world, time_bias):
    model = world(time_bias=time_bias).model.eval()
    weights, width = weights_of(model), 8
    states = weights["item_embedding.weight"][ITEMS] * sqrt(width) + weights["position_embedding.weight"][: len(ITEMS)]
    moments = {"none": None, "gap": TIMES[:-1], "request_time": TIMES[1:]}[time_bias]
    for number in range(2):
        states = plain_layer(weights, f"layers.{number}", states, moments)
    found = model.states(batch_of(), model.item_vectors())[0, : len(ITEMS)].detach()
    np.testing.assert_allclose(found, states, atol=1e-4)
    scores = model.full_sort_predict(batch_of())[0].detach()
    np.testing.assert_allclose(scores, weights["item_embedding.weight"] @ norm(states[-1], epsilon=1e-6), atol=1e-4)


def test_the_cosine_is_divided_by_the_temperature(world):
    model = world(similarity="cosine", temperature=0.2).model.eval()
    state = model.states(batch_of(), model.item_vectors())[0, len(ITEMS) - 1]
    vectors = model.item_vectors()
    expected = [torch.cosine_similarity(state, vector, dim=0) / 0.2 for vector in vectors]
    torch.testing.assert_close(model.full_sort_predict(batch_of())[0], torch.stack(expected))


def test_buckets_follow_the_logarithm():
    seconds = [0, 1, 2, 3, 60, 3_599, 86_400, 1_000_000_000, 2**62]
    expected = [min(128, floor(log(max(1, s)) / 0.301)) for s in seconds]
    assert time_buckets(torch.tensor(seconds)).tolist() == expected
    assert time_buckets(-torch.tensor(seconds)).tolist() == expected
    assert expected[:3] == [0, 0, 2] and expected[-1] == 128


@pytest.mark.parametrize(
    ("time_bias", "moved", "matters"),
    [
        ("none", 2, False),
        ("gap", 2, True),
        ("request_time", 2, True),
        ("gap", 4, False),  # the target's own
        ("request_time", 4, True),
    ],
)
def test_what_each_choice_knows_of_time(world, time_bias, moved, matters):
    model = world(time_bias=time_bias).model.eval()
    times = [1_000_000, 2_000_000, 3_000_000, 3_000_000, 4_000_000]
    other = list(times)
    other[moved] += 500_000
    scores = [model.full_sort_predict(batch_of(times=given)) for given in (times, other)]
    assert torch.equal(*scores) != matters


def test_the_dataset_has_times_only_where_they_are_read(world):
    assert "exact_time" not in world(time_bias="none").train.dataset.inter_feat.columns
    built = world(time_bias="gap")
    batch = next(iter(built.loader))
    assert batch["exact_time_list"].dtype == torch.int64 and batch["exact_time_list"].max() > 2**24
    interaction = next(iter(built.test))[0]
    assert (interaction["exact_time"] >= interaction["exact_time_list"].max(1).values).all()
