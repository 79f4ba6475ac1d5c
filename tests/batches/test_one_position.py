"""One position an item (``history: vectors``), and identifiers that only some targets learn (``branch_share``)."""

import numpy as np
import pytest
import torch

from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.packed_loader import PackedLoader
from recbole_genrec.batches.tokens import as_slots
from tests.batches.packing_world import SEQUENCES, TEMPLATES, Setup


def targets_of(windows):
    """History and target of every target of some windows, as places in the flat items."""
    bounds = zip(windows.first, windows.target, windows.stop)
    return [(first, place) for first, target, stop in bounds for place in range(target, stop)]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize(
    ("history_tokens", "kernel", "prior"), [(100, "sdpa", False), (3, "sdpa", True), (3, "eager", 0)]
)
def test_packed_loss_and_gradient_equal_the_plain_ones(template, normalization, history_tokens, kernel, prior):
    setup = Setup(TEMPLATES[template], normalization, history_tokens, kernel, prior, slots=True)
    windows = setup.plan()
    packed = setup.packed_loss(setup.packer.pack(setup.items, windows))
    plain = sum(
        setup.plain_loss(setup.items[first:place].tolist(), setup.items[place]) for first, place in targets_of(windows)
    )
    torch.testing.assert_close(packed, plain, rtol=1e-5, atol=1e-5)
    packed, plain = setup.gradients(packed), setup.gradients(plain)
    assert (packed - plain).norm() <= 1e-5 * plain.norm()


@pytest.mark.parametrize("template", TEMPLATES)
def test_an_item_takes_one_position_with_its_vector(template):
    setup = Setup(TEMPLATES[template], "trie", slots=True)
    prompts = setup.packer.prompts(setup.items, setup.offsets[:-1], setup.offsets[1:])
    prefix, response = setup.tokens.prefixes[0].tolist(), setup.tokens.response.tolist()
    vectors = dict(zip(prompts.items.cell.tolist(), prompts.items.item.tolist()))
    for row, sequence in enumerate(SEQUENCES):
        tokens = prompts.input_ids[row, : prompts.lengths[row]].tolist()
        assert tokens == [*prefix, *[setup.tokens.end] * len(sequence), *response]
        begin = row * prompts.input_ids.shape[1] + len(prefix)
        assert [vectors.pop(begin + place) for place in range(len(sequence))] == sequence
    assert not vectors


@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("chosen", ["none", "some", "all"])
def test_targets_that_are_not_learnt_have_no_labels_and_keep_their_state(template, slots, chosen):
    """The loss is that of the learnt targets alone; the states before all identifiers are those of plain prompts."""
    setup = Setup(TEMPLATES[template], "trie", 12, slots=slots)
    windows = setup.plan()
    learnt = {"none": 0, "some": np.arange(len(setup.items)) % 3 == 1, "all": 1}[chosen] * np.ones(
        len(setup.items), bool
    )
    batch = setup.packer.pack(setup.items, windows, learnt=learnt.astype(bool))
    everything = setup.packer.pack(setup.items, windows)
    assert batch.n_decisions == everything.n_decisions == len(everything.labels.label)
    assert batch.n_targets == everything.n_targets == len(targets_of(windows))
    assert batch.targets.item.tolist() == everything.targets.item.tolist()
    pairs = targets_of(windows)
    expected = [setup.plain_loss(setup.items[a:b].tolist(), setup.items[b]) for a, b in pairs if learnt[b]]
    if expected:
        torch.testing.assert_close(setup.packed_loss(batch), sum(expected), rtol=1e-5, atol=1e-5)
    else:
        assert len(batch.labels.label) == 0
    states = setup.states(batch)[batch.targets.cell]
    by_target = dict(zip(zip(*map(torch.Tensor.tolist, (batch.targets.item, states[:, 0]))), states))
    for first, place in pairs:
        plain = setup.prompt_state(setup.items[first:place].tolist())
        own = [state for (item, _), state in by_target.items() if item == setup.items[place]]
        assert any(torch.allclose(state, plain, atol=1e-5) for state in own)


@pytest.mark.parametrize("template", TEMPLATES)
def test_lengths_count_what_is_learnt(template):
    setup = Setup(TEMPLATES[template], "trie", 12, slots=True)
    windows, learnt = setup.plan(), np.arange(len(setup.items)) % 2 == 0
    longest = np.argmax([len(prefix) for prefix in setup.tokens.prefixes])
    lengths = setup.packer.sequence_lengths(setup.items, windows, learnt)
    for row, length in enumerate(lengths):
        assert setup.packer.pack(setup.items, windows[[row]], np.array([longest]), learnt).n_tokens == length


def loader(setup, share, seed=1):
    settings = EpochSettings(seed=seed, batch_size=3, batch_tokens=150)
    return PackedLoader(setup.packer, None, (None, setup.items, setup.offsets), settings, 2, share)


def test_every_epoch_draws_its_own_share_of_the_targets():
    setup = Setup(TEMPLATES["continuation"], "trie", slots=True)
    loaders = [loader(setup, 0.5) for _ in range(2)]
    drawn = [
        [sorted(label for batch in one for label in batch.labels.label.tolist()) for _ in range(40)] for one in loaders
    ]
    assert drawn[0] == drawn[1]  # the seed decides
    assert len(set(map(tuple, drawn[0]))) > 20
    everything = sum(len(batch.labels.label) for batch in loader(setup, 1.0))
    assert 0.4 * everything < np.mean(list(map(len, drawn[0]))) < 0.6 * everything


def test_slots_keep_prefixes_and_the_response():
    tokens = Setup(TEMPLATES["suffix and response"], "trie").tokens
    slots = as_slots(tokens)
    assert slots.prefixes == tokens.prefixes and slots.response is tokens.response
    assert not as_slots(Setup(TEMPLATES["continuation"], "trie").tokens).continues
