"""Task prompts against a plain reading of their fields, and targets against the trie."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recbole_genrec.backbone.scratch import train_tokenizer
from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.task_loader import TaskLoader
from recbole_genrec.batches.tasks import Example, PromptName, TaskData, TaskWriter, TokenLimits
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.histories import Histories, LazyInteraction
from recbole_genrec.prompt.task_prompts import load_tasks

TITLES = ["Heat", "Fargo and friends", "The Birds", "The Big Heat", "Brazil"]
TASKS = load_tasks("p5")


class Backbone:
    """The part of a backbone that writing needs."""

    def __init__(self):
        self.tokenizer = train_tokenizer([*TITLES, "user 1 2 3 4 chose these items, from the first"], 330)
        self.pad_id, self.eos_id = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id

    def encode(self, text, context=""):
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids


BACKBONE = Backbone()
IDENTIFIERS = [tuple(BACKBONE.encode(f" item {10 + number}")) for number in range(len(TITLES))]
TRIE = build_trie(IDENTIFIERS, BACKBONE.eos_id)


def writer(normalization="trie", longest=512, longest_target=32):
    return TaskWriter(TASKS, BACKBONE, TRIE, ["", *TITLES], normalization, TokenLimits(longest, longest_target))


def example(family, prompt, history=(), candidates=(), item=2, **texts):
    return Example(PromptName(family, prompt), 4, item, np.array(history, int), np.array(candidates, int), texts)


def text_of(tokens):
    return BACKBONE.tokenizer.decode(tokens.tolist())


def test_every_prompt_reads_as_its_template():
    texts = {"rating": "4", "review": "A fine film. I wept.", "summary": "Fine", "explanation": "A fine film."}
    fields = {
        **texts,
        "user": "user 4",
        "item": "item 11",
        "item_text": TITLES[1],
        "history": "item 10, item 12",
        "candidates": "item 11, item 14",
        "item_reviews": "Heat wave | The birds | Fine",
    }
    texts["item_reviews"] = ["Heat wave", "The birds", "Fine"]
    written = writer()
    for family, prompts in TASKS.families.items():
        for number, prompt in enumerate(prompts):
            one = example(family, number, history=[1, 3], candidates=[2, 5], **texts)
            tokens = written.write_prompts([one]).input_ids[0]
            expected = "".join(piece.text or f" {fields[piece.field]}" for piece in prompt)
            assert text_of(tokens) == expected + "</s>"


def test_an_item_is_one_whole_word_and_so_is_a_user():
    prompts = writer().write_prompts([example("sequential", 1, history=[1, 3])])
    groups = {}
    for token, word in zip(prompts.input_ids[0].tolist(), prompts.word[0].tolist()):
        groups.setdefault(word, []).append(token)
    assert list(groups) == list(range(1, len(groups) + 1))
    words = [BACKBONE.tokenizer.decode(tokens) for tokens in groups.values()]
    assert " user 4" in words and words.count(" item 10") == words.count(" item 12") == 1
    assert words[-1] == "</s>"


def test_shorter_prompts_are_padded():
    prompts = writer().write_prompts([example("sequential", 0, history=[1, 2, 3]), example("direct", 0)])
    assert prompts.lengths[1] < prompts.lengths[0] == prompts.input_ids.shape[1]
    assert (prompts.word[1, prompts.lengths[1] :] == 0).all()
    assert (prompts.input_ids[1, prompts.lengths[1] :] == BACKBONE.pad_id).all()


def test_a_long_history_loses_its_oldest_items_whole():
    full = writer().write_prompts([example("sequential", 0, history=[1, 3, 4, 5])]).lengths[0]
    short = writer(longest=int(full) - 1).write_prompts([example("sequential", 0, history=[1, 3, 4, 5])])
    text = text_of(short.input_ids[0])
    assert "item 10" not in text and "item 12, item 13, item 14." in text and text.endswith("next?</s>")


def test_candidates_that_might_not_fit_are_refused():
    writer(longest=512).check_candidates(20)
    with pytest.raises(GenRecError, match=r"'n_candidates' \(20\) do not fit .* 'max_prompt_tokens' \(64\).* do\."):
        writer(longest=64).check_candidates(20)
    fits = max(count for count in range(20) if fitting(writer(longest=64), count))
    prompts = writer(longest=64).write_prompts(
        [example("direct", number, candidates=[5] * fits) for number in (2, 3, 4)]
    )
    for row in prompts.input_ids:
        assert text_of(row).count("item 14") == fits


def fitting(one, count):
    try:
        one.check_candidates(count)
    except GenRecError:
        return False
    return True


def test_a_long_review_loses_its_end():
    prompts = writer(longest=20).write_prompts([example("review", 1, review="so good " * 50, summary="x")])
    assert prompts.lengths.tolist() == [20]
    assert prompts.input_ids[0, -1] == BACKBONE.eos_id


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_targets_lead_to_their_items(normalization):
    items = [1, 2, 3, 4, 5]
    batch = writer(normalization).write([example("direct", 0, item=item) for item in items])
    width = batch.target_ids.shape[1] + 1
    rows = batch.cell // width
    for row, item in enumerate(items):
        fed, depth = batch.target_ids[row], (batch.cell % width)[rows == row]
        label = batch.label[rows == row]
        identifier = [*IDENTIFIERS[item - 1], BACKBONE.eos_id]
        if normalization == "vocab":
            assert label.tolist() == identifier and depth.tolist() == list(range(len(identifier)))
        else:
            assert label.tolist() == TRIE.path_edge[TRIE.path_offset[item] : TRIE.path_offset[item + 1]].tolist()
            assert depth.tolist() == TRIE.edge_begin[label].tolist()
        assert fed[: depth.max()].tolist() == identifier[: depth.max()]
        assert batch.weight[rows == row].sum() == pytest.approx(1)
    assert len(batch.text_label) == 0


def test_texts_are_predicted_token_by_token_up_to_their_end():
    batch = writer(longest_target=6).write(
        [
            example("rating", 0, rating="4"),
            example("direct", 0),
            example("review", 0, review="x", summary="The Birds " * 9),
        ]
    )
    width = batch.target_ids.shape[1] + 1
    rows = batch.text_cell // width
    assert set(rows.tolist()) == {0, 2} and set((batch.cell // width).tolist()) == {1}
    for row, text in ((0, "4"), (2, "The Birds " * 9)):
        label = batch.text_label[rows == row]
        assert label[-1] == BACKBONE.eos_id and len(label) <= 6
        assert label[:-1].tolist() == BACKBONE.encode(f" {text}")[: len(label) - 1]
        assert batch.target_ids[row, : len(label) - 1].tolist() == label[:-1].tolist()
        assert (batch.text_cell % width)[rows == row].tolist() == list(range(len(label)))
        assert batch.text_weight[rows == row].sum() == pytest.approx(1)
    assert batch.n_targets == batch.n_decisions == 3
    assert batch.to("meta").prompts.input_ids.device.type == "meta"


def task_data(monkeypatch, ratings=True, longest=50, n_candidates=3):
    """Users 1 to 3 with 5, 2 and 3 interactions, the last two of user 1 and the last of user 3 held out."""
    users = torch.tensor([1] * 5 + [2] * 2 + [3] * 3)
    items = torch.tensor([1, 2, 3, 4, 5, 2, 1, 5, 4, 3])
    histories = Histories({"user_id": users, "item_id": items}, users, 50, {"item_id": "item_id_list"}, "item_length")
    dataset = SimpleNamespace(
        inter_feat=LazyInteraction(histories, np.array([1, 2, 6, 8])), iid_field="item_id", item_num=6
    )
    columns = {"rating": np.array(["4.0", "", "5", "3", "1", "2", "2.5", "1", "4", "5"], object)} if ratings else {}
    monkeypatch.setattr("recbole_genrec.batches.tasks.interaction_columns", lambda *_: columns)
    return TaskData(dataset, {"rating": "rating"}, longest=longest, n_candidates=n_candidates, seed=1)


def test_families_without_columns_are_off(monkeypatch):
    assert task_data(monkeypatch).families == ["sequential", "direct", "rating"]
    assert task_data(monkeypatch, ratings=False).families == ["sequential", "direct"]


def test_training_places(monkeypatch):
    data = task_data(monkeypatch)
    assert data.places("sequential").tolist() == [1, 2, 6, 8]
    assert data.places("direct").tolist() == [0, 1, 2, 5, 6, 7, 8]  # first interactions too, held-out ones never
    assert data.places("rating").tolist() == [0, 2, 5, 6, 7, 8]  # one has no rating
    assert data.texts["rating"].tolist() == ["4", "", "5", "3", "1", "2", "2.5", "1", "4", "5"]


def test_examples(monkeypatch):
    data, generator = task_data(monkeypatch), np.random.default_rng(0)
    one = data.example("sequential", 0, 2, generator, with_candidates=False)
    assert (one.user, one.item, one.history.tolist(), one.candidates.tolist()) == (1, 3, [1, 2], [])
    chosen = [data.example("direct", 2, 2, generator, with_candidates=True).candidates for _ in range(40)]
    assert all(len(items) == 3 and 3 in items for items in chosen)
    assert {item for items in chosen for item in items.tolist()} == {3, 4, 5}  # none that the user had before


def test_histories_and_candidates_are_no_longer_than_asked_for(monkeypatch):
    data, generator = task_data(monkeypatch, longest=2, n_candidates=2), np.random.default_rng(0)
    assert data.example("sequential", 0, 4, generator, False).history.tolist() == [3, 4]
    assert data.example("sequential", 0, 6, generator, False).history.tolist() == [2]  # its user's first item
    chosen = [data.candidates(3, [1, 2], generator).tolist() for _ in range(40)]
    assert {tuple(sorted(items)) for items in chosen} == {(3, 4), (3, 5)}
    assert {items.index(3) for items in chosen} == {0, 1}


def test_an_epoch_follows_from_seed_and_number(monkeypatch):
    data = task_data(monkeypatch)
    dataset = object()

    def epoch(number, seed=5):
        counts, settings = {"sequential": 4, "direct": 2, "rating": 8}, EpochSettings(seed, 7)
        loader = TaskLoader(writer(), data, dataset, counts, settings)
        loader.set_epoch(number)
        batches = list(loader)
        assert len(batches) == len(TaskLoader(writer(), data, dataset, counts, settings)) == 6
        return batches

    first, again, other = epoch(0), epoch(0), epoch(1)
    assert sum(batch.n_targets for batch in first) == 3 * (4 + 2 + 8)
    assert all(torch.equal(a.prompts.input_ids, b.prompts.input_ids) for a, b in zip(first, again, strict=True))
    assert any(a.prompts.input_ids.shape != b.prompts.input_ids.shape for a, b in zip(first, other))
    texts = [text_of(row) for batch in first + other for row in batch.prompts.input_ids]
    held_out = TASKS.families["direct"][TASKS.held_out("direct")][0].text
    assert not any(text.startswith(held_out) for text in texts)
