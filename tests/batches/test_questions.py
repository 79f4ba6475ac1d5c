"""Fields of questions from interactions written by hand, few-shot examples, and counts of training."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from recbole_genrec import GenRecError
from recbole_genrec.batches import questions
from recbole_genrec.batches.questions import FewShot, QuestionWriter, TrainingCounts, draw_examples
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.prompt.question_prompts import load_questions

TEXTS = ["", "Heat", "Alien", "Up", "Big", "Seven"]


@pytest.fixture
def writer():
    """User 1 has five interactions, the second one without a rating; user 2 two more."""
    data = SimpleNamespace(
        store=SimpleNamespace(users=np.array([1] * 5 + [2] * 2), begin=lambda user: {1: 0, 2: 5}[int(user)]),
        items=np.array([1, 2, 3, 4, 5, 2, 1]),
        texts={"rating": np.array(["4", "", "2", "5", "1", "3", "10"], object), "review": np.array(list("abcdefg"))},
        longest=3,
        seen=np.array([0, 1, 2, 5, 6]),
    )
    return QuestionWriter(load_questions("promptllm"), TEXTS, 10, FewShot([]), data)


def test_questions_about_items_drop_the_oldest(writer):
    whole = writer.about_items([1, 2, 3], [4, 5])
    assert whole == {"history": "- Heat\n- Alien\n- Up", "candidates": "- Big\n- Seven", "k": 2}
    assert writer.about_items([1, 2, 3], [4, 5], 1)["history"] == "- Alien\n- Up"
    assert writer.about_items([1])["k"] == 10


def test_questions_about_an_interaction_tell_what_came_before_it(writer):
    fields = writer.about_interaction("review", 4)
    assert fields == {"history": "- Alien\n- Up\n- Big", "item": "Seven", "review": "e", "scale": "from 2 to 10"}
    assert writer.about_interaction("review", 4, 1)["history"] == "- Up\n- Big"
    assert writer.about_interaction("review", 4, 9)["history"] == ""
    assert writer.about_interaction("review", 6)["history"] == "- Alien"  # its user's alone


def test_items_without_a_rating_are_not_told_of_where_ratings_are_asked(writer):
    assert writer.about_interaction("rating", 3)["history"] == "- Heat: 4\n- Up: 2"


def test_a_user_of_two_training_interactions_is_an_example(tmp_path, write_dataset):
    """Two more are those of validation and test."""
    rows = [(f"u{user}", f"i{item}", item) for user, length in enumerate((4, 20)) for item in range(length)]
    settings = {"data_path": write_dataset(tmp_path, rows), "topk": [1], "valid_metric": "Hit@1"}
    train = SplitData([GenRecConfig("SASRecAll", "tiny", config_dict=settings)]).parts[0]
    examples = {len(example.history): example for example in draw_examples(train, 2, 7)}
    tokens = {length: train.id2token("item_id", example.history).tolist() for length, example in examples.items()}
    assert tokens[1] == ["i0"] and train.id2token("item_id", examples[1].target) == "i1"
    assert tokens[10] == [f"i{item}" for item in range(7, 17)]  # no more than ten items of history
    assert train.id2token("item_id", examples[10].target) == "i17"
    with pytest.raises(GenRecError, match="asks for 3 examples, but there are only 2 users with two training"):
        draw_examples(train, 3, 7)
    assert draw_examples(train, 0, 7) == []


def test_counts_of_no_interactions(monkeypatch):
    monkeypatch.setattr(questions, "train_sequences", lambda dataset: (*np.zeros((2, 0), np.int64), np.zeros(1, int)))
    counts = TrainingCounts(SimpleNamespace(item_num=4))
    assert counts.least_seen.tolist() == counts.candidates(np.array([2]), 9).tolist() == [1, 2, 3]


def test_counts_are_those_of_plain_loops(tmp_path, write_dataset):
    draw = np.random.default_rng(3)
    chosen = [draw.choice(12, 12, p=np.arange(1, 13) / 78) for _ in range(20)]
    chosen[0][-3], chosen[1][0] = 12, 13  # one user's last training item and the next user's first
    rows = [(f"u{user}", f"i{item}", time) for user, own in enumerate(chosen) for time, item in enumerate(own)]
    settings = {"data_path": write_dataset(tmp_path, rows), "topk": [1], "valid_metric": "Hit@1"}
    train = SplitData([GenRecConfig("SASRecAll", "tiny", config_dict=settings)]).parts[0]
    _, items, offsets = train_sequences(train)
    sequences = [items[begin:end].tolist() for begin, end in zip(offsets, offsets[1:])]
    seen = Counter(item for sequence in sequences for item in sequence)
    pairs = Counter(pair for sequence in sequences for pair in zip(sequence, sequence[1:]))
    counts = TrainingCounts(train)
    catalogue = range(1, train.item_num)
    assert counts.least_seen.tolist() == sorted(catalogue, key=lambda item: (seen[item], item))
    popular = sorted(catalogue, key=lambda item: (-seen[item], item))
    for history in [[4, 2], [3, 1, 7], *([item] for item in catalogue)]:
        after = sorted((b for a, b in pairs if a == history[-1]), key=lambda b: (-pairs[history[-1], b], b))
        expected = list(dict.fromkeys([*after, *popular]))
        for count in (1, 4, 50):
            assert counts.candidates(np.array(history), count).tolist() == expected[:count]
            unseen = [item for item in expected if item not in (2, 5)]
            assert counts.candidates(np.array(history), count, {2, 5}).tolist() == unseen[:count]
