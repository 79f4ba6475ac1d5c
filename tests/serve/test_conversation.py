"""Conversations against a plain model of what each turn means, and every list against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_genrec import Conversation, GenRecError, GenRecommender, ItemId, UserHistory
from recbole_genrec.serve.conversation_state import ConversationState
from recbole_genrec.serve.turns import Wanted
from tests.serve.conftest import ITEMS
from tests.serve.oracle import assert_best, oracle

GENRES = ["Animation", "Comedy", "Crime", "Drama", "Horror"]
LIKED = ["Toy Story 2", "Brazil", "Up", "the sting", "Alien"]
NUMBER = {title: number for number, (_, title, *_) in enumerate(ITEMS)} | {"the sting": 4}
#: of an item in ``ITEMS`` by its id; the catalogue has an order of its own.
PLACE = {token: place for place, (token, *_) in enumerate(ITEMS)}
ORDINALS = ["first", "second", "third"]


@pytest.fixture(scope="module")
def recommender(trained):
    return GenRecommender.from_checkpoint(trained["trie"][2])


@pytest.fixture
def talk(recommender):
    def say(*turns, **more):
        conversation = Conversation(recommender, **{"topk": 4, **more})
        replies = [conversation.say(turn) for turn in turns]
        return conversation, replies[-1]

    return say


def titles(reply):
    return [recommendation.title for recommendation in reply.recommendations]


class PlainModel:
    """What turns mean, written down a second time: sets of items and genres."""

    def __init__(self, k):
        self.begin = (frozenset(), frozenset(), frozenset(), frozenset(), None, None, k)
        self.state, self.before, self.shown = self.begin, [], []

    def next(self, turn):
        """The state after a turn; ``None`` for one that says nothing."""
        kind, *rest = turn
        liked, excluded, wanted, unwanted, low, high, k = self.state
        if kind == "like":
            item = NUMBER[rest[0]]
            liked |= {item}
        elif kind == "want":
            wanted, unwanted = frozenset(rest), unwanted - set(rest)
        elif kind == "no":
            wanted, unwanted = wanted - set(rest), unwanted | set(rest)
        elif kind == "after":
            low, high = rest[0] + 1, high if high is None or high > rest[0] else None
        elif kind == "before":
            low, high = low if low is None or low < rest[0] else None, rest[0] - 1
        elif kind == "any":
            wanted, unwanted = (frozenset(), frozenset()) if rest[0] == "genre" else (wanted, unwanted)
            low, high = (None, None) if rest[0] == "year" else (low, high)
        elif kind == "not":
            if rest[0] >= len(self.shown):
                return None
            excluded, liked = excluded | {self.shown[rest[0]]}, liked - {self.shown[rest[0]]}
        elif kind == "else":
            excluded, liked = excluded | set(self.shown), liked - set(self.shown)
        elif kind == "k":
            k = rest[0]
        elif kind == "undo":
            return self.before[-1] if self.before else None
        elif kind == "over":
            return self.begin
        else:
            return None
        return liked, excluded, wanted, unwanted, low, high, k

    def allowed(self, state):
        liked, excluded, wanted, unwanted, low, high, _ = state
        meets = []
        for number, (_, _, year, genres, _) in enumerate(ITEMS):
            genres = set(genres.split())
            meets.append(
                number not in liked | excluded
                and (not wanted or bool(genres & wanted))
                and not genres & unwanted
                and (low is None or int(year) >= low)
                and (high is None or int(year) <= high)
            )
        return torch.tensor(meets)

    def accept(self, turn, state):
        if turn[0] == "undo":
            self.before.pop()
        elif state != self.state:
            self.before.append(self.state)
        self.state = state


TEXTS = {
    "like": "I liked {}",
    "want": "{}",
    "no": "no {}",
    "after": "after {}",
    "before": "before {} please",
    "any": "any {}",
    "else": "something else",
    "k": "show me {}",
    "undo": "undo",
    "over": "start over",
    "why": "why?",
    "noise": "{}",
}


def text_of(turn):
    kind, *rest = turn
    if kind == "not":
        return f"not the {ORDINALS[rest[0]]}"
    return TEXTS[kind].format(" or ".join(map(str, rest)))


def of(kind, *values):
    return st.tuples(st.just(kind), *values)


GENRE = st.sampled_from(GENRES)
TURNS = st.one_of(
    of("like", st.sampled_from(LIKED)),
    of("want", GENRE),
    st.lists(GENRE, min_size=2, max_size=3, unique=True).map(lambda genres: ("want", *genres)),
    of("no", GENRE),
    of("after", st.integers(1970, 2005)),
    of("before", st.integers(1970, 2010)),
    of("any", st.sampled_from(["genre", "year"])),
    of("not", st.integers(0, 2)),
    of("else"),
    of("k", st.integers(2, 7)),
    of("undo"),
    of("over"),
    of("why"),
    of("noise", st.sampled_from(["xyzzy", "no plugh", "7", "not Zorro but xyzzy", "comedies after lunch"])),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(TURNS, min_size=1, max_size=9), k=st.integers(1, 5))
def test_every_list_is_the_exact_best_of_what_the_turns_allow(recommender, turns, k):
    conversation, model = Conversation(recommender, topk=k), PlainModel(k)
    for turn in turns:
        state, before = model.next(turn), conversation.state
        reply = conversation.say(text_of(turn))
        if turn[0] == "why":
            assert reply.understood and not reply.recommendations and conversation.state == before
            continue
        if state is None or not model.allowed(state).any():
            assert reply.problem and not reply.recommendations and conversation.state == before
            continue
        assert not reply.problem and not reply.question, reply
        model.accept(turn, state)
        history = conversation.state.history
        assert {entry.item_id for entry in history} == {ITEMS[number][0] for number in state[0]}
        allowed = model.allowed(state)[[PLACE[token] for token in recommender.reader.item_tokens]]
        assert_best(recommender, reply, oracle(recommender, history), allowed, state[-1])
        model.shown = [PLACE[r.item_id] for r in reply.recommendations]


WORDS = ["I liked", "no", "not", "the second", "heat", "Alien", "comedies", "horror", "after", "1990", "and", "or", ","]
WORDS += [
    "but",
    "something else",
    "undo",
    "2",
    "five",
    "that one",
    "seen it",
    "any genre",
    '"Up"',
    "from the 80s",
    "\x00",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join))))
def test_whatever_is_said_no_list_breaks_the_state(recommender, turns):
    conversation = Conversation(recommender, where={"price": (2, None)}, topk=3)
    for turn in turns:
        before = conversation.state
        reply = conversation.say(turn)
        if reply.problem or reply.question:
            assert not reply.recommendations and conversation.state == before
        state = conversation.state
        named = {entry.item_id for entry in state.history if isinstance(entry, ItemId)} | set(state.excluded)
        assert len(reply.recommendations) <= state.topk
        for recommendation in reply.recommendations:
            item = next(item for item in ITEMS if item[0] == recommendation.item_id)
            assert item[0] not in named and float(item[4] or 0) >= 2
            assert all(meets(item, wanted) for wanted in state.conditions)


def meets(item, wanted):
    values = {"year": [item[2]], "genre": item[3].split(), "price": [item[4]] if item[4] else []}[wanted.column]
    if wanted.is_range:
        low, high = (end if end is not None else default for end, default in ((wanted.low, -9e9), (wanted.high, 9e9)))
        found = any(low <= float(value) <= high for value in values)
    else:
        found = (all if wanted.together else any)(value in values for value in wanted.values)
    return found != wanted.excluded


def test_an_ambiguous_title_is_asked_for_and_a_number_answers(talk):
    conversation, reply = talk("I liked Heat and Up, no horror")
    assert reply.question == "Which one: 1 Heat; 2 Heat (2)?" and reply.options == ("Heat", "Heat (2)")
    assert conversation.state == ConversationState(topk=4) and not reply.recommendations
    assert conversation.say("2").understood == "Understood: you liked Heat (2), Up; genre is not Horror."
    assert conversation.state.history == (ItemId("m3"), ItemId("m9"))


@pytest.mark.parametrize(
    ("answer", "history"),
    [("the first", ["m2"]), ("number 2", ["m3"]), ("2nd one", ["m3"]), ("Heat (2)", ["m3"]), ("I liked Up", ["m9"])],
)
def test_answers_to_a_question(talk, answer, history):
    conversation, _ = talk("I liked Heat", answer)
    assert [entry.item_id for entry in conversation.state.history] == history


def test_what_is_no_answer_is_asked_again_and_none_ends_it(talk):
    conversation, reply = talk("not Heat", "3")
    assert "Which one: 1 Heat; 2 Heat (2)?" in reply.problem
    assert conversation.say("none").problem.startswith("None of them") and not conversation.state.excluded
    assert "did not understand '1'" in conversation.say("1").problem


def test_two_questions_in_one_turn(talk):
    conversation, reply = talk("I liked it", "I liked Up")
    assert reply.recommendations
    first = conversation.say("not that one, I liked Heat")
    assert first.question.startswith("Which one: ") and conversation.say("1").question.startswith("Which one: ")
    assert conversation.say("2").recommendations and len(conversation.state.excluded) == 1


def test_a_near_title_is_asked_for_and_may_be_free_text(talk):
    conversation, reply = talk("I liked Brasilia")
    assert reply.question == "Which one: 1 Brazil?" or '"Brasilia"' in reply.understood
    conversation, reply = talk("I liked Toy Stories")
    assert reply.question == "Which one: 1 Toy Story?"
    assert "which the catalogue does not have" in conversation.say("no").understood
    assert conversation.state.history == ("Toy Stories",)


def test_a_title_that_is_not_there(talk, train):
    conversation, reply = talk("I liked Zorgon Attack")
    assert '"Zorgon Attack", which the catalogue does not have' in reply.understood
    coded = GenRecommender.from_checkpoint(train(item_indexing="sequential")[2])
    reply = Conversation(coded).say("I liked Zorgon Attack")
    assert reply.problem.startswith("I did not understand 'I liked Zorgon Attack'; nothing has changed. Say, for")
    assert Conversation(coded).say('I liked "Zorgon Attack"').problem.startswith("The catalogue has no title like")


def test_that_one_is_asked_for_unless_there_is_one_alone(talk):
    conversation, reply = talk("show me something", "seen it")
    assert reply.question.startswith("Which one: 1 ")
    conversation, reply = talk("show me one")
    assert conversation.say("not that one").understood == f"Understood: without {titles(reply)[0]}."


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        (["not the second"], "There is no list yet. Nothing has changed."),
        (["show me 3", "not 9"], "The list has 3 places, not 9. Nothing has changed."),
        (["undo"], "There is nothing to undo. Nothing has changed."),
        (["horror after 2005"], "No item of the catalogue is left then. Nothing has changed."),
        (
            ["after 2000, before 1990"],
            "Not all of this can hold: year is at least 2001; year is at most 1989. Nothing has changed.",
        ),
        (
            ["comedies, no comedy"],
            "Not all of this can hold: genre is Comedy; genre is not Comedy. Nothing has changed.",
        ),
        (['not "Zorro"'], "The catalogue has no title like 'Zorro'. Nothing has changed."),
    ],
)
def test_what_cannot_be_is_one_line(talk, turns, problem):
    conversation, reply = talk(*turns)
    assert reply.problem == reply.line == problem and not reply.recommendations


def test_a_disliked_item_leaves_the_history_and_why_says_the_state(talk):
    _, reply = talk("I liked Up and Brazil", "I didn't like Up", "comedies, no horror", "top 2", "why")
    assert reply.understood == (
        "History: Brazil. Conditions: genre is Comedy; genre is not Horror. Left out: Up. Length of the list: 2."
    )
    assert not reply.recommendations


def test_every_undo_goes_one_turn_further_back(talk):
    conversation, _ = talk("no horror", "top 2", "I liked Up", "undo", "undo")
    assert conversation.state.topk == 4 and len(conversation.state.conditions) == 1
    assert conversation.say("undo").recommendations and conversation.state == ConversationState(topk=4)
    assert conversation.say("undo").problem.startswith("There is nothing to undo.")


def test_starting_over_can_be_undone(talk):
    conversation, _ = talk("no horror", "start over", "undo")
    assert len(conversation.state.conditions) == 1


def test_what_is_known_at_the_beginning_stays(recommender):
    conversation = Conversation(recommender, UserHistory(["Up", "No such film"], {}), where={"genre": "Comedy"}, topk=9)
    first = conversation.recommend()
    assert "Up" not in titles(first) and {"Toy Story", "Toy Story 2", "Sting, The", "Brazil"} == set(titles(first))
    assert titles(conversation.say("any genre")) == titles(first)
    assert titles(conversation.say("start over")) == titles(first)
    expected = recommender.recommend([["Up", "No such film"]], 9, {"genre": "Comedy"}, exclude_seen=True)[0]
    assert [r.probability for r in first.recommendations] == pytest.approx([r.probability for r in expected])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"topk": 0}, "'topk' must be a whole number from 1 to 100, not 0"),
        ({"topk": True}, "not True"),
        ({"where": {"genre": "War"}}, "no item has 'War'"),
        ({"at": "2026-11-26"}, "'at'"),
        ({"history": [ItemId("m99")]}, "no item with the id 'm99'"),
        ({"language_model": {"chat_modl": "x"}}, "Did you mean 'chat_model'?"),
        ({"language_model": {"base_url": "http://localhost:1"}}, "needs 'chat_model'"),
    ],
)
def test_bad_arguments_are_named(recommender, more, message):
    with pytest.raises(GenRecError) as caught:
        Conversation(recommender, **more)
    assert message in str(caught.value)


def test_a_new_end_of_a_range_replaces_the_former_one():
    state = ConversationState()
    for low, high in ((1990, None), (None, 1999), (1995, None), (None, 1980)):
        state = state.wanting(Wanted(column="year", low=low, high=high), also=False)
    assert state.conditions == (Wanted(column="year", high=1980),)


def test_ranges_of_one_turn_hold_together(talk):
    conversation, reply = talk("after 1980, before 1990")
    assert conversation.state.conditions == (Wanted(column="year", low=1981, high=1989),) and not reply.problem


def test_wanted_values_replace_each_other_unless_also():
    comedy, crime = (Wanted(column="genre", values=(value,)) for value in ("Comedy", "Crime"))
    state = ConversationState().wanting(comedy, False)
    assert state.wanting(crime, False).conditions == (crime,)
    assert state.wanting(crime, True).conditions == (comedy, crime)
    assert state.wanting(Wanted(column="genre", values=("Comedy", "War"), excluded=True), False).conditions == (
        Wanted(column="genre", values=("Comedy", "War"), excluded=True),
    )


def test_conditions_on_several_columns_hold_together(recommender):
    catalogue = recommender.ranker.catalogue
    both = Wanted(column="genre", values=("Animation", "Comedy"), together=True)
    cheap = Wanted(column="price", high=3.7)
    allowed = ConversationState(conditions=(both, cheap)).allowed(catalogue, "item_id", [])
    assert np.array(catalogue.item_tokens)[allowed].tolist() == ["m0"]
