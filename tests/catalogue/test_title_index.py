import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_genrec.catalogue.index import build_index
from recbole_genrec.catalogue.schemes import Given, draft_identifiers, known_indexings
from recbole_genrec.errors import GenRecError


def by_character(texts, follows=False):
    return [[ord(character) for character in text] for text in texts]


def merging(texts, follows=False):
    """A tokenizer that merges texts: it lower-cases, and drops what is not ASCII."""
    return by_character("".join(filter(str.isascii, text.lower())) for text in texts)


def index(texts, encode=by_character, items=None):
    items = items or [f"t{n:06}" for n in range(len(texts))]
    return build_index(draft_identifiers("title", Given(items, texts)), items, encode)


# few letters, so that titles collide, also with the suffixes and with the names of items without text
colliding_titles = st.one_of(
    st.none(),
    st.sampled_from(["a", "A", "é", "a (2)", "A (2)", "a (3)", "a (2) (2)", "item t000000", "Item T000002", ""]),
    st.text("aAé (2)", max_size=6),
)


@pytest.mark.parametrize("encode", [by_character, merging])
@given(texts=st.lists(colliding_titles, max_size=40))
def test_identifiers_are_unique_non_empty_and_deterministic(encode, texts):
    built = index(texts, encode)
    assert len(set(built.symbols)) == len(built.symbols) == len(texts)
    assert all(built.symbols)
    assert built.symbols == list(map(tuple, encode(built.texts)))
    assert built == index(texts, encode)


@given(texts=st.lists(colliding_titles, max_size=40))
def test_only_items_that_collide_are_changed(texts):
    built = index(texts)
    plain = [text or f"item t{n:06}" for n, text in enumerate(texts)]
    changed = [n for n in range(len(texts)) if built.texts[n] != plain[n]]
    assert changed == [n for n in range(len(texts)) if plain[n] in plain[:n]]
    assert built.collisions == len(changed)
    assert built.without_text == sum(not text for text in texts)


def test_suffixes_go_in_the_order_of_item_tokens_and_skip_real_titles():
    built = index(["Heat", "Heat", "Heat (3)", "Heat", "Heat (2)", "Heat (2)"])
    assert built.texts == ["Heat", "Heat (4)", "Heat (3)", "Heat (5)", "Heat (2)", "Heat (2) (2)"]
    assert (built.collisions, built.without_text) == (3, 0)
    assert index(["Heat", "Heat"], items=["b", "a"]).texts == ["Heat (2)", "Heat"]


def test_texts_that_the_tokenizer_merges_collide():
    built = index(["Heat", "HEAT", "Héat"], merging)
    assert built.texts == ["Heat", "HEAT (2)", "Héat"]
    assert index(["日", "Heat"], merging).texts == ["item t000000", "Heat"]


def test_items_without_text_are_made_from_their_token():
    built = index([None, "item 7", ""], items=["7", "8", "9"])
    assert built.texts == ["item 7", "item 7 (2)", "item 9"]
    assert (built.collisions, built.without_text) == (1, 2)


def test_time_grows_with_the_catalogue_not_with_its_square():
    counts = []

    def counting(texts, follows):
        counts.append(len(texts))
        return by_character(texts)

    n_items = 100_000
    built = index(["Heat", "Fargo"] * (n_items // 2), counting)
    assert len(set(built.symbols)) == n_items
    assert sum(counts) < 3 * n_items and max(counts) == 2  # each title once, then suffixes


def test_a_tokenizer_that_cannot_tell_items_apart_is_refused():
    with pytest.raises(GenRecError, match="cannot tell items apart.*'c \\(4\\)'"):
        index(["a", "b", "c"], lambda texts, _: [[0] * (1 + (" (" in text)) for text in texts])
    with pytest.raises(GenRecError, match="'item t000000' no tokens"):
        index(["a"], lambda texts, _: [[] for _ in texts])


def test_unknown_schemes_list_the_known_ones():
    assert "title" in known_indexings()
    with pytest.raises(GenRecError, match="Unknown item indexing 'titel'. Did you mean 'title'"):
        draft_identifiers("titel", Given([], []))
