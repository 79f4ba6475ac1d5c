"""The client against a server that answers late, badly or not at all."""

import asyncio
import json
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="needs the extra 'chat'")

from recbole_genrec.chat.client import ChatClient, _asked_wait
from recbole_genrec.chat.reply_cache import AnswerCache
from recbole_genrec.errors import GenRecError
from tests.servers import ScriptedServer, completion

KEY = "sk-very-secret-0123456789"


@dataclass
class Settings:
    base_url: str
    chat_cache: str
    chat_model: str = "small"
    api_key_env: str = "TEST_CHAT_KEY"
    chat_options: dict = field(default_factory=lambda: {"temperature": 0})
    json_mode: bool = False
    concurrency: int = 4
    request_attempts: int = 4
    request_timeout: float = 60.0  # long enough for a busy machine
    retry_wait: float = 0.01
    input_price: float = 0.0
    output_price: float = 0.0


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_CHAT_KEY", KEY)

    def build(server, **changes):
        return ChatClient(Settings(getattr(server, "url", server), str(tmp_path / "cache"), **changes))

    return build


def questions(count):
    return [[{"role": "user", "content": f"question {number}"}] for number in range(count)]


def echo(body, number):
    return f"answer to {body['messages'][-1]['content']}"


def texts(answers):
    return [answer.text for answer in answers]


EXPECTED = [f"answer to question {number}" for number in range(8)]


def test_answers_come_in_order_and_are_asked_for_once(client, tmp_path):
    with ScriptedServer(echo) as server:
        first = client(server)
        assert texts(first.ask([*questions(8), *questions(3)])) == EXPECTED + EXPECTED[:3]
        assert len(server.bodies) == 8
        assert server.bodies[0].keys() == {"model", "messages", "temperature"}
        assert texts(first.ask(questions(8))) == EXPECTED
        assert first.usage.requests == 8 and first.usage.from_cache == 0
        second = client(server)
        assert texts(second.ask(questions(9)[1:])) == [*EXPECTED[1:], "answer to question 8"]
        assert len(server.bodies) == 9
        assert second.usage.requests == 8 and second.usage.from_cache == 7
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 9


def test_another_model_server_or_parameter_is_another_request(client):
    with ScriptedServer(echo) as server, ScriptedServer(echo) as other:
        client(server).ask(questions(1))
        client(server, chat_model="large").ask(questions(1))
        client(server, chat_options={"temperature": 1}).ask(questions(1))
        client(other).ask(questions(1))
        assert (len(server.bodies), len(other.bodies)) == (3, 1)


def test_requests_are_concurrent_up_to_the_limit(client):
    running, most, lock = [0], [0], threading.Lock()
    three = threading.Barrier(3)

    def count(body, number):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        three.wait(60)  # nobody is answered before three have come
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        return "yes"

    with ScriptedServer(count) as server:
        client(server, concurrency=3).ask(questions(9))
    assert most[0] == 3


ERROR = json.dumps({"error": {"message": "overloaded"}}).encode()
FAULTS = {
    "429": {"status": 429, "body": ERROR, "headers": {"Retry-After": "0.01"}},
    "500": {"status": 500, "body": ERROR},
    "503 without JSON": {"status": 503, "body": b"<html>busy</html>", "headers": {"Content-Type": "text/html"}},
    "408": {"status": 408, "body": ERROR},
    "cut before the answer": {"cut": "before"},
    "cut in the answer": {"cut": "within", "text": "never whole"},
    "slow": {"delay": 6, "text": "late"},
    "dripping": {"drip": 0.05, "text": "late"},
    "half a JSON": {"body": b'{"choices": [{"mess'},
    "no choices": {"body": b'{"choices": []}'},
    "an error with status 200": {"body": ERROR},
    "not JSON at all": {"body": b"hello", "headers": {"Content-Type": "text/plain"}},
}
#: faults that only a time limit ends. On a busy machine it may also end an attempt that the server has not read yet, or
#: was about to answer: how many attempts there are, and how many of them arrive, is then known within bounds alone.
LATE = ("slow", "dripping")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_leaves_a_complete_result(client, fault):
    seen = set()

    def once(body, number):
        question = body["messages"][-1]["content"]
        if question in seen:
            return echo(body, number)
        seen.add(question)
        return FAULTS[fault]

    with ScriptedServer(once) as server:
        limit = {"request_timeout": 1.5, "request_attempts": 9} if fault in LATE else {}
        asking = client(server, **limit)
        assert texts(asking.ask(questions(4))) == EXPECTED[:4]
        if fault in LATE:
            assert 8 <= len(server.bodies) <= 4 + asking.usage.retries
        else:
            assert (asking.usage.retries, len(server.bodies)) == (4, 8)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_one_error(client, fault):
    said = {"429": "status 429", "500": "status 500", "503 without JSON": "status 503", "408": "status 408"}
    said |= {"slow": "no answer within 0.3 seconds", "dripping": "no answer within 0.3 seconds"}
    said |= dict.fromkeys(("cut before the answer", "cut in the answer"), "the connection failed")

    def broken(body, number):
        return echo(body, number) if body["messages"][-1]["content"] == "question 0" else FAULTS[fault]

    with ScriptedServer(broken) as server:
        if fault in LATE:  # a limit that these run into could be too short for the first question, too
            client(server).ask(questions(1))
        with pytest.raises(GenRecError) as caught:
            limit = {"request_timeout": 0.3} if fault in LATE else {}
            client(server, request_attempts=2, concurrency=1, **limit).ask(questions(3))
        assert said.get(fault, "an answer that is no chat completion") in str(caught.value)
        assert "after 2 attempts. 1 answers of this run are kept" in str(caught.value)
        asked = [body["messages"][-1]["content"] for body in server.bodies]
        assert asked[0] == "question 0" and set(asked[1:]) <= {"question 1"}  # nothing is sent after the failure
        assert len(asked) == 3 or fault in LATE
        assert KEY not in str(caught.value)
    with ScriptedServer(echo) as server:
        assert texts(client(server).ask(questions(3))) == EXPECTED[:3]


def test_nobody_listens(client):
    with ScriptedServer(echo) as server:
        url = server.url
    with pytest.raises(GenRecError, match="the connection failed .* after 2 attempts"):
        client(url, request_attempts=2).ask(questions(2))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_cannot_succeed_is_not_tried_again(client, status):
    said = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}."}}).encode()
    with ScriptedServer(lambda body, number: {"status": status, "body": said}) as server:
        with pytest.raises(GenRecError, match=rf"status {status} \(Incorrect API key provided: \*\*\*\.\), after 1 at"):
            client(server, concurrency=1).ask(questions(5))
        assert len(server.bodies) == 1


def test_an_empty_account_is_not_tried_again(client):
    said = json.dumps({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}).encode()
    with ScriptedServer(lambda body, number: {"status": 429, "body": said}) as server:
        with pytest.raises(GenRecError, match="exceeded your quota"):
            client(server).ask(questions(1))
        assert len(server.bodies) == 1


def test_retry_after_is_honoured(client):
    def busy(body, number):
        return echo(body, number) if number else FAULTS["429"] | {"headers": {"Retry-After": "0.7"}}

    with ScriptedServer(busy) as server:
        started = time.perf_counter()
        assert texts(client(server).ask(questions(1))) == EXPECTED[:1]
        assert time.perf_counter() - started >= 0.7


def test_retry_after_may_be_a_date():
    assert 50 < _asked_wait({"retry-after": formatdate(time.time() + 60, usegmt=True)}) <= 60
    assert _asked_wait({"retry-after": "2"}) == 2
    assert _asked_wait({"retry-after": "soon"}) is None
    assert _asked_wait({}) is None


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_the_response_format_is_asked_without_it(client, status, caplog):
    said = json.dumps({"error": {"message": "Unexpected fields: {'response_format'}"}}).encode()

    def strict(body, number):
        return {"status": status, "body": said} if "response_format" in body else echo(body, number)

    with ScriptedServer(strict) as server:
        asking = client(server, json_mode=True, concurrency=1)
        assert texts(asking.ask(questions(3))) == EXPECTED[:3]
        assert [("response_format" in body) for body in server.bodies] == [True, False, False, False]
        assert caplog.text.count("refuses 'response_format'") == 1
        assert asking.usage.retries == 0
        client(server, json_mode=True).ask(questions(3))
        assert len(server.bodies) == 4  # the cache knows them as they were sent


def test_json_mode_asks_for_json(client):
    with ScriptedServer(echo) as server:
        client(server, json_mode=True).ask(questions(1))
        assert server.bodies[0]["response_format"] == {"type": "json_object"}


def test_tokens_and_cost_are_counted_once(client):
    with ScriptedServer(echo) as server:
        first = client(server, input_price=2.0, output_price=10.0)
        first.ask(questions(4)), first.ask(questions(4))
        report = first.report()
        assert (report["input_tokens"], report["output_tokens"]) == (8, 16)
        assert report["cost"] == report["spent"] == pytest.approx((8 * 2 + 16 * 10) / 1e6)
        second = client(server, input_price=2.0, output_price=10.0)
        second.ask(questions(4))
        assert second.report()["cost"] == report["cost"] and second.report()["spent"] == 0
        assert client(server).report()["cost"] is None


def test_a_server_that_counts_no_tokens(client):
    def silent(body, number):
        return {"body": json.dumps(completion("yes", body, usage=False)).encode()}

    with ScriptedServer(silent) as server:
        asking = client(server)
        asking.ask(questions(2))
        assert (asking.usage.without_usage, asking.usage.input_tokens) == (2, 0)


def test_a_refusal_is_an_empty_answer(client):
    def refusing(body, number):
        found = completion("", body, finish_reason="content_filter")
        found["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "no"}
        return {"body": json.dumps(found).encode()}

    with ScriptedServer(refusing) as server:
        assert client(server).ask(questions(1))[0].text == ""


def test_the_key_is_sent_and_nowhere_written(client, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with ScriptedServer(echo) as server:
        asking = client(server)
        asking.ask(questions(2))
        assert server.keys == [f"Bearer {KEY}"] * 2
    assert not any(KEY in path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in caplog.text
    assert "HTTP Request" not in caplog.text
    assert KEY not in json.dumps(asking.report())


def test_a_server_of_ones_own_needs_no_key(client, monkeypatch):
    monkeypatch.delenv("TEST_CHAT_KEY")
    with ScriptedServer(echo) as server:
        assert texts(client(server).ask(questions(1))) == EXPECTED[:1]
    with pytest.raises(GenRecError, match="no API key in the environment variable 'TEST_CHAT_KEY'"):
        client("")


def test_a_missing_library_is_named(client, monkeypatch):
    monkeypatch.setattr("recbole_genrec.chat.client.find_spec", lambda name: None)
    with pytest.raises(GenRecError, match=r"recbole_genrec\[chat\]"):
        client("http://127.0.0.1:1")


def test_a_running_event_loop_is_no_obstacle(client):
    async def notebook(asking):
        return asking.ask(questions(2))

    with ScriptedServer(echo) as server:
        assert texts(asyncio.run(notebook(client(server)))) == EXPECTED[:2]


class Killed(BaseException):
    """The process ends."""


@pytest.mark.parametrize("moment", range(6))
def test_a_kill_at_any_point_repeats_no_finished_request(client, monkeypatch, moment):
    """Killed before or after the n-th answer gets its name, then run again: every answer was sent for once, but for the
    one that was being written."""
    renames, rename = [], Path.replace

    def killing(self, target):
        renames.append(target)
        if len(renames) == moment // 2 + 1:
            if moment % 2:
                rename(self, target)
            raise Killed
        return rename(self, target)

    with ScriptedServer(echo) as server:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", killing)
            with pytest.raises(Killed):
                client(server, concurrency=1).ask(questions(4))
        finished = moment // 2 + moment % 2
        before = len(server.bodies)
        again = client(server, concurrency=1)
        assert texts(again.ask(questions(4))) == EXPECTED[:4]
        assert again.usage.from_cache >= finished
        assert len(server.bodies) - before == 4 - again.usage.from_cache


def test_damaged_files_are_asked_for_again(tmp_path):
    cache = AnswerCache(tmp_path / "cache")
    key = cache.key("http://here", {"model": "small"})
    assert cache.get(key) is None
    cache.prepare()
    cache.put(key, {"text": "yes \ud800"})
    assert cache.get(key)["text"] == "yes \ud800"
    for damaged in (b"", b'{"text": "ye', b"[]", b'{"text": null}', b"\xff"):
        cache.path(key).write_bytes(damaged)
        assert cache.get(key) is None


def test_a_folder_that_cannot_be_written_is_one_error(client, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with ScriptedServer(echo) as server:
        with pytest.raises(GenRecError, match="'chat_cache'"):
            client(server).ask(questions(1))
        assert server.bodies == []


def test_no_temporary_file_stays(client, tmp_path):
    with ScriptedServer(echo) as server:
        client(server).ask(questions(3))
    assert not [name for name in os.listdir(tmp_path / "cache") if name.endswith(".tmp")]
    assert not list((tmp_path / "cache").rglob(".*"))
