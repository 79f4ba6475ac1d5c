"""Fields of questions, from interactions written by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from recbole_genrec.batches.questions import FewShot, QuestionWriter
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
