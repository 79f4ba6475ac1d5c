"""TF-IDF vectors cut by SVD."""

import math
from collections import Counter

import numpy as np
import pytest

from recbole_genrec.vectors import tfidf
from recbole_genrec.vectors.tfidf import PARTS, WORDS, Tfidf

TEXTS = ["Toy Story", "Toy Story 2", "The Thing", "the thing returns", "Heat", "Heat heat 2"]


def random():
    return np.random.default_rng(7)


def by_hand(learned, text):
    """Sparse TF-IDF of words and pairs, with logarithmic counts and rows of length 1."""

    def terms(text):
        words = text.lower().split()
        return words + [f"{a} {b}" for a, b in zip(words, words[1:])]

    in_texts = Counter(term for text in learned for term in set(terms(text)))
    weights = {
        term: (1 + math.log(count)) * (1 + math.log((1 + len(learned)) / (1 + in_texts[term])))
        for term, count in Counter(terms(text)).items()
        if term in in_texts
    }
    length = math.sqrt(sum(weight**2 for weight in weights.values()))
    return {term: weight / length for term, weight in weights.items()}


def test_products_of_vectors_are_those_of_tfidf_where_no_direction_is_cut():
    vectors = Tfidf.fit(TEXTS, WORDS, random()).encode(TEXTS)
    plain = [by_hand(TEXTS, text) for text in TEXTS]
    expected = [[sum(weight * b.get(term, 0) for term, weight in a.items()) for b in plain] for a in plain]
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-5)


@pytest.mark.parametrize("kind", [WORDS, PARTS])
def test_a_later_text_lies_near_those_that_share_its_terms(kind):
    learned = Tfidf.fit(TEXTS, kind, random())
    nearest = (learned.encode(TEXTS) @ learned.encode(["Toy Story 3"])[0]).argsort()[-2:]
    assert set(nearest) == {0, 1}
    assert not learned.encode(["", "qqq"]).any()


def test_terms_of_one_text_count_only_where_few_others_are_left(monkeypatch):
    assert "returns" in Tfidf.fit(TEXTS, WORDS, random()).terms
    monkeypatch.setattr(tfidf, "DIMENSIONS", 3)
    learned = Tfidf.fit(TEXTS, WORDS, random())
    assert learned.terms == ["2", "heat", "story", "the", "the thing", "thing", "toy", "toy story"]
    assert learned.directions.shape == (8, 3)


@pytest.mark.parametrize("kind", [WORDS, PARTS])
def test_of_many_texts_the_leading_directions_are_those_of_the_whole_svd(kind, monkeypatch):
    draw = np.random.default_rng(0)
    words = [f"w{number}" for number in range(80)]
    texts = [" ".join(draw.choice(words, 3)) for _ in range(200)]
    monkeypatch.setattr(tfidf, "DIMENSIONS", 10)
    whole = Tfidf.fit(texts, kind, random())
    monkeypatch.setattr(tfidf, "DENSE", 20)
    leading, again = (Tfidf.fit(texts, kind, random()) for _ in range(2))
    assert np.array_equal(leading.directions, again.directions)
    np.testing.assert_allclose(np.abs(leading.directions), np.abs(whole.directions), atol=1e-4)  # signs are free
    assert leading.terms == whole.terms


def test_texts_without_words():
    learned = Tfidf.fit(["", "!"], WORDS, random())
    assert learned.encode(["", "Heat"]).tolist() == [[0], [0]]
