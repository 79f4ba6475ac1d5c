"""Answers as chat models write them, and the items that they stand for."""

import json

import pytest

pytest.importorskip("rapidfuzz", reason="needs the extra 'chat'")

from recbole_genrec.chat.grounding import Grounder, read_number, read_text, read_titles

TITLES = [
    "Toy Story (1995)",
    "Sting, The (1973)",
    "Heat (1995)",
    "Heat 2",
    "Rocky II (1979)",
    "Rocky III (1982)",
    "Sabrina (1995)",
    "Sabrina (1954)",
    'The "Burbs" & {braces}',
    "\u0410\u043d\u0434\u0440\u0435\u0439 \u0420\u0443\u0431\u043b\u0451\u0432",
]
TOY, STING, HEAT, HEAT2, ROCKY2, ROCKY3, SABRINA95, SABRINA54, BURBS, RUBLEV = range(1, 11)


@pytest.mark.parametrize(
    ("text", "titles", "form"),
    [
        ('{"titles": ["Heat", "Up"]}', ["Heat", "Up"], "json"),
        ('["Heat", "Up"]', ["Heat", "Up"], "json"),
        ('```json\n{"titles": ["Heat", "Up"]}\n```', ["Heat", "Up"], "json"),
        ('{"titles": [{"title": "Heat", "year": 1995}, {"name": "Up"}]}', ["Heat", "Up"], "json"),
        ('{"user": "u1", "result": {"titles": ["Heat"]}}', ["Heat"], "json"),
        ('{"titles": []}', [], "json"),
        ('Sure! {"titles": ["Heat", "Up"]} Enjoy.', ["Heat", "Up"], "repaired"),
        ('{"titles": ["Heat", "Up", "Toy St', ["Heat", "Up"], "repaired"),
        ('{"titles": ["Heat", "Say \\"Up\\"",]}', ["Heat", 'Say "Up"'], "repaired"),
        ('{\'titles\': ["Heat", "Up"]', ["Heat", "Up"], "repaired"),
        ('Here you are:\n1. Heat\n2) **Up**\n- "Brazil"', ["Heat", "Up", "Brazil"], "repaired"),
        ("Heat\nUp", ["Heat", "Up"], "lines"),
        ("", [], "lines"),
        ("[" * 100_000, ["[" * 100_000], "lines"),
    ],
)
def test_titles_are_read_from_json_and_from_less(text, titles, form):
    assert read_titles(text) == (titles, form)


@pytest.mark.parametrize(
    ("title", "item", "kind"),
    [
        ("Toy Story (1995)", TOY, "exact"),
        ("toy story 1995", TOY, "exact"),
        ("Toy Story", TOY, "fuzzy"),
        ("The Sting (1973)", STING, "fuzzy"),
        ("the sting", STING, "fuzzy"),
        ("Heat", HEAT, "fuzzy"),
        ("Heat 2", HEAT2, "exact"),
        ("Heat 3", None, "invented"),
        ("Rocky III", ROCKY3, "fuzzy"),
        ("Rocky IV", None, "invented"),
        ("Sabrina (1954)", SABRINA54, "exact"),
        ("Sabrina [1954]", SABRINA54, "exact"),
        ("Sabrina (1988)", None, "invented"),
        ("The &quot;Burbs&quot; and {braces}", BURBS, "exact"),
        ("The 'burb' and braces", BURBS, "fuzzy"),
        ("\u0430\u043d\u0434\u0440\u0435\u0439 \u0440\u0443\u0431\u043b\u0451\u0432", RUBLEV, "exact"),
        ("Alien", None, "invented"),
        ("???", None, "invented"),
    ],
)
def test_titles_are_matched_and_numbers_are_kept_apart(title, item, kind):
    assert Grounder(TITLES, 90).find(title) == (item, kind)


def test_of_equally_fuzzy_matches_a_candidate_is_preferred():
    grounder = Grounder(TITLES, 90)
    assert grounder.find("Sabrina")[0] == SABRINA95
    assert grounder.find("Sabrina", {SABRINA54})[0] == SABRINA54


def test_every_title_is_counted_once():
    grounder = Grounder(TITLES, 90)
    answer = json.dumps(["Heat (1995)", "Heat", "Toy Story", "Alien", "Heat 2", "The Sting"])
    assert grounder.ground(answer, 5, candidates=[HEAT, TOY, ROCKY2, STING]) == [HEAT, TOY, STING]
    report = grounder.report
    assert (report.answers, report.titles, report.refused, report.repaired) == (1, 6, 0, 0)
    assert (report.exact, report.fuzzy, report.repeated, report.out_of_candidates, report.invented) == (1, 2, 1, 1, 1)


def test_a_list_ends_with_the_titles_that_were_asked_for():
    grounder = Grounder(TITLES, 90)
    assert grounder.ground(json.dumps(TITLES), 3) == [TOY, STING, HEAT]
    assert grounder.report.titles == 3


@pytest.mark.parametrize("answer", ["", "I cannot recommend items.", '{"titles": []}', '{"error": "no"}', "null", "7"])
def test_an_answer_without_titles_is_a_refusal(answer):
    grounder = Grounder(TITLES, 90)
    assert grounder.ground(answer, 5) == []
    assert (grounder.report.refused, grounder.report.titles, grounder.report.repaired) == (1, 0, 0)


def test_of_plain_lines_only_those_in_the_catalogue_are_titles():
    grounder = Grounder(TITLES, 90)
    assert grounder.ground("Good choices are\nHeat (1995)\nHeat 2\nHave fun!", 5) == [HEAT, HEAT2]
    assert (grounder.report.exact, grounder.report.titles, grounder.report.repaired) == (2, 2, 1)


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ('{"rating": 4}', 4),
        ('{"rating": "3.5 stars"}', 3.5),
        ("I would say 4,5.", 4.5),
        ("9", 5),
        ('{"rating": -3}', 1),
        ('{"rating": NaN}', None),
        ("good", None),
        ('{"rating": null}', None),
    ],
)
def test_ratings_are_read_and_stay_in_their_bounds(answer, number):
    assert read_number(answer, "rating", 1, 5) == number


def test_texts_are_read():
    assert read_text('{"explanation": "It is\\nfun."}', "explanation") == "It is fun."
    assert read_text("It is  fun.", "explanation") == "It is fun."


def test_answers_that_would_take_forever_or_break_off():
    """Each of these once took minutes, or raised; now time grows with the length alone."""
    for text in ("\n" * 200_000, '"\\' * 100_000, '["\\' * 70_000, "1. a" + " " * 200_000 + "b", "other\n" * 50_000):
        titles, form = read_titles(text)
        assert form in ("lines", "repaired") and all(map(str.strip, titles))
    for depth in (450, 4_500, 45_000):
        assert read_titles('{"a":' * depth + "[]" + "}" * depth)[0] == []
    for depth in (500, 900, 2000):
        assert isinstance(read_titles("[" * depth + '"Heat"' + "]" * depth)[0], list)


def test_a_number_that_no_float_holds():
    assert read_number('{"rating": 1' + "0" * 400 + "}", "rating", 1, 5) == 5
    assert read_number('{"rating": -1' + "0" * 400 + "}", "rating", 1, 5) == 1


def test_prose_of_many_lines_is_matched_exactly_only(monkeypatch):
    grounder = Grounder(["Heat", "Brazil"], 90)
    monkeypatch.setattr(grounder, "_similar", None)  # looking for the nearest title of every line would take hours
    assert grounder.ground("I like\nheat\nBrasil\nand so on", 5) == [1]


def test_a_character_with_a_number_of_thousands_of_digits():
    title = "&#" + "9" * 5000 + ";"
    grounder = Grounder([title, "Heat"], 90)
    assert grounder.find(title) == (1, "exact")


@pytest.mark.parametrize(
    ("title", "items", "kind"),
    [
        ("Toy Story (1995)", (TOY,), "exact"),
        ("the sting", (STING,), "exact"),
        ("sabrina", (SABRINA54, SABRINA95), "exact"),
        ("Sabrina (1954)", (SABRINA54,), "exact"),
        ("sabrina 1954", (SABRINA54,), "exact"),
        ("Heat", (HEAT,), "exact"),
        ("heat 2", (HEAT2,), "exact"),
        ("Rocky II", (ROCKY2,), "exact"),
        ("Sabrinna", (SABRINA95, SABRINA54), "fuzzy"),
        ("Rocky", (ROCKY2, ROCKY3), "near"),
        ("Toy Stroy", (TOY,), "near"),
        ("Rocky IV", (), "invented"),
        ("Sabrina (1990)", (), "invented"),
        ("To", (), "invented"),
        ("", (), "invented"),
        ("\u0430\u043d\u0434\u0440\u0435\u0439 \u0440\u0443\u0431\u043b\u0451\u0432", (RUBLEV,), "exact"),
    ],
)
def test_all_items_that_a_title_may_mean(title, items, kind):
    assert Grounder(TITLES, 90).matches(title) == (items, kind)


def test_a_part_of_too_many_titles_means_none():
    many = [f"Star Number {chr(97 + place)}{chr(97 + place)}" for place in range(9)]
    assert Grounder(many, 90).matches("star number")[1] != "exact"
    assert Grounder(many[:8], 100).matches("star number") == (tuple(range(1, 9)), "near")
