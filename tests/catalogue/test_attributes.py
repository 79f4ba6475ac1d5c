"""Values of columns as people name them, and the yes/no questions that they answer."""

import numpy as np
import pytest

from recbole_genrec.catalogue.attributes import Attributes, Value, fold_words, number_of, title_column
from recbole_genrec.catalogue.item_text import ItemColumn

COLUMNS = {
    "item_id": ItemColumn("token", {"a": ["a"], "b": ["b"], "c": ["c"]}),
    "movie_title": ItemColumn("token_seq", {"a": ["Toy", "Story"], "b": ["Heat"], "c": ["Up"]}),
    "genre": ItemColumn("token_seq", {"a": ["Children's", "Comedy"], "b": ["Film-Noir"], "c": ["Comedy"]}),
    "release_year": ItemColumn("token", {"a": ["1995"], "b": ["1979"]}),
    "price": ItemColumn("float", {"a": ["3.5"], "b": ["2"], "c": ["3.5"]}),
    "empty": ItemColumn("token", {}),
}


@pytest.fixture
def attributes():
    return Attributes(COLUMNS, ("item_id", "movie_title"))


def test_kinds_of_columns(attributes):
    assert attributes.categories == {"genre": ["Comedy", "Children's", "Film-Noir"], "empty": []}
    assert attributes.numbers == {"release_year": [1979, 1995], "price": [2, 3.5]}
    assert attributes.years == ["release_year"] and attributes.several == {"genre"}


def test_a_column_with_a_few_words_among_its_numbers_is_one_of_numbers():
    cells = {str(item): [str(1950 + item)] for item in range(19)} | {"x": ["unknown"]}
    assert list(Attributes({"year": ItemColumn("token", cells)}).numbers) == ["year"]
    cells |= {"y": ["old"], "z": ["new"]}
    assert list(Attributes({"year": ItemColumn("token", cells)}).categories) == ["year"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Comedies and Dramas", ["comedy", "and", "drama"]),
        ("Children's", ["children"]),
        ("Film-Noir", ["film", "noir"]),
        ("boxes glass virus 90s release_years", ["box", "glass", "virus", "90s", "release", "year"]),
        ("\u0410\u043d\u0434\u0440\u0435\u0439 gas", ["\u0430\u043d\u0434\u0440\u0435\u0439", "gas"]),
    ],
)
def test_folded_words(text, words):
    assert fold_words(text) == words


@pytest.mark.parametrize(
    ("text", "length", "values"),
    [
        ("comedies with heat", 1, ["Comedy"]),
        ("film noirs please", 2, ["Film-Noir"]),
        ("film about", 0, []),
        ("CHILDRENS", 1, ["Children's"]),
    ],
)
def test_the_longest_value_is_found(attributes, text, length, values):
    assert attributes.find(fold_words(text)) == (length, [Value("genre", value) for value in values])


def test_misspelt_values(attributes):
    assert attributes.similar("comdey") == attributes.similar("commedy") == [Value("genre", "Comedy")]
    assert attributes.similar("como") == attributes.similar("command") == []


def test_columns_and_values_by_name(attributes):
    assert attributes.column("Release years") == "release_year" and attributes.column("title") is None
    assert attributes.value("genre", "film noir") == "Film-Noir" and attributes.value("price", "Comedy") is None


def test_questions_answer_like_a_reading_of_the_columns(attributes):
    texts, answers = attributes.questions(["a", "b", "c"])
    assert dict(zip(texts, answers.tolist())) == {
        "genre is Comedy": [True, False, True],
        "genre is Children's": [True, False, False],
        "genre is Film-Noir": [False, True, False],
        "release_year is at least 1995": [True, False, False],
        "price is at least 3.5": [True, False, True],
    }


def test_no_columns_no_questions():
    texts, answers = Attributes(None).questions(["a", "b"])
    assert texts == [] and answers.shape == (0, 2) and answers.dtype in (bool, np.float64)


def test_the_columns_that_name_an_item():
    assert title_column(COLUMNS, "", "item_id") == ("item_id", "movie_title")
    assert title_column(COLUMNS, "{movie_title} ({release_year})", "item_id") == ("item_id", "movie_title")
    assert title_column({"x": COLUMNS["genre"]}, "", "item_id") == title_column(None, "", "item_id") == ("item_id",)


def test_numbers():
    assert [number_of(text) for text in ("3.5", "1e2", "nan", "inf", "x")] == [3.5, 100, None, None, None]
