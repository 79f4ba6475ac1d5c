"""Turns read and answers phrased by a language model: what is accepted, what is refused, and the rules behind it."""

import json

import pytest

pytest.importorskip("openai", reason="needs the extra 'chat'")

from recbole_genrec import Conversation, GenRecError, GenRecommender
from recbole_genrec.serve.turns import Wanted
from tests.servers import ScriptedServer


@pytest.fixture(scope="module")
def recommender(trained):
    return GenRecommender.from_checkpoint(trained["trie"][2])


@pytest.fixture
def talk(recommender, tmp_path):
    """A conversation with a server that replies to a turn and to the request for a sentence."""

    def begin(server, **settings):
        server_settings = {"chat_model": "small", "base_url": server.url, "chat_cache": str(tmp_path / "cache")}
        server_settings |= {"request_attempts": 1, "retry_wait": 0.0, **settings}
        return Conversation(recommender, topk=3, language_model=server_settings)

    return begin


def script(turn, sentence='{"text": "Try [1], or [2]."}'):
    def reply(body, number):
        reads = "schema" in body["messages"][0]["content"]
        content = turn if reads else sentence
        return content if isinstance(content, (str, dict)) else json.dumps(content)

    return reply


def test_a_turn_is_read_and_its_answer_phrased(talk):
    turn = {"liked": ["alien"], "conditions": [{"column": "Genre", "values": ["comedies"]}], "topk": 2}
    with ScriptedServer(script(json.dumps(turn))) as server:
        conversation = talk(server)
        reply = conversation.say("Two funny ones for somebody who liked alien, por favor")
        system, question = (message["content"] for message in server.bodies[0]["messages"])
    assert reply.read_by == "language model" and not reply.notes
    assert reply.understood == "Understood: you liked Alien; genre is Comedy; a list of 2."
    assert conversation.state.conditions == (Wanted(column="genre", values=("Comedy",)),)
    titles = [recommendation.title for recommendation in reply.recommendations]
    assert reply.phrased == f"Try {titles[0]}, or {titles[1]}."
    assert "genre: Comedy, " in system and "year: numbers from 1973 to 2009" in system
    assert "Two funny ones" in question and "List that was shown: none" in question


def test_a_list_and_the_state_are_told(talk):
    with ScriptedServer(script('{"excluded_places": [2]}')) as server:
        conversation = talk(server)
        shown = conversation.recommend().recommendations
        reply = conversation.say("away with the middle one")
        assert f"[2] {shown[1].title}" in server.bodies[0]["messages"][1]["content"]
    assert reply.understood == f"Understood: without {shown[1].title}."


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        ("I would watch Alien.", "is not valid (the whole: Input should be an object)"),
        ('{"topk": "3"}', "is not valid (topk: Input should be a valid integer)"),
        ('{"topk": 1000}', "is not valid (topk: "),
        ('{"films": ["Alien"]}', "is not valid (films: Extra inputs are not permitted)"),
        ('{"liked": ["Brazil"]}', "is not valid (the turn does not name 'Brazil')"),
        ('{"conditions": [{"column": "genre", "values": ["War"]}]}', "(column 'genre' has no 'War')"),
        ('{"conditions": [{"column": "mood", "values": ["sad"]}]}', "(no column 'mood')"),
        ('{"conditions": [{"column": "genre", "low": 3}]}', "(column 'genre' holds no numbers)"),
        ('{"conditions": [{"column": "year"}]}', "(conditions.0: "),
        ('{"conditions": [{"column": "year", "values": ["1999", "1995"]}]}', "(column 'year' has no 1999, 1995)"),
        ('{"any_of": ["mood"]}', "(no column 'mood')"),
        ("{}", "(it says nothing)"),
        ({"status": 500, "text": "x"}, "status 500"),
        ({"status": 401, "text": "x"}, "status 401"),
    ],
)
def test_what_is_invalid_is_said_and_the_rules_read(talk, answer, note):
    with ScriptedServer(script(answer)) as server:
        reply = talk(server).say("I liked Alien, no horror")
    assert reply.read_by == "rules" and reply.understood == "Understood: you liked Alien; genre is not Horror."
    assert note in reply.notes[0] and reply.notes[0].endswith("The rules have read this turn.")


def test_a_server_that_is_gone_does_not_end_the_conversation(talk):
    with ScriptedServer(script("{}")) as server:
        conversation = talk(server)
    reply = conversation.say("no horror")
    assert reply.recommendations and "the connection failed" in reply.notes[0] and not reply.phrased


@pytest.mark.parametrize(
    ("sentence", "problem"),
    [
        ('{"text": "Watch Titanic, or [1]."}', "'Titanic' may be a title"),
        ('{"text": "[1] beats \\"the big sleep\\"."}', "it quotes what may be a title"),
        ('{"text": "Up is fine."}', "'Up' may be a title"),
        ('{"text": "[1], or a film (1999)."}', "it quotes what may be a title"),
        ('{"text": "[1], then [9]."}', "it names a place [9] that the list does not have"),
        ('{"text": ""}', "it is not the JSON that was asked for"),
        ("Watch them all", "it is not the JSON that was asked for"),
    ],
)
def test_a_sentence_that_may_name_another_title_is_left_out(talk, sentence, problem):
    with ScriptedServer(script('{"topk": 3}', sentence)) as server:
        reply = talk(server).say("show me three")
    assert reply.phrased == "" and len(reply.recommendations) == 3
    assert reply.notes == (f"The language model's sentence is left out: {problem}.",)


@pytest.mark.parametrize(
    "sentence", ["Since you like Comedy, I picked [1].", "Here: [1]. Then [2], and [3] as it's short."]
)
def test_a_sentence_of_places_is_taken(talk, sentence):
    with ScriptedServer(script('{"topk": 3}', json.dumps({"text": sentence}))) as server:
        reply = talk(server).say("show me three")
    titles = [recommendation.title for recommendation in reply.recommendations]
    for place, title in enumerate(titles, 1):
        sentence = sentence.replace(f"[{place}]", title)
    assert reply.phrased == sentence and not reply.notes


def test_a_question_is_answered_without_the_server(talk):
    with ScriptedServer(script('{"liked": ["Heat"]}')) as server:
        conversation = talk(server)
        assert conversation.say("Heat was great").question.startswith("Which one: ")
        asked = len(server.bodies)
        reply = conversation.say("2")
        assert reply.read_by == "language model" and reply.understood == "Understood: you liked Heat (2)."
        assert len(server.bodies) == asked + 1  # for the sentence


def test_replies_are_kept(talk):
    with ScriptedServer(script('{"topk": 3}')) as server:
        for _ in range(2):
            assert talk(server).say("show me three").read_by == "language model"
        assert len(server.bodies) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"request_attempts": 0}, "'request_attempts' must be"),
        ({"base_url": "localhost"}, "'base_url' must begin with http"),
        ({"few_shot": 3}, "Unknown setting of a language model 'few_shot'"),
    ],
)
def test_settings_are_checked(talk, settings, message):
    with ScriptedServer(script("{}")) as server, pytest.raises(GenRecError, match=message):
        talk(server, **settings)
