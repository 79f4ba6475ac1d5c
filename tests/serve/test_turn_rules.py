"""What the rules read out of turns."""

import re
from pathlib import Path

import pytest

from recbole_genrec.catalogue.attributes import Attributes
from recbole_genrec.catalogue.item_text import ItemColumn
from recbole_genrec.chat.grounding import Grounder
from recbole_genrec.serve.turn_rules import TurnRules
from recbole_genrec.serve.turns import Turn, Wanted, merged

TITLES = ["Alien (1979)", "Heat (1995)", "Beauty and the Beast (1991)", "Seven (1995)", "Four Rooms (1995)"]
TITLES += ["Nothing But Trouble (1991)", "Good, the Bad and the Ugly, The (1966)", "1984 (1984)", "Drama Queen (2000)"]
GENRES = ["Comedy", "Horror", "Drama", "Sci-Fi", "Action", "Film-Noir", "War", "Games"]


@pytest.fixture(scope="module")
def read():
    tokens = [str(place) for place in range(len(TITLES))]
    genre = ItemColumn("token_seq", {tokens[0]: GENRES[:4], tokens[1]: GENRES[4:]})
    year = ItemColumn("token", {token: [title[-5:-1]] for token, title in zip(tokens, TITLES)})
    price = ItemColumn("float", {tokens[0]: ["2.5"], tokens[1]: ["9"]})
    attributes = Attributes({"genre": genre, "release_year": year, "price": price})
    grounder = Grounder(TITLES, 90)

    def run(text, n_shown=5, reads_text=True):
        return TurnRules(grounder, attributes, reads_text).read(text, n_shown)

    return run


def genre(*values, **more):
    return Wanted(column="genre", values=values, **more)


def years(low=None, high=None, **more):
    return Wanted(column="release_year", low=low, high=high, **more)


READ = {
    "I liked Alien and Heat": {"liked": ("Alien", "Heat")},
    "I've really enjoyed alien, heat & seven.": {"liked": ("alien", "heat", "seven")},
    "I loved Beauty and the Beast and Alien": {"liked": ("Beauty and the Beast", "Alien")},
    "My favourite films are Heat and Seven": {"liked": ("Heat", "Seven")},
    "the good, the bad and the ugly": {"liked": ("the good, the bad and the ugly",)},
    "Nothing But Trouble": {"liked": ("Nothing But Trouble",)},
    "something like Heat": {"liked": ("Heat",)},
    "Seven": {"liked": ("Seven",)},
    "1984": {"liked": ("1984",)},
    "four rooms": {"liked": ("four rooms",)},
    "Drama Queen": {"liked": ("Drama Queen",)},
    'I liked "Alien", no horror': {"liked": ("Alien",), "conditions": (genre("Horror", excluded=True),)},
    'no horror, I liked "No Horror, Please" and Heat': {
        "liked": ("No Horror, Please", "Heat"),
        "conditions": (genre("Horror", excluded=True),),
    },
    'not "Heat", "Undo" and 1984': {"excluded": ("Heat", "Undo", "1984")},
    '"Undo"': {"liked": ("Undo",)},
    "five comedies like Alien and Heat": {"liked": ("Alien", "Heat"), "conditions": (genre("Comedy"),), "topk": 5},
    "more like Alien": {"liked": ("Alien",)},
    "Do you have any comedies?": {"conditions": (genre("Comedy"),)},
    "have you any good horror films": {"conditions": (genre("Horror"),)},
    "games": {"conditions": (genre("Games"),)},
    "I saw Heat": {"excluded": ("Heat",)},
    'I liked "Some, and other, Film"': {"liked": ("Some, and other, Film",)},
    "I liked Alien but no horror": {"liked": ("Alien",), "conditions": (genre("Horror", excluded=True),)},
    "I liked Zorgon and Alien": {"liked": ("Zorgon", "Alien")},
    "I like the second and the third": {"liked_places": (2, 3)},
    "I liked it": {"liked_places": (0,)},
    "not that one": {"excluded_places": (0,)},
    "seen it": {"excluded_places": (0,)},
    "not the second": {"excluded_places": (2,)},
    "not 2, 3 and 5": {"excluded_places": (2, 3, 5)},
    "skip number 4": {"excluded_places": (4,)},
    "I've already seen the first two": {"excluded_places": (1, 2)},
    "not the last two": {"excluded_places": (4, 5)},
    "without the last": {"excluded_places": (5,)},
    "I have seen Heat": {"excluded": ("Heat",)},
    "I didn't like Alien or Seven": {"excluded": ("Alien", "Seven")},
    "not 1984": {"excluded": ("1984",)},
    "not the 2nd, no horror": {"excluded_places": (2,), "conditions": (genre("Horror", excluded=True),)},
    "something else": {"action": "more"},
    "none of these": {"action": "more"},
    "three more": {"action": "more", "topk": 3},
    "other comedies": {"action": "more", "conditions": (genre("Comedy"),)},
    "Undo!": {"action": "undo"},
    "start over": {"action": "start_over"},
    "why?": {"action": "why"},
    "show me five": {"topk": 5},
    "top 3 please": {"topk": 3},
    "just one": {"topk": 1},
    "give me 12 films": {"topk": 12},
    "show me something": {},
    "comedies": {"conditions": (genre("Comedy"),)},
    "I'd like a comedy or a drama": {"conditions": (genre("Comedy", "Drama"),)},
    "comedies, dramas": {"conditions": (genre("Comedy", "Drama"),)},
    "action comedies": {"conditions": (genre("Action", "Comedy", together=True),)},
    "also sci-fi": {"conditions": (genre("Sci-Fi"),), "also": True},
    "some comdey films": {"conditions": (genre("Comedy"),)},
    "film noir": {"conditions": (genre("Film-Noir"),)},
    "I hate horror": {"conditions": (genre("Horror", excluded=True),)},
    "no horror, drama or war": {"conditions": (genre("Horror", "Drama", "War", excluded=True),)},
    "no horror, comedies please": {"conditions": (genre("Comedy"), genre("Horror", excluded=True))},
    "comedies but no drama": {"conditions": (genre("Comedy"), genre("Drama", excluded=True))},
    "genre is comedy": {"conditions": (genre("Comedy"),)},
    "any genre": {"any_of": ("genre",)},
    "any year, but comedies": {"any_of": ("release_year",), "conditions": (genre("Comedy"),)},
    "any kind": {"any_of": ("*",)},
    "after 1990": {"conditions": (years(1991),)},
    "since 1990": {"conditions": (years(1990),)},
    "films from 1990 on": {"conditions": (years(1990),)},
    "before 1990": {"conditions": (years(None, 1989),)},
    "older than 1990": {"conditions": (years(None, 1989),)},
    "not older than 1990": {"conditions": (years(1990),)},
    "nothing after 1990": {"conditions": (years(None, 1990),)},
    "until 1990": {"conditions": (years(None, 1990),)},
    "from the 80s": {"conditions": (years(1980, 1989),)},
    "1980s horror": {"conditions": (years(1980, 1989), genre("Horror"))},
    "the nineties": {"conditions": (years(1990, 1999),)},
    "between 1990 and 1995": {"conditions": (years(1990, 1995),)},
    "1990-95": {"conditions": (years(1990, 1995),)},
    "from 1995": {"conditions": (years(1995, 1995),)},
    "no films from the 90s": {"conditions": (years(1990, 1999, excluded=True),)},
    "price under 5": {"conditions": (Wanted(column="price", high=4.999999999999999),)},
    "at most 5": {"conditions": (Wanted(column="price", high=5),)},
    "five comedies after 1990 and no horror": {
        "topk": 5,
        "conditions": (years(1991), genre("Comedy"), genre("Horror", excluded=True)),
    },
}


@pytest.mark.parametrize("text", READ)
def test_turns(read, text):
    assert read(text) == Turn(**READ[text])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ?! ",
        "2",
        "the second",
        "2 and 3",
        "xyzzy",
        "comedies xyzzy",
        "no xyzzy",
        "no horror from the 90s",
        "no horror after 1990",
        "show me 3 or 4 films",
        "show me 500",
        "show me 0",
        "undo and no horror",
        "I liked",
        "a, b, c",
        "x " * 3000,
        "comedies after lunch",
        "gnomes like Alien",
        'comedies "Alien"',
        'I liked "  "',
    ],
)
def test_what_is_unclear_is_not_read(read, text):
    assert read(text) is None


def documented():
    """Turns of the first column of the table in the documentation."""
    text = (Path(__file__).parents[2] / "docs/guides/conversation.md").read_text("utf-8")
    rows = text.partition("| turn | effect |\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [turn for row in rows for turn in re.findall(r"`([^`]+)`", row.split("|")[1])]


@pytest.mark.parametrize("text", documented())
def test_documented_turns_are_read(read, text):
    assert read(text) is not None and len(documented()) > 25


@pytest.mark.parametrize("text", [text for text in READ if '"' not in text])
def test_an_unknown_word_anywhere_is_never_passed_over(read, text):
    words = text.split()
    for place in range(len(words) + 1):
        turn = read(" ".join([*words[:place], "xyzzy", *words[place:]]), reads_text=False)
        assert turn is None or any("xyzzy" in title for title in (*turn.liked, *turn.excluded))


CLAUSES = ["no horror", "comedies", "after 1990", "show me five", "not the second", "I liked Alien", "without Heat"]
CLAUSES += ["something else", "before 2000", 'I liked "Zorgon, and more"', "no films from the 80s", "price under 5"]


@pytest.mark.parametrize("between", [", ", "; ", " but ", ". ", ", and "])
@pytest.mark.parametrize("first", CLAUSES)
def test_clauses_together_ask_for_what_each_asks_for(read, first, between):
    for second in CLAUSES:
        turn = read(first + between + second)
        parts = [read(first), read(second)]
        assert turn is not None, (first, second)
        for name in ("liked", "excluded", "excluded_places", "conditions"):
            assert set(getattr(turn, name)) == {each for part in parts for each in getattr(part, name)}, (second, turn)
        assert turn.topk == next((part.topk for part in parts[::-1] if part.topk), None)
        assert (turn.action == "more") == any(part.action == "more" for part in parts)


def test_free_text_is_for_models_that_read_it(read):
    assert read("I liked Zorgon Attack").liked == ("Zorgon Attack",)
    assert read("I liked Zorgon Attack", reads_text=False) is None


def test_the_last_place_needs_a_list(read):
    assert read("not the last", n_shown=0) is None and read("not the last", n_shown=3).excluded_places == (3,)


def test_a_command_stands_alone():
    assert merged([Turn(action="undo"), Turn(topk=3)]) is None
    assert merged([Turn(action="more", liked=("x",)), Turn(topk=3, liked=("x", "y"))]) == Turn(
        action="more", topk=3, liked=("x", "y")
    )


@pytest.mark.parametrize(
    "content",
    [
        {"column": "genre"},
        {"column": "genre", "values": ["Comedy"], "low": 3},
        {"column": "year", "low": 5, "high": 3},
        {"column": "year", "low": float("nan")},
        {"column": "genre", "values": ["Comedy"], "more": 1},
    ],
)
def test_conditions_that_are_none(content):
    with pytest.raises(ValueError):
        Wanted(**content)


@pytest.mark.parametrize("content", [{"topk": 0}, {"topk": 101}, {"liked_places": [-1]}, {"liked": [" "]}, {"act": 1}])
def test_turns_that_are_none(content):
    with pytest.raises(ValueError):
        Turn(**content)
