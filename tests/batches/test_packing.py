"""Packed training against the plain way: one prompt for each target, tokens joined from lists, one forward each."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention

from recbole_genrec.backbone.backbone import Backbone
from recbole_genrec.batches import layout
from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.packed_loader import PackedLoader
from recbole_genrec.batches.packing import Windows
from recbole_genrec.errors import GenRecError
from tests.batches.packing_world import SEQUENCES, TEMPLATES, TITLES, Setup


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    ("history_tokens", "kernel", "prior"), [(1000, "sdpa", False), (40, "sdpa", True), (40, "eager", False)]
)
def test_packed_loss_and_gradient_equal_the_plain_ones(template, normalization, history_tokens, kernel, prior):
    setup = Setup(TEMPLATES[template], normalization, history_tokens, kernel, prior)
    windows = setup.plan()
    instruction = np.arange(len(windows)) % len(setup.tokens.prefixes)
    packed = setup.packed_loss(setup.packer.pack(setup.items, windows, instruction))
    plain = sum(
        setup.plain_loss(setup.items[first:place].tolist(), setup.items[place], number)
        for first, target, stop, number in zip(windows.first, windows.target, windows.stop, instruction)
        for place in range(target, stop)
    )
    torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-5)
    packed, plain = setup.gradients(packed), setup.gradients(plain)
    assert (packed - plain).norm() <= 1e-5 * plain.norm()


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("columns", [1, 7, 40])
def test_attention_by_chunks_gives_the_loss_and_gradient_of_the_dense_mask(template, columns, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_COLUMNS", columns)
    results = []
    for kind in ("branches", "dense"):
        setup = Setup(TEMPLATES[template], "trie", 40)
        assert setup.backbone.mask_kind == "branches"
        with monkeypatch.context() as patched:
            patched.setattr(Backbone, "mask_kind", kind)
            loss = setup.packed_loss(setup.packer.pack(setup.items, setup.plan()))
        results.append((loss, setup.gradients(loss)))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@torch.no_grad()  # FlexAttention has no backward pass on a CPU
def test_flex_attention_gives_the_loss_of_the_dense_mask(template, monkeypatch):
    def uncompiled(*args, training, **kwargs):
        return flex_attention(*args, **kwargs)

    monkeypatch.setattr("transformers.integrations.flex_attention.compile_friendly_flex_attention", uncompiled)
    setups = [Setup(TEMPLATES[template], "trie", kernel=kernel) for kernel in ("flex_attention", "sdpa")]
    losses = [setup.packed_loss(setup.packer.pack(setup.items, setup.plan())) for setup in setups]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_window_of_one_target_is_a_plain_prompt(template):
    setup = Setup(TEMPLATES[template], "trie", 40)
    begin, target = np.array([(b, t) for b, e in pairwise(setup.offsets) for t in range(b + 1, e)]).T
    windows = Windows(setup.packer.history_start(setup.items, begin, target), target, target + 1)
    batch = setup.packer.pack(setup.items, windows)
    assert batch.mask() is None
    assert batch.n_targets == len(windows) == sum(max(len(sequence) - 1, 0) for sequence in SEQUENCES)
    plain = sum(
        setup.plain_loss(setup.items[first:target].tolist(), setup.items[target])
        for first, target in zip(windows.first, windows.target)
    )
    torch.testing.assert_close(setup.packed_loss(batch), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("history_tokens", [1000, 40, 15, 1])
@pytest.mark.parametrize("seed", range(5))
def test_every_target_comes_once_with_enough_history(template, history_tokens, seed):
    setup = Setup(TEMPLATES[template], "trie", history_tokens)
    windows = setup.plan(min_history=2, seed=seed)
    targets = np.concatenate([np.arange(target, stop) for target, stop in zip(windows.target, windows.stop)])
    expected = [place for begin, end in pairwise(setup.offsets) for place in range(begin + 1, end)]
    assert sorted(targets) == expected
    tokens = setup.packer.cumulative(setup.items)
    begin = setup.offsets[np.searchsorted(setup.offsets, windows.first, side="right") - 1]
    assert (windows.first >= begin).all()
    assert (tokens[windows.stop - 1] - tokens[windows.first] <= setup.packer.history_budget).all()
    wished = np.maximum(begin, windows.target - 2)
    too_long = tokens[windows.target] - tokens[wished] > setup.packer.history_budget
    assert ((windows.first <= wished) | too_long).all()


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_sequence_lengths_are_those_of_the_batches(template, normalization):
    """But for what stands between two items, and before the first one is not needed."""
    setup = Setup(TEMPLATES[template], normalization, 12)
    windows, tokens = setup.plan(), setup.tokens
    longest = np.argmax([len(prefix) for prefix in tokens.prefixes])
    lengths = setup.packer.sequence_lengths(setup.items, windows)
    assert len(lengths) == len(windows) > 4
    for row, length in enumerate(lengths):
        batch = setup.packer.pack(setup.items, windows[[row]], np.array([longest]))
        assert batch.n_tokens == batch.input_ids.shape[1] == length - tokens.between


def same_items(n_items, budget_in_items, less=0):
    """A packer whose history budget is so many items of one title, and a sequence of that title."""
    setup = Setup(TEMPLATES["continuation"], "trie")
    length = int(np.diff(setup.tokens.item_offset)[5])
    packer = setup.make_packer(setup.fixed_tokens + budget_in_items * length - less)
    return packer, np.full(n_items, 5), np.array([0, n_items])


def test_a_history_that_fits_exactly_keeps_all_of_its_items():
    packer, items, _ = same_items(9, 4)
    first, stop = np.array([0, 0, 3, 5, 0]), np.array([9, 4, 8, 6, 0])
    assert packer.history_start(items, first, stop).tolist() == [5, 0, 4, 5, 0]
    packer, *_ = same_items(9, 4, less=1)
    assert packer.history_start(items, first, stop).tolist() == [6, 1, 5, 5, 0]


class Drawn:
    """A generator that draws one number."""

    def __init__(self, number):
        self.number = number

    def random(self, count):
        return np.full(count, self.number)


def rows(windows):
    return list(zip(windows.first.tolist(), windows.target.tolist(), windows.stop.tolist()))


def test_windows_end_with_the_last_target_whose_history_fits():
    """The budget is four items: the history of target 4 is items 0 to 3."""
    packer, items, offsets = same_items(12, 4)
    latest = packer.plan(items, offsets, 2, Drawn(0.999))
    assert rows(latest) == [(0, 1, 5), (3, 5, 8), (6, 8, 11), (9, 11, 12)]
    earliest = packer.plan(items, offsets, 2, Drawn(0.0))
    assert rows(earliest) == [(0, 1, 2), (0, 2, 5), (3, 5, 8), (6, 8, 11), (9, 11, 12)]
    middle = packer.plan(items, offsets, 2, Drawn(0.5))
    assert rows(middle) == [(0, 1, 4), (2, 4, 7), (5, 7, 10), (8, 10, 12)]
    packer, *_ = same_items(12, 4, less=1)
    assert rows(packer.plan(items, offsets, 2, Drawn(0.999)))[:2] == [(0, 1, 4), (2, 4, 6)]


def test_a_history_that_is_kept_may_fill_the_budget_exactly():
    packer, items, offsets = same_items(9, 4)
    whole = [(0, 1, 5), *((target - 4, target, target + 1) for target in range(5, 9))]
    for min_history in (4, 7):
        assert rows(packer.plan(items, offsets, min_history, Drawn(0.999))) == whole
    packer, *_ = same_items(9, 4, less=1)
    assert rows(packer.plan(items, offsets, 4, Drawn(0.999)))[1] == (1, 4, 5)


def test_a_sequence_that_fits_is_one_window_whatever_is_drawn():
    packer, items, offsets = same_items(5, 4)  # the last item is a target only
    for number in (0.0, 0.5, 0.999):
        assert rows(packer.plan(items, offsets, 2, Drawn(number))) == [(0, 1, 5)]
    assert len(packer.plan(items, np.array([0, 1, 1, 2]), 2, Drawn(0.5))) == 0
    assert packer.plan(items, np.array([0, 1]), 2, Drawn(0.5)).first.dtype == np.int64


@pytest.mark.parametrize("template", TEMPLATES)
def test_prompts_read_as_the_template_renders_them(template):
    setup = Setup(TEMPLATES[template], "trie", 1000)
    prompts = setup.packer.prompts(setup.items, setup.offsets[:-1], setup.offsets[1:])
    for row, sequence in enumerate(SEQUENCES):
        tokens = prompts.input_ids[row, : prompts.lengths[row]]
        text = setup.backbone.tokenizer.decode(tokens, skip_special_tokens=True)
        assert text == TEMPLATES[template].render([TITLES[item - 1] for item in sequence])


def test_long_histories_lose_their_oldest_items_whole():
    setup = Setup(TEMPLATES["continuation"], "trie", 12)
    prompts = setup.packer.prompts(setup.items, setup.offsets[:1], setup.offsets[1:2])
    text = setup.backbone.tokenizer.decode(prompts.input_ids[0], skip_special_tokens=True)
    titles = text.split("\n")[:-1]
    assert 0 < len(titles) < len(SEQUENCES[0])
    assert titles == [TITLES[item - 1] for item in SEQUENCES[0]][-len(titles) :]


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_prompt_without_room_for_a_history_is_refused(template, normalization):
    setup = Setup(TEMPLATES[template], normalization)
    with pytest.raises(GenRecError, match=rf"'max_prompt_tokens' \({setup.fixed_tokens}\) .* {setup.fixed_tokens} tok"):
        setup.make_packer(setup.fixed_tokens)
    for room in (1, 7):
        assert setup.make_packer(setup.fixed_tokens + room).history_budget == room


def make_loader(setup, **changes):
    settings = EpochSettings(**{"batch_tokens": 150, "batch_size": 3, "seed": 1} | changes)
    return PackedLoader(setup.packer, None, (None, setup.items, setup.offsets), settings, 2)


def contents(loader, epoch):
    loader.set_epoch(epoch)
    return [(batch.input_ids.tolist(), batch.labels.label.tolist()) for batch in loader]


def test_without_shuffling_every_epoch_has_the_same_batches_longest_first():
    setup = Setup(TEMPLATES["continuation"], "trie", 12)
    loader = make_loader(setup, shuffle=False, batch_tokens=0, batch_size=1)
    first, second = contents(loader, 0), contents(loader, 5)
    widths = [len(input_ids[0]) for input_ids, _ in first]
    assert first == second and len(first) > 4 and widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("changes", [{}, {"batch_tokens": 0}, {"history_dropout": 0.4}])
def test_batches_follow_from_seed_and_epoch(changes):
    setup = Setup(TEMPLATES["instruction"], "trie", 60)
    loader = make_loader(setup, **changes)
    first, second = contents(loader, 0), contents(loader, 1)
    assert first != second
    assert contents(make_loader(setup, **changes), 1) == second
    loader.set_epoch(0)
    assert len(list(loader)) == len(first)
    assert contents(loader, 0) == first
    assert contents(make_loader(setup, **changes, seed=2), 0) != first


def test_batches_keep_the_token_budget_and_hold_every_target():
    setup = Setup(TEMPLATES["continuation"], "trie", 12)
    batches = list(make_loader(setup))
    assert sum(batch.n_targets for batch in batches) == make_loader(setup).n_targets == 18
    assert all(batch.input_ids.numel() <= 150 for batch in batches)


def test_history_dropout_leaves_out_another_part_in_every_epoch():
    setup = Setup(TEMPLATES["continuation"], "trie", 1000)
    setup.items, setup.offsets = np.tile(np.arange(1, 11), 100), np.arange(0, 1001, 10)
    loader = make_loader(setup, history_dropout=0.3, batch_tokens=100_000)
    first, second = (next(iter(loader)) for _ in range(2))
    for batch in (first, second):
        assert batch.n_targets == pytest.approx(0.7 * 1000 - 100, abs=60)
    assert first.items.item.tolist() != second.items.item.tolist()
    loader.set_epoch(0)
    assert next(iter(loader)).items.item.tolist() == first.items.item.tolist()


def test_batch_moves_as_a_whole():
    setup = Setup(TEMPLATES["instruction"], "trie", 60)
    batch = setup.packer.pack(setup.items, setup.plan())
    moved = batch.to("meta")
    assert moved.input_ids.device.type == moved.attention.branch.device.type == moved.labels.cell.device.type == "meta"
    assert replace(moved, input_ids=None).n_targets == batch.n_targets


def test_windows_can_be_chosen():
    windows = Windows(np.array([0, 5]), np.array([1, 6]), np.array([3, 9]))
    assert windows[np.array([1])].stop.tolist() == [9]
