"""Identifiers know nothing of validation and test: they stay as they are when held-out interactions change.

RecBole's own numbers do not: it numbers items and users as they come in the file, held-out rows included.
"""

import pytest
from recbole.data import create_dataset

from recbole_genrec import GenRec
from recbole_genrec.catalogue.schemes import known_indexings
from recbole_genrec.config.config import GenRecConfig


def permuted(held_out):
    """Every user gets the held-out items of another one, validation and test apart."""
    users, rows = list(held_out), list(held_out.values())
    count = len(users)
    return {user: [rows[place - 3][0], rows[place * 7 % count][1]] for place, user in enumerate(users)}


def changes(held_out):
    """Held-out interactions that differ: test alone, validation too, and none at all."""
    other = permuted(held_out)
    return [
        {user: [row[0], other[user][1]] for user, row in held_out.items()},
        other,
        {user: row[:1] for user, row in held_out.items()},
        {},
    ]


def published_p5(train, held_out):
    """The numbering that was published with P5: all interactions, users in order."""
    number = {}
    for user in train:
        for item in [*train[user], *held_out.get(user, ())]:
            number.setdefault(item, len(number) + 1001)
    return number


@pytest.mark.parametrize("scheme", known_indexings())
def test_identifiers_stay_when_held_out_interactions_change(world, numbered, index, scheme):
    train, held_out = world

    def identifiers(held_out):
        items, sequences = numbered(train, held_out)
        return dict(zip(items, index(scheme, items, sequences).texts))

    before = identifiers(held_out)
    for changed in changes(held_out):
        after = identifiers(changed)
        assert after.keys() >= {item for items in train.values() for item in items}
        assert after == {item: before[item] for item in after}


def test_the_published_numbering_does_not(world):
    train, held_out = world
    before = published_p5(train, held_out)
    for changed in changes(held_out):
        after = published_p5(train, changed)
        assert after != {item: before[item] for item in after}


def test_the_published_numbering_tells_the_test_item(world):
    """What is wrong with it: an item that nobody has chosen before is the highest number so far plus one."""
    train, held_out = world
    number, highest = published_p5(train, held_out), 1000
    for user, history in train.items():
        highest = max(highest, *(number[item] for item in history))
        for item in held_out[user]:
            assert number[item] <= highest + 1
            highest = max(highest, number[item])


@pytest.mark.parametrize("scheme", known_indexings())
def test_a_model_gives_the_same_identifiers(world, write_dataset, tmp_path, scheme):
    """The same through RecBole's files, numbers and splits."""
    train, held_out = world

    def identifiers(name, held_out, split):
        rows = [
            (user, item, time)
            for user in train
            for time, item in enumerate([*train[user], *held_out.get(user, ())], start=100)
        ]
        items = [(item, f"Item {item[1:]}") for item in sorted({row[1] for row in rows})]
        data_path = write_dataset(tmp_path, rows, items, name=name)
        settings = {"data_path": data_path, "item_indexing": scheme, "eval_args": {"split": split}, "topk": [5]}
        settings |= {"semantic_codes": 16, "semantic_steps": 20}
        config = GenRecConfig("GenRec", name, config_dict=settings)
        model = GenRec(config, create_dataset(config).build()[0])
        catalogue = model.catalogue
        decoded = map(model.backbone.tokenizer.decode, catalogue.identifiers)
        return catalogue.item_tokens, dict(zip(catalogue.item_tokens, zip(catalogue.texts, decoded)))

    order, before = identifiers("before", held_out, {"LS": "valid_and_test"})
    other_order, after = identifiers("after", permuted(held_out), {"LS": "valid_and_test"})
    assert order != other_order  # RecBole has numbered the items differently
    assert after == before
    _, alone = identifiers("alone", {}, {"RS": [1, 0, 0]})
    assert alone == {item: before[item] for item in alone}
