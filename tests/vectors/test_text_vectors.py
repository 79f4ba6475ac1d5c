"""Vectors of texts by several sources, and of texts that come later."""

from dataclasses import replace

import numpy as np
import pytest

from recbole_genrec.errors import GenRecError
from recbole_genrec.vectors.text_vectors import CatalogueVectors, Maker, TextVectors, read_sources

TEXTS = ["toy story", "the thing", "heat", "", "toy heat", "alien up", "big story", "the alien"]
SEEN = np.array([True] * 6 + [False] * 2)


def learn(value, texts=TEXTS, seen=SEEN, maker=None):
    return TextVectors.learn(value, texts, seen, maker or Maker())


@pytest.mark.parametrize("sources", ["tfidf", "encoder", "tfidf+encoder", "encoder+tfidf+backbone"])
def test_vectors_are_centred_and_scaled_over_seen_texts(encoder, sources):
    maker = Maker(embed_texts=lambda texts: np.array([[len(text), text.count("t"), 9.0] for text in texts]))
    made, table = learn(sources.replace("encoder", encoder()), maker=maker)
    known = SEEN & np.array([bool(text) for text in TEXTS])
    assert table.dtype == np.float32 and table.shape == (8, made.dimensions)
    np.testing.assert_allclose(table[known].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose((table[known] ** 2).sum(1).mean(), 32, rtol=1e-5)  # however many dimensions
    begin, squares = 0, []
    for centre in made.centres:
        squares.append((table[known, begin : begin + len(centre)] ** 2).sum(1).mean())
        begin += len(centre)
    np.testing.assert_allclose(squares, [32 / len(squares)] * len(squares), rtol=1e-5)  # equal weight
    assert not table[3].any() and table[6:].any(1).all()


def test_unseen_texts_change_nothing():
    made, table = learn("tfidf")
    other, changed = learn("tfidf", [*TEXTS[:6], "quite another", "text here"])
    assert np.array_equal(table[:6], changed[:6]) and made.scales == other.scales
    _, wider = learn("tfidf", seen=np.ones(8, bool))
    assert not np.array_equal(table[:6], wider[:6])
    _, all_of_them = learn("tfidf", seen=np.zeros(8, bool))
    assert np.array_equal(wider, all_of_them)


@pytest.mark.parametrize("sources", ["tfidf", "encoder", "tfidf+encoder"])
def test_the_vector_of_a_later_text_follows_from_the_text(encoder, sources):
    made, table = learn(sources.replace("encoder", encoder()))
    later = made.encode(["the alien", "", "heat"], Maker())
    np.testing.assert_allclose(later, table[[7, 3, 2]], atol=1e-5)
    assert made.encode([""], Maker()).tolist() == [[0.0] * made.dimensions]


def test_the_sources_must_be_there_and_the_same(encoder, tmp_path):
    made, _ = learn("tfidf+" + encoder())
    encoder(seed=1)
    with pytest.raises(GenRecError, match="the sentence encoder .* is not here, or another than in training"):
        made.encode(["heat"], Maker())
    made, _ = learn(
        "backbone", maker=Maker(embed_texts=lambda texts: np.ones((len(texts), 2)), backbone=("a/b", "main"))
    )
    with pytest.raises(GenRecError, match="the backbone 'a/c' is not here"):
        made.encode(["heat"], Maker(backbone=("a/c", "main")))
    with pytest.raises(GenRecError, match="'text_vectors: backbone' needs a pretrained 'backbone'"):
        learn("backbone")


def test_vectors_are_cached(encoder):
    folder, asked = encoder(), []

    def embed(texts):
        asked.append(texts)
        return np.ones((len(texts), 2))

    for _ in range(2):
        learn("backbone", maker=Maker(embed_texts=embed, backbone=("some/model", "main")))
        learn(folder)
    assert len(asked) == 1
    learn("backbone", maker=Maker(embed_texts=embed, backbone=("some/model", "v2")))
    learn("backbone", maker=Maker(embed_texts=embed))  # nobody says which backbone
    learn("backbone", maker=Maker(embed_texts=embed))
    assert len(asked) == 4
    first = learn(folder)[1]
    encoder(seed=1)  # other weights in the same folder
    assert not np.allclose(learn(folder)[1], first)


def test_texts_that_are_all_the_same_have_zero_vectors():
    made, table = learn("tfidf", ["heat"] * 8)
    assert not table.any() and made.scales == (0.0,)
    assert not learn("tfidf", [""] * 8)[1].any()


@pytest.mark.parametrize("value", ["", "+", "tfidf+", "tfidf+tfidf", "none+tfidf", "tfidf + tfidf"])
def test_sources_that_are_none(value):
    with pytest.raises(GenRecError, match="'text_vectors' must be 'tfidf', 'backbone', a folder or hub id"):
        read_sources(value)


def test_kinds():
    assert read_sources("tfidf + a/b") == ("tfidf", "a/b")
    made, _ = learn("tfidf")
    assert made.same_kind(replace(made, scales=(2.0,))) and not made.same_kind(replace(made, sources=("a/b",)))


def test_a_catalogue_grows():
    made, table = learn("tfidf")
    vectors = CatalogueVectors(made, table)
    padded = vectors.padded()
    assert padded.shape == (9, table.shape[1]) and not padded[0].any() and np.array_equal(padded[1:], table)
    more = vectors.extended(made.encode(["heat"], Maker()))
    np.testing.assert_allclose(more.table[8], table[2], atol=1e-6)
