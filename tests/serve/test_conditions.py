"""Conditions: their two forms, what they choose, and what they refuse."""

import numpy as np
import pytest

from recbole_genrec.catalogue.catalogue import Catalogue
from recbole_genrec.catalogue.item_text import ItemColumn
from recbole_genrec.errors import GenRecError
from recbole_genrec.serve.conditions import choose_items, parse_where

TOKENS = ["a", "b", "c", "d"]
COLUMNS = {
    "genre": ItemColumn("token_seq", {"a": ["Comedy", "Crime"], "b": ["Drama"], "c": ["Comedy"]}),
    "year": ItemColumn("token", {"a": ["1995"], "b": ["1979"], "c": ["unknown"], "d": ["2001"]}),
    "price": ItemColumn("float", {"a": ["3.50"], "b": ["10"], "d": ["-1e1"]}),
}


def chosen(where):
    catalogue = Catalogue(TOKENS, TOKENS, [], None, COLUMNS)
    return "".join(token for token, taken in zip(TOKENS, choose_items(catalogue, where, "item_id")) if taken)


@pytest.mark.parametrize(
    ("text", "where", "items"),
    [
        ("genre=Comedy", {"genre": "Comedy"}, "ac"),
        ("genre=Crime|Drama", {"genre": {"Crime", "Drama"}}, "ab"),
        ("year=1980..", {"year": (1980, None)}, "ad"),
        ("year=..1995", {"year": (None, 1995)}, "ab"),
        ("year=1979..1995", {"year": (1979.0, 1995)}, "ab"),
        ("year=unknown", {"year": "unknown"}, "c"),
        ("year = 1995", {"year": 1995}, "a"),
        ("price=3.5", {"price": 3.5}, "a"),
        ("price=10.0|3.5", {"price": ["10", 3.5]}, "ab"),
        ("price=-10..3.5", {"price": (-10, 3.5)}, "ad"),
        ("genre=Comedy;year=1990..", {"genre": "Comedy", "year": (1990, None)}, "a"),
        ("item_id=b|d", {"item_id": {"b", "d"}}, "bd"),
    ],
)
def test_the_command_line_and_python_choose_alike(text, where, items):
    assert chosen(parse_where([text])) == chosen(where) == items


def test_conditions_on_one_column_must_all_hold():
    assert chosen(parse_where(["genre=Comedy", "genre=Crime"])) == "a"


def test_a_function_and_an_array():
    assert chosen(lambda item: "Comedy" in item["genre"] or item["item_id"] == ["d"]) == "acd"
    assert chosen(np.array([False, True, False, True])) == "bd"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            {"genres": "Comedy"},
            "Unknown column of 'where' 'genres'. Did you mean 'genre'? Known: genre, item_id, price",
        ),
        ({"genre": "Comdy"}, "no item has 'Comdy' in column 'genre'. It has Comedy, ..."),
        ({"genre": {"Comedy", "War"}}, "no item has 'War' in column 'genre'. It has Comedy, Crime, Drama."),
        ({"price": "cheap"}, "no item has 'cheap' in column 'price'. It has -10, 10, 3.5."),
        ({"year": (2010, None)}, "no item has 'year' in that range; its numbers go from 1979 to 2001"),
        ({"genre": (1, 2)}, "column 'genre' holds no numbers"),
        ({"year": (None, None)}, "a range of 'year' is a pair of numbers"),
        ({"genre": "Drama", "year": "2001"}, "leaves no item of the catalogue"),
        (lambda item: False, "leaves no item of the catalogue"),
        (np.array([True]), "must hold 4 booleans"),
        (np.array([1, 0, 1, 0]), "must hold 4 booleans"),
    ],
)
def test_mistakes_are_named(where, message):
    with pytest.raises(GenRecError) as caught:
        chosen(where)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["genre", "=Comedy", "genre=", "genre=Comedy;"])
def test_forms_that_are_none(text):
    with pytest.raises(GenRecError, match="is not 'column=value'"):
        parse_where([text])
