"""Values of interactions in the text of a prompt: packed against one prompt for each target, and what is tokenised."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recbole_genrec.batches import value_texts
from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.layout import HistoryContext
from recbole_genrec.batches.packed_loader import PackedLoader
from recbole_genrec.batches.packing import Windows
from recbole_genrec.batches.tokens import template_parts, tokenize_prompt
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.moments import Clock
from tests.batches.packing_world import SEQUENCES, TITLES, VALUED, Setup


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("template", VALUED)
@pytest.mark.parametrize(("history_tokens", "kinds"), [(1000, ()), (45, ()), (45, ("gap", "request_time"))])
def test_packed_loss_and_gradient_equal_the_plain_ones(template, normalization, history_tokens, kinds):
    """Ragged histories, cut ones, and those of one item, with values that are missing and times that are the same."""
    setup = Setup(VALUED[template], normalization, history_tokens, kinds=kinds)
    windows = setup.plan()
    assert history_tokens == 1000 or len(windows) > 3
    packed = setup.packed_loss(setup.packer.pack(setup.items, windows, context=setup.context))
    times = setup.context.times.tolist()
    plain = sum(
        setup.plain_loss(
            setup.items[first:place].tolist(),
            setup.items[place],
            times=times[first : place + 1] if kinds else (),
            values=setup.values_of(first, place),
        )
        for first, target, stop in zip(windows.first, windows.target, windows.stop)
        for place in range(target, stop)
    )
    torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-5)
    packed, plain = setup.gradients(packed), setup.gradients(plain)
    assert (packed - plain).norm() <= 1e-5 * plain.norm()
    assert not setup.tokens.continues


@pytest.mark.parametrize("template", VALUED)
@pytest.mark.parametrize("history_tokens", [1000, 25])
def test_prompts_read_as_the_template_renders_them(template, history_tokens):
    setup = Setup(VALUED[template], "trie", history_tokens)
    begin, stop = setup.offsets[:-1], setup.offsets[1:]
    first = setup.packer.history_start(setup.items, begin, stop, setup.context)
    assert (first == begin).all() or history_tokens == 25
    prompts = setup.packer.prompts(setup.items, begin, stop, setup.context)
    for row, (start, end) in enumerate(zip(first, stop)):
        text = setup.backbone.tokenizer.decode(prompts.input_ids[row, : prompts.lengths[row]], skip_special_tokens=True)
        titles = [TITLES[item - 1] for item in setup.items[start:end]]
        assert text == VALUED[template].render(titles, values=setup.values_of(start, end))


@pytest.mark.parametrize("template", VALUED)
@pytest.mark.parametrize("history_tokens", [1000, 60, 25, 12])
@pytest.mark.parametrize("seed", range(3))
def test_no_sequence_is_longer_than_its_budget(template, history_tokens, seed):
    setup = Setup(VALUED[template], "vocab", history_tokens)
    windows = setup.packer.plan(setup.items, setup.offsets, 2, np.random.default_rng(seed), setup.context)
    targets = np.concatenate([np.arange(target, stop) for target, stop in zip(windows.target, windows.stop)])
    starts = setup.offsets[:-1]
    assert sorted(targets) == sorted(set(range(len(setup.items))) - set(starts.tolist()))
    longest = setup.fixed_tokens + history_tokens
    single = Windows(windows.first, windows.stop - 1, windows.stop)  # of each window its last target
    for row in range(len(single)):
        batch = setup.packer.pack(setup.items, single[[row]], context=setup.context)
        assert batch.n_tokens <= longest
    prompts = setup.packer.prompts(setup.items, setup.offsets[:-1], setup.offsets[1:], setup.context)
    assert prompts.lengths.max() <= longest
    lengths = setup.packer.sequence_lengths(setup.items, windows, context=setup.context)
    for row, length in enumerate(lengths):
        assert setup.packer.pack(setup.items, windows[[row]], context=setup.context).n_tokens <= length


def test_a_prompt_does_not_depend_on_the_histories_beside_it():
    """What fits is reckoned without the gap between the end of one history and the beginning of the next."""
    setup = Setup(VALUED["rated"], "trie", 40)
    together = setup.packer.prompts(setup.items, setup.offsets[:-1], setup.offsets[1:], setup.context)
    for row, (begin, stop) in enumerate(zip(setup.offsets, setup.offsets[1:])):
        context = setup.context.kept(slice(begin, stop))
        alone = setup.packer.prompts(setup.items[begin:stop], np.array([0]), np.array([stop - begin]), context)
        length = int(alone.lengths[0])
        assert together.lengths[row] == length
        assert torch.equal(together.input_ids[row, :length], alone.input_ids[0, :length])


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_an_epoch_writes_the_interactions_that_it_keeps(dropout):
    """Time passes between the interactions that are kept, and each target comes with its own history's values."""
    setup = Setup(VALUED["rated"], "trie", 1000)
    settings = EpochSettings(batch_tokens=200, batch_size=3, seed=1, history_dropout=dropout)
    loader = PackedLoader(setup.packer, None, (None, setup.items, setup.offsets), settings, 2, context=setup.context)
    (items, windows, _, context), batches = loader._plan_rows(np.random.default_rng(3))
    assert len(items) == len(setup.items) or dropout
    found = sum(setup.packed_loss(batch) for batch in loader)
    assert torch.isfinite(found)
    setup.context = replace(context, around=None)
    for batch in batches:
        packed = setup.packed_loss(setup.packer.pack(items, windows[batch], context=context))
        plain = sum(
            setup.plain_loss(items[first:place].tolist(), items[place], values=setup.values_of(first, place))
            for first, target, stop in zip(*(getattr(windows[batch], name) for name in ("first", "target", "stop")))
            for place in range(target, stop)
        )
        torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-5)


def test_a_combination_of_values_is_tokenised_once(monkeypatch):
    setup = Setup(VALUED["rated"], "trie")
    asked, encode_many = [], setup.tokens.values._encode_many
    setup.tokens.values._encode_many = lambda texts: asked.extend(texts) or encode_many(texts)
    for _ in range(2):
        setup.packer.describe(setup.items, setup.context)
    assert len(asked) == len(set(asked)) > 5
    count = len(asked)
    context = HistoryContext(setup.context.times[:2], {"rating": np.array([4.25, 5], np.float32)})
    around = setup.packer.describe(setup.items[:2], context).around
    assert " (4.25 stars)\n" in asked[count:]  # a value that training has not had
    monkeypatch.setattr(value_texts, "MOST_TEXTS", 3)
    again = setup.packer.describe(setup.items[:2], context).around  # forgets, and numbers anew
    text = [
        setup.backbone.tokenizer.decode(each.token[each.offset[number] : each.offset[number + 1]])
        for each in (around, again)
        for number in each.after_first
    ]
    assert text[0] == text[2] == " (4.25 stars)\n" and text[1] == text[3] == " (5 stars)\n"


def test_nothing_known_leaves_the_values_out():
    setup = Setup(VALUED["rated"], "trie")
    prompts = setup.packer.prompts(np.array(SEQUENCES[1]), np.array([0]), np.array([2]))
    assert (
        setup.backbone.tokenizer.decode(prompts.input_ids[0], skip_special_tokens=True) == "Aliens (1986)\nHeat Wave\n"
    )


def test_milliseconds_are_told_as_time():
    setup = Setup(VALUED["rated"], "trie")
    tokens = tokenize_prompt(VALUED["rated"], setup.backbone, setup.identifiers, Clock(10**12, "milliseconds"))
    texts = tokens.values.texts(HistoryContext(np.array([0, 7_200_000]), {"rating": np.array([1.0, 2])}), 2, 5)
    assert texts == [" (1 stars)\n", " (2 stars, 2 hours later)\n"]


@pytest.mark.parametrize("clock", [None, Clock(1, "none")])
def test_times_that_are_no_clock_are_refused(clock):
    setup = Setup(VALUED["rated"], "trie")
    with pytest.raises(GenRecError, match=r"\{gap\}, which needs times in seconds or milliseconds since 1970"):
        tokenize_prompt(VALUED["rated"], setup.backbone, setup.identifiers, clock)
    tokenize_prompt(VALUED["a response"], setup.backbone, setup.identifiers, clock)  # it tells none


def test_a_token_without_a_vector_is_refused():
    setup = Setup(VALUED["rated"], "trie")
    setup.tokens.values._encode_many = lambda texts: [[10**6] for _ in texts]
    with pytest.raises(GenRecError, match="has a token that the model has no vector for"):
        setup.packer.describe(setup.items, setup.context)


def test_an_export_cannot_hold_them():
    setup = Setup(VALUED["rated"], "trie")
    with pytest.raises(GenRecError, match=r"values of interactions \(\{rating\}\)"):
        template_parts(VALUED["rated"], setup.backbone)
