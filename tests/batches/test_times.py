"""The bias of time: packed training and ranking against one prompt at a time, its moments written pair by pair."""

import numpy as np
import pytest
import torch

from recbole_genrec.backbone.backbone import Backbone
from recbole_genrec.backbone.time_bias import BUCKETS, NO_TIME, time_buckets
from recbole_genrec.batches.layout import HistoryContext
from recbole_genrec.decoding.scoring import score_catalogue
from recbole_genrec.decoding.search import search
from recbole_genrec.decoding.tree import prompt_tree
from tests.batches.packing_world import SEQUENCES, TEMPLATES, TITLES, Setup
from tests.batches.test_one_position import targets_of

KINDS = [("gap",), ("request_time",), ("gap", "request_time")]


@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("template", ["continuation", "instruction", "bare list"])
@pytest.mark.parametrize(("kinds", "mask_kind"), [(KINDS[0], "dense"), (KINDS[1], "branches"), (KINDS[2], "branches")])
def test_packed_loss_and_gradient_equal_the_plain_ones(template, slots, kinds, mask_kind, monkeypatch):
    monkeypatch.setattr(Backbone, "mask_kind", mask_kind)
    setup = Setup(TEMPLATES[template], "trie", 4 if slots else 40, slots=slots, kinds=kinds, prior=True)
    windows, times = setup.plan(), setup.context.times
    packed = setup.packed_loss(setup.packer.pack(setup.items, windows, context=setup.context))
    plain = sum(
        setup.plain_loss(setup.items[first:place].tolist(), setup.items[place], times=times[first : place + 1].tolist())
        for first, place in targets_of(windows)
    )
    torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-5)
    packed, plain = setup.gradients(packed), setup.gradients(plain)
    assert (packed - plain).norm() <= 1e-5 * plain.norm()
    without = setup.packed_loss(setup.packer.pack(setup.items, windows[[0]], context=setup.context))
    setup.time_bias.requires_grad_(False)
    for table in setup.time_bias.tables.values():
        table.weight.zero_()
    zero = setup.packed_loss(setup.packer.pack(setup.items, windows[[0]], context=setup.context))
    setup.time_bias = None
    torch.testing.assert_close(setup.packed_loss(setup.packer.pack(setup.items, windows[[0]])), zero)
    assert not torch.isclose(without, zero)


@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("template", ["continuation", "instruction"])
@pytest.mark.parametrize("kinds", KINDS)
@torch.no_grad()
def test_ranking_scores_every_item_as_its_loss(template, slots, kinds):
    setup = Setup(TEMPLATES[template], "trie", 1000, slots=slots, kinds=kinds, prior=True)
    chosen = [0, 1, 4]  # the histories of two items or more
    first, stop = setup.offsets[:-1][chosen], setup.offsets[1:][chosen] - 1  # the last item is the target
    context = HistoryContext(setup.context.times, asked=setup.context.times[stop])
    prompts = setup.packer.prompts(setup.items, first, stop, context)
    embeds = setup.backbone.embed(prompts.input_ids).flatten(0, 1)
    embeds = embeds.index_add(0, prompts.items.cell, setup.item_embedding(prompts.items.item))
    embeds = embeds.view(*prompts.input_ids.shape, -1)
    setup.trie.item_vectors = setup.item_embedding

    def tree():
        return prompt_tree(
            setup.backbone, setup.trie, embeds, prompts.lengths, time_bias=setup.time_bias, times=prompts.times
        )

    scores = score_catalogue(tree())[:, 1:]
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(3))
    for row, (begin, end) in enumerate(zip(first, stop)):
        history, times = setup.items[begin:end].tolist(), setup.context.times[begin : end + 1].tolist()
        for item in range(1, len(TITLES) + 1):
            assert scores[row, item - 1].item() == pytest.approx(
                -setup.plain_loss(history, item, times=times).item(), rel=1e-4, abs=1e-4
            )
    found = search(tree(), 3)
    torch.testing.assert_close(found.scores, scores.sort(1, descending=True).values[:, :3], rtol=1e-4, atol=1e-4)


def test_buckets_are_two_for_each_doubling():
    query = torch.tensor([[0, 1, 2, 3, 7, 2**40, NO_TIME, 2**62]])
    buckets = time_buckets(query, torch.tensor([[0, NO_TIME]]))
    assert buckets[0, :, 0].tolist() == [1, 3, 4, 5, 7, 81, 0, 125]
    assert not buckets[0, :, 1].any() and buckets.max() < BUCKETS
    assert time_buckets(torch.tensor([[3]]), torch.tensor([[9]])).item() == 1  # what comes later has not passed


def test_times_of_the_example_in_the_header():
    """A history of two items, the second of two tokens, and its target."""
    setup = Setup(TEMPLATES["continuation"], "trie", kinds=("gap",))
    sequence = SEQUENCES[1]
    times = np.array([100, 170])
    items, windows = (
        np.array(sequence),
        setup.packer.plan(np.array(sequence), np.array([0, 2]), 1, np.random.default_rng(0)),
    )
    batch = setup.packer.pack(items, windows, context=HistoryContext(times))
    length = [setup.tokens.item_offset[item + 1] - setup.tokens.item_offset[item] for item in sequence]
    prefix = len(setup.tokens.prefixes[0])
    assert batch.times.known[0].tolist() == [NO_TIME] * prefix + [100] * length[0] + [170] * length[1]
    gap = [NO_TIME] * (prefix + length[0] - 1) + [100] + [100] * (length[1] - 1) + [170]
    assert batch.times.gap[0].tolist() == gap
    request = [NO_TIME] * prefix + [100] * (length[0] - 1) + [170] + [170] * length[1]
    assert batch.times.request_time[0].tolist() == request
