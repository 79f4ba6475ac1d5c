"""Sequences with masks: what is drawn, what is written, and that nothing of the future is in it."""

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation

from recbole_genrec.backbone.scratch import build_scratch_bart
from recbole_genrec.batches import sequence_loader
from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.sequence_loader import Masking, SequenceDraws, SequenceLoader
from recbole_genrec.batches.sequences import MaskedSequences, SequenceWriter, text_form
from recbole_genrec.config.arguments import BackboneArguments
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.interactions.dataset import train_sequences

COUNT = np.array([1, 2, 3, 10, 50, 7])


@pytest.fixture(scope="module")
def backbone():
    shape = {"scratch_hidden_size": 8, "scratch_layers": 1, "scratch_vocab_size": 300, "scratch_intermediate_size": 8}
    return build_scratch_bart(BackboneArguments(**shape), [" user 1"])


def identifiers_of(backbone):
    return [tuple(backbone.encode(f" {number}")) for number in range(1, 13)]


@pytest.fixture(scope="module")
def writer(backbone):
    trie = build_trie(identifiers_of(backbone), backbone.eos_id)
    return SequenceWriter(backbone, trie, "trie", 96, text_form(backbone, n_users=20))


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("span", [1.0, 3.0])
@pytest.mark.parametrize("last", [0.0, 0.3])
def test_masks_have_the_number_and_places_that_were_asked_for(ratio, span, last):
    generator = np.random.default_rng(0)
    masking = Masking(ratio, span, last)
    draws = np.array([masking.draw(COUNT, generator) for _ in range(3000)])
    begins = COUNT.cumsum() - COUNT
    for begin, count in zip(begins, COUNT):
        own = draws[:, begin : begin + count]
        number = max(1, round(ratio * count))
        assert (own.sum(1) == number).all()
        chance = number / count
        if span == 1:
            assert own[:, -1].mean() == pytest.approx(last + (1 - last) * chance, abs=0.05)
            assert (own.mean(0) > 0).all()
    wide = draws[:, begins[4] : begins[4] + 50]
    if ratio == 0.3:
        runs = (wide[:, 1:] > wide[:, :-1]).sum(1) + wide[:, 0]
        mean_run = 15 / runs.mean()
        assert (mean_run > 2) == (span == 3)


def loader_of(writer, sequences, stage, targets_per_user=0, history_dropout=0.0):
    draws = SequenceDraws(Masking(0.3, 1.0, 0.3), targets_per_user, longest=5)
    settings = EpochSettings(seed=7, batch_size=4, batch_tokens=200, history_dropout=history_dropout)
    loader = SequenceLoader(writer, None, sequences, draws, settings)
    loader.set_stage(stage)
    return loader


def random_sequences():
    generator = np.random.default_rng(5)
    count = np.array([1, 2, 5, 6, 17, 40])
    return np.arange(1, 7), generator.integers(1, 13, count.sum()), np.append(0, count.cumsum())


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_the_same_seed_and_epoch_give_the_same_batches(writer, stage):
    first, second = (loader_of(writer, random_sequences(), stage) for _ in range(2))
    list(first), list(first)
    second.set_epoch(2)
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.prompts.input_ids, other.prompts.input_ids)
        assert torch.equal(one.labels.label, other.labels.label)


def test_an_epoch_of_pretraining_covers_every_sequence_once(writer):
    loader = loader_of(writer, random_sequences(), "pretrain")
    shown = np.concatenate([batch.prompts.item.numpy() for batch in loader])
    masks = sum(batch.n_targets for batch in loader_of(writer, random_sequences(), "pretrain"))
    assert 71 - 6 <= len(shown) + masks <= 71  # but for items that stand alone at an end


def test_pieces_are_no_longer_than_a_history_and_its_target(writer):
    loader = loader_of(writer, random_sequences(), "pretrain")
    for epoch in range(5):
        _, begin, stop, _ = loader._plan().rows
        assert (stop - begin).max() == 6
        assert (stop - begin).min() >= 2
        loader.set_epoch(epoch + 1)


def test_targets_are_recboles_rows(tmp_path, write_dataset, monkeypatch, writer):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(1)
    rows = [(f"u{u}", f"i{i}", t) for u in range(9) for t, i in enumerate(generator.integers(12, size=4 + 3 * u))]
    folder = write_dataset(tmp_path / "data", rows, [(f"i{i}", f"item {i}") for i in range(12)])
    settings = {"data_path": folder, "MAX_ITEM_LIST_LENGTH": 5, "topk": [1], "valid_metric": "NDCG@1"}
    config = GenRecConfig("GenRecSeq2Seq", "tiny", config_dict=settings)
    train, _, _ = data_preparation(config, create_dataset(config))
    rows = train.dataset.inter_feat
    columns = (rows[name].tolist() for name in ("user_id", "item_id_list", "item_length", "item_id"))
    expected = {(user, tuple(items[:length]), item) for user, items, length, item in zip(*columns)}
    loader = loader_of(writer, train_sequences(train.dataset), "finetune")
    (user, begin, stop, items), batches = loader._plan().rows, loader._plan().batches
    found = {(int(u), tuple(items[b : s - 1].tolist()), int(items[s - 1])) for u, b, s in zip(user, begin, stop)}
    assert found == expected
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(user)))
    drawn = loader_of(writer, train_sequences(train.dataset), "finetune", targets_per_user=3)
    assert np.bincount(drawn._plan().rows[0])[1:].max() == 3


def test_old_items_are_dropped_whole_where_a_prompt_is_short(backbone):
    trie = build_trie(identifiers_of(backbone), backbone.eos_id)
    longest = SequenceWriter(backbone, trie, "trie", 96, text_form(backbone, n_users=20))
    items = np.random.default_rng(0).integers(1, 13, 60)
    begin, stop = np.zeros(1, np.int64), np.array([60])
    for limit in (12, 20, 40, 96):
        writer = SequenceWriter(backbone, trie, "trie", limit, text_form(backbone, n_users=20))
        first = int(writer.fit(items, begin, stop)[0])
        assert first > longest.fit(items, begin, stop)[0] or limit == 96
        tokens = writer.length[items[first:59]].sum()
        assert tokens <= writer.room < tokens + writer.length[items[first - 1]]
    for limit in (8, 4):  # no room but for the mask of the last item
        writer = SequenceWriter(backbone, trie, "trie", limit, text_form(backbone, n_users=20))
        assert writer.fit(items, begin, stop)[0] == 59


def test_prompts_read_as_user_items_and_masks(writer, backbone):
    items, masked = np.array([3, 12, 1, 7, 7]), np.array([False, True, False, False, True])
    prompts = writer.write_prompts(MaskedSequences(np.array([4, 0]), np.array([3, 2]), items, masked))
    tokenizer, width = backbone.tokenizer, prompts.input_ids.shape[1]
    mask, end = tokenizer.convert_ids_to_tokens([backbone.mask_id, backbone.eos_id])
    start = "" if backbone.bos_id is None else tokenizer.convert_ids_to_tokens(backbone.bos_id)
    texts = [tokenizer.decode(row[:length]) for row, length in zip(prompts.input_ids, prompts.lengths)]
    assert texts == [f"{start} user 4 3{mask} 1{end}", f"{start} 7{mask}{end}"]
    flat = prompts.input_ids.flatten()
    assert (flat[prompts.mask_cell] == backbone.mask_id).all() and len(prompts.mask_cell) == 2
    named = {int(user): flat[prompts.user_cell[prompts.user == user]] for user in prompts.user.unique()}
    assert {user: tokenizer.decode(tokens) for user, tokens in named.items()} == {4: " user 4"}
    shown = prompts.item[prompts.item_owner]
    for item in (3, 1, 7):
        assert tokenizer.decode(flat[prompts.item_cell[shown == item]]) == f" {item}"
    assert (flat.view(-1, width)[1, prompts.lengths[1] :] == backbone.pad_id).all()


def test_what_no_branch_has_is_zero(writer):
    batch = writer.write(
        MaskedSequences(np.array([4, 0]), np.array([3, 2]), np.array([3, 12, 1, 7, 7]), np.array([1, 1, 0, 0, 1], bool))
    )
    assert (batch.position_ids[batch.branch == 0] == 0).all() and (batch.branch == 0).any()
    assert batch.branch.max() == batch.n_targets == 3


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_batches_are_made_by_the_tokens_of_the_prompts(writer, backbone, stage, monkeypatch):
    """The items but the last, whose place a mask takes; it, the user, begin and end of a prompt count as four."""
    asked = []
    monkeypatch.setattr(sequence_loader, "batches_of_like_length", lambda *args: asked.append(args) or [])
    _, begin, stop, items = loader_of(writer, random_sequences(), stage)._plan().rows
    ((lengths, batch_tokens, batch_size, _),) = asked
    expected = [sum(len(backbone.encode(f" {item}")) for item in items[b : s - 1]) for b, s in zip(begin, stop)]
    assert lengths.tolist() == [4 + tokens for tokens in expected]
    assert (batch_tokens, batch_size) == (200, 4)


def test_history_dropout_leaves_interactions_out(writer):
    whole, thinned = (loader_of(writer, random_sequences(), "finetune", history_dropout=part) for part in (0.0, 0.5))
    assert len(thinned._plan().rows[0]) < len(whole._plan().rows[0])
    for batch in thinned:
        assert batch.n_targets == len(batch.prompts.lengths)


def test_without_a_mask_a_target_has_no_place_in_the_prompt(writer, backbone):
    form = writer.form._replace(mask=None)
    maskless = SequenceWriter(backbone, build_trie(identifiers_of(backbone), backbone.eos_id), "trie", 96, form)
    items, masked = np.array([3, 12, 7, 5]), np.array([False, False, True, True])
    sequences = MaskedSequences(np.array([4, 0]), np.array([3, 1]), items, masked)
    batch = maskless.write(sequences)
    start, user, end = [backbone.bos_id], backbone.encode(" user 4", "x"), [backbone.eos_id]
    history = [token for item in (3, 12) for token in backbone.encode(f" {item}")]
    rows = [row[:length].tolist() for row, length in zip(batch.prompts.input_ids, batch.prompts.lengths)]
    assert rows == [start + user + history + end, start + end]
    assert not len(batch.prompts.mask_cell) and maskless.room == writer.room + 1
    with_masks = writer.write(sequences)
    for name in ("answer_ids", "start_cell", "branch"):
        assert torch.equal(getattr(batch, name), getattr(with_masks, name))
