"""What every indexing scheme promises; the schemes are found, not listed."""

import json
import random

import numpy as np
import pytest
import torch

from recbole_genrec.catalogue.index import build_index, pieces_to_json, read_draft
from recbole_genrec.catalogue.schemes import Code, Sequences, known_indexings, needs_interactions
from recbole_genrec.errors import GenRecError

every_scheme = pytest.mark.parametrize("scheme", known_indexings())


@every_scheme
def test_identifiers_are_unique_and_depend_on_the_seed_alone(world, numbered, index, scheme):
    items, sequences = numbered(*world)
    built = index(scheme, items, sequences)
    assert len(set(built.symbols)) == len(items) == len(built.texts)
    assert all(built.symbols)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    torch.rand(3), np.random.rand(3)
    after = np.random.get_state()[1].tolist(), np.random.get_state()[2], torch.get_rng_state()
    assert index(scheme, items, sequences) == built
    assert (np.random.get_state()[1].tolist(), np.random.get_state()[2]) == after[:2]
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), after[2])
    if scheme != "title":
        assert index(scheme, items, sequences, seed=2).pieces != built.pieces


@every_scheme
def test_a_catalogue_of_one_item(index, scheme):
    sequences = Sequences(["u1"], np.array([0, 0]), np.array([0, 2]))
    assert index(scheme, ["i1"], sequences).symbols[0]
    none = Sequences([], np.zeros(0, np.int64), np.array([0]))
    assert index(scheme, ["i1"], none).symbols[0]


@every_scheme
def test_items_without_text_have_identifiers(world, numbered, index, scheme):
    items, sequences = numbered(*world)
    built = index(scheme, items, sequences, texts=[None] * len(items))
    assert len(set(built.symbols)) == len(items)
    assert built.without_text == (len(items) if scheme == "title" else 0)


@every_scheme
def test_identifiers_come_back_from_a_file(world, numbered, index, scheme, tmp_path):
    items, sequences = numbered(*world)
    built = index(scheme, items, sequences)
    stored = {"tokens": items, "pieces": pieces_to_json(built.pieces)}
    (tmp_path / "items.json").write_text(json.dumps(stored), "utf-8")
    draft = read_draft(tmp_path, items[::-1])
    again = build_index(draft, items[::-1], lambda texts, _: [[ord(letter) for letter in text] for text in texts])
    assert again.symbols == built.symbols[::-1]
    assert again.collisions == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("{", "not the items.json"),
        ('{"tokens": ["i1"], "texts": ["Heat"]}', "not the items.json"),
        ('{"tokens": ["i1"], "pieces": [[3]]}', "not the items.json"),
        ('{"tokens": ["i2"], "pieces": [["Heat"]]}', "no identifier for 1 of 1 items, 'i1'"),
    ],
)
def test_a_file_that_does_not_fit(tmp_path, content, message):
    if content:
        (tmp_path / "items.json").write_text(content, "utf-8")
    with pytest.raises(GenRecError, match=message):
        read_draft(tmp_path, ["i1"])


@pytest.mark.parametrize("scheme", [name for name in known_indexings() if needs_interactions(name)])
def test_interactions_are_asked_for(index, scheme):
    with pytest.raises(GenRecError, match=f"'item_indexing: {scheme}' needs training interactions"):
        index(scheme, ["i1"])


def test_names_of_codes():
    codes = [Code(0, 3), Code(1, 0), Code(25, 1), Code(26, 1), Code(53, 7)]
    assert [code.name for code in codes] == ["<a_3>", "<b_0>", "<z_1>", "<aa_1>", "<bbb_7>"]


def test_random_is_a_permutation_of_numbers_of_one_width(world, numbered, index):
    items, sequences = numbered(*world)
    built = index("random", items, sequences)
    assert sorted(built.texts) == [f"{number:02}" for number in range(len(items))]
    assert {len(pieces) for pieces in built.pieces} == {2}  # one piece a digit


def test_sequential_counts_training_interactions_user_by_user(numbered, index):
    train = {"u1": ["i5", "i1"], "u2": ["i1", "i3"], "u3": ["i4"]}
    items, sequences = numbered(train, {"u1": ["i2"], "u2": ["i9"]})
    orders = set()
    for seed in range(30):
        text = dict(zip(items, index("sequential", items, sequences, seed=seed).texts))
        orders.add("".join(sorted(text, key=text.get)))
    met = {("i5i1i3i4"), ("i5i1i4i3"), ("i1i3i5i4"), ("i1i3i4i5"), ("i4i5i1i3"), ("i4i1i3i5")}
    assert {order[:8] for order in orders} == met  # every order of the users
    assert {order[8:] for order in orders} == {"i2i9", "i9i2"}  # unseen items last, in random order


def test_independent_is_one_token_an_item(world, numbered, index):
    items, sequences = numbered(*world)
    built = index("independent", items, sequences)
    assert built.codes == [Code(0, number) for number in range(len(items))]
    assert sorted(built.texts) == sorted(f"<a_{number}>" for number in range(len(items)))
