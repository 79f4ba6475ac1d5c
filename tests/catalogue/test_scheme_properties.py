"""What every indexing scheme promises, on catalogues and histories that nobody chose."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recbole_genrec.catalogue.index import build_index, pieces_to_json, read_draft
from recbole_genrec.catalogue.schemes import Sequences, known_indexings

every_scheme = pytest.mark.parametrize("scheme", known_indexings())


@st.composite
def worlds(draw):
    """Items, their texts and training histories; some items are in no history, some have no text or that of others."""
    n_items = draw(st.integers(1, 30))
    texts = draw(st.lists(st.none() | st.sampled_from(["Heat", "Ran", "<a_0>", "12", "é"]) | st.text(max_size=6)))
    texts = [(texts[place % len(texts)] if texts else None) for place in range(n_items)]
    histories = draw(st.lists(st.lists(st.integers(0, n_items - 1), max_size=6), max_size=8))
    return [f"i{item}" for item in range(n_items)], [text and text.strip() or None for text in texts], histories


def sequences(histories):
    flat = np.array([item for history in histories for item in history], np.int64)
    return Sequences([f"u{user}" for user in range(len(histories))], flat, np.cumsum([0, *map(len, histories)]))


def by_character(texts, follows=False):
    return [[ord(character) for character in text] for text in texts]


@every_scheme
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds(), seed=st.integers(0, 2**31 - 1))
@example(world=(["i0"], ["Heat"], [[0]]), seed=1)
@example(world=(["i0"], [None], []), seed=1)
@example(world=(["i0", "i1"], ["Heat", "Heat"], [[0, 1]]), seed=1)
@example(world=(["i0", "i1"], [None, None], [[1]]), seed=1)
@example(world=([f"i{item}" for item in range(12)], [None] * 12, [[0, 0], [3], []]), seed=1)
def test_identifiers_of_any_world(scheme, world, seed, index, tmp_path):
    items, texts, histories = world
    train = sequences(histories)
    built = index(scheme, items, train, texts, seed=seed)
    assert len(set(built.symbols)) == len(items) and all(built.symbols)
    again = index(scheme, items, train, texts, seed=seed)
    assert again.symbols == built.symbols and again.pieces == built.pieces
    stored = {"tokens": items, "pieces": pieces_to_json(built.pieces)}
    (tmp_path / "items.json").write_text(json.dumps(stored), "utf-8")
    assert build_index(read_draft(tmp_path, items), items, by_character).symbols == built.symbols


@pytest.mark.parametrize("scheme", [name for name in known_indexings() if name not in ("title", "random")])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds(), seed=st.integers(0, 100))
def test_unseen_items_do_not_change_what_training_says(scheme, world, seed, index):
    """``title`` and ``random`` make no difference between seen and unseen items."""
    items, texts, histories = world
    more = [*items, "i900", "i901"]
    before = index(scheme, items, sequences(histories), texts, seed=seed)
    after = index(scheme, more, sequences(histories), [*texts, "New", None], seed=seed)
    seen = sorted({item for history in histories for item in history})
    if scheme == "sequential":  # the width of the numbers may grow
        assert [int(before.texts[item]) for item in seen] == [int(after.texts[item]) for item in seen]
    elif before.collisions == after.collisions:
        assert [before.pieces[item] for item in seen] == [after.pieces[item] for item in seen]
    assert len(set(after.symbols)) == len(more)


@every_scheme
def test_a_hundred_thousand_items(scheme, index):
    """Array operations, not loops over pairs of items: this is over in seconds."""
    random = np.random.default_rng(0)
    items = [f"i{item}" for item in range(100_000)]
    taste = random.integers(50, size=2_000)
    histories = [np.unique(100 * chosen + random.integers(100, size=10)).tolist() for chosen in taste]
    texts = [f"word{item % 977} word{item % 1009}" for item in range(len(items))]
    built = index(scheme, items, sequences(histories), texts, semantic_steps=5)
    assert len(set(built.symbols)) == len(items)
    # a name needs no more symbols than the catalogue's size and its texts ask for
    assert max(map(len, built.symbols)) <= 40
