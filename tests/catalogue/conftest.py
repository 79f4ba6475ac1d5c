"""A small world for item indexing: a catalogue, histories, and numbers as RecBole gives them out."""

import numpy as np
import pytest

from recbole_genrec.catalogue.index import build_index
from recbole_genrec.catalogue.schemes import Given, Sequences, draft_identifiers
from recbole_genrec.config.arguments import IndexingArguments


def by_character(texts, follows=False):
    return [[ord(character) for character in text] for text in texts]


@pytest.fixture
def numbered():
    """A function that numbers items and users as RecBole does: in the order in which the file first has them.

    Takes training and held-out interactions, ``{user: items}``; RecBole reads the whole file before it splits. Gives
    items and training sequences.
    """

    def number(train, held_out):
        items, sequences = {}, {}
        for user in train:
            sequences[user] = [items.setdefault(item, len(items)) for item in train[user]]
            for item in held_out.get(user, ()):
                items.setdefault(item, len(items))
        flat = np.array([item for history in sequences.values() for item in history], np.int64)
        return list(items), Sequences(list(sequences), flat, np.cumsum([0, *map(len, sequences.values())]))

    return number


@pytest.fixture
def world():
    """Forty users of four tastes over sixty items, ``{user: items}``, and two held-out items for each user."""
    random = np.random.default_rng(0)
    train, held_out = {}, {}
    for user in range(40):
        liked = np.arange(15) + 15 * (user % 4)
        chosen = [f"i{item}" for item in random.permutation(liked)[:10]]
        train[f"u{user}"], held_out[f"u{user}"] = chosen[:8], [*chosen[8:9], f"i{60 + user % 12}"]
    return train, held_out


@pytest.fixture
def index():
    """A function that gives items their identifiers."""

    def build(scheme, items, sequences=None, texts=None, encode=by_character, seed=1, embed_texts=None, **settings):
        texts = [f"Item {item[1:]}" for item in items] if texts is None else texts
        quick = {"semantic_codes": 16, "semantic_latent_size": 8, "semantic_steps": 20}
        arguments = IndexingArguments(item_indexing=scheme, **quick | settings)
        given = Given(items, texts, sequences, arguments, seed, embed_texts)
        return build_index(draft_identifiers(scheme, given), items, encode)

    return build
