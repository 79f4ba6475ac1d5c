"""A small world with columns, and checkpoints of random models of it."""

import pytest

from tests.builders import SCRATCH, write_base, write_checkpoint

#: id, title, year, genres, price; two items share a title, one has none.
ITEMS = [
    ("m0", "Toy Story", "1995", "Animation Comedy", "3.5"),
    ("m1", "Toy Story 2", "1999", "Animation Comedy", "4"),
    ("m2", "Heat", "1995", "Crime Drama", "9.99"),
    ("m3", "Heat", "1986", "Crime", ""),
    ("m4", "Sting, The", "1973", "Comedy Crime", "5"),
    ("m5", "Alien", "1979", "Horror", "2"),
    ("m6", "Aliens", "1986", "Horror", "2.5"),
    ("m7", "Brazil", "1985", "Comedy", "7"),
    ("m8", "", "2001", "", "1"),
    ("m9", "Up", "2009", "Animation", "8"),
]
HEADER = ("item_id:token", "title:token_seq", "year:token", "genre:token_seq", "price:float")
SMALL = {
    **SCRATCH,
    "max_prompt_tokens": 96,
    "history": "both",
    "MAX_ITEM_LIST_LENGTH": 5,
    "decoding": "full",
}


def rows_of(items):
    return [(f"u{u}", items[(u + 3 * t) % len(items)][0], 100 + t) for u in range(8) for t in range(6)]


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    """A folder with a tiny random LLaMA whose tokenizer depends on no catalogue."""
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def train(tmp_path_factory, write_dataset):
    """A function that builds a GenRec over items with sharp random weights: model, a batch, and its checkpoint."""

    def build(items=ITEMS, model_name="GenRec", **settings):
        folder = tmp_path_factory.mktemp("world")
        data_path = write_dataset(folder / "data", rows_of(items), items, item_header=HEADER)
        own = {"data_path": data_path, **SMALL, **settings}
        _, model, batch = write_checkpoint(folder / "best", model_name, own, scale=0.4)
        return model, batch, folder / "best"

    return build


@pytest.fixture(scope="session")
def trained(train):
    """One model of either normalisation."""
    return {
        kind: train(normalization=kind, edge_embedding=kind == "trie", item_prior=kind == "trie")
        for kind in ("trie", "vocab")
    }
