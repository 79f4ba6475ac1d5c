"""Replies of a chat server: what comes over the wire, what is kept on disk, and what is read out of a text."""

import json
import math
from dataclasses import dataclass, field
from importlib import import_module

import openai

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import RIGHT, Target
from benchmarks.fuzz.world import TITLES
from recbole_genrec.chat.client import Answer, ChatClient
from recbole_genrec.chat.grounding import Grounder, read_number, read_text, read_titles

#: of the HTTP library that the openai package has been built on, httpx or its successor.
HTTP = import_module(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])
#: what a long answer may be made of.
REPEATED = (
    "\n",
    " ",
    "[",
    '"',
    "\\",
    "1. ",
    "- a",
    "- a ",
    "(",
    "`",
    "Heat\n",
    "other\n",
    "{",
    '"a',
    '"\\\n',
    "\t\n",
    "9",
)
COMPLETION = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "small",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": '{"titles": ["Heat", "Up"]}'}}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16},
}


@dataclass
class Settings:
    """The settings that a client reads."""

    chat_cache: str
    base_url: str = "http://localhost:1/v1"
    chat_model: str = "small"
    api_key_env: str = "RECBOLE_GENREC_NO_SUCH_KEY"
    chat_options: dict = field(default_factory=dict)
    json_mode: bool = False
    concurrency: int = 4
    request_attempts: int = 2
    request_timeout: float = 30.0
    retry_wait: float = 0.0
    input_price: float = 1.0
    output_price: float = 1.0


class _Openai:
    """The openai package, its client over a transport without a socket."""

    def __init__(self, reply):
        self._reply = reply

    def __getattr__(self, name):
        return getattr(openai, name)

    def AsyncOpenAI(self, **settings):
        client = openai.DefaultAsyncHttpxClient(transport=HTTP.MockTransport(self._reply))
        return openai.AsyncOpenAI(http_client=client, **settings)


class Wire(Target):
    """A reply of the server: an answer, or an error that names the model and the server."""

    name = "server replies"
    share = 3

    def case(self, draw):
        content = self._content(draw)
        status = draw.choice((200,) * 8 + (201, 204, 301, 400, 401, 422, 429, 500, 503, 600))
        kinds = ("application/json",) * 6 + ("text/html", "", "application/json; charset=x")
        headers = {"content-type": draw.choice(kinds)}
        if draw.random() < 0.2:
            headers["retry-after"] = draw.choice(("0", "-1", "nan", "x", "0.001", "Wed, 21 Oct 2015 07:28:00 GMT"))
        self.input = {"reply": content, "status": f"{status} {headers}"}
        self.places = ("Chat model 'small' at http://localhost:1/v1",)
        client = ChatClient(Settings(str(self.folder / "cache" / str(draw.random()))))
        client._openai = _Openai(lambda request: HTTP.Response(status, headers=headers, content=content))
        conversation = [{"role": "user", "content": mutate.text(draw)}]
        (answer,) = client.ask([conversation])
        check_answer(answer)
        usage = client.report()
        assert usage["requests"] == 1 and math.isfinite(usage["cost"]) and usage["cost"] >= 0
        json.dumps(usage)
        again = ChatClient(client.settings)
        again._openai = None  # what is kept is not asked for again
        assert again.ask([conversation]) == [answer]
        self._spoil(draw, client, conversation, answer)
        return RIGHT

    @staticmethod
    def _content(draw):
        kind = draw.randrange(6)
        if kind == 0:
            return mutate.some_bytes(draw, json.dumps(COMPLETION).encode())
        if kind == 1 and draw.random() < 0.3:
            return mutate.nested(draw).encode()
        if kind == 2:
            broken = json.loads(json.dumps(COMPLETION))
            broken["choices"][0]["message"]["content"] = mutate.value(draw)
            return json.dumps(broken).encode()
        if kind == 3:
            broken = {**COMPLETION, "usage": mutate.structure(draw, COMPLETION["usage"])}
            return json.dumps(broken).encode()
        return json.dumps(mutate.structure(draw, COMPLETION)).encode()

    def _spoil(self, draw, client, conversation, answer):
        """Break what is kept: it is asked for once more, or it is an answer still."""
        path = client.cache.path(client.cache.key(client.base_url, client._body(conversation)))
        kept = json.loads(path.read_text("utf-8"))
        if draw.random() < 0.5:
            path.write_bytes(json.dumps(mutate.structure(draw, kept)).encode())
        else:
            path.write_bytes(mutate.some_bytes(draw, path.read_bytes()))
        other = ChatClient(client.settings)
        other._openai = _Openai(lambda request: HTTP.Response(200, json=COMPLETION))
        (found,) = other.ask([conversation])
        check_answer(found)
        assert math.isfinite(other.report()["cost"])


def check_answer(answer):
    """An answer has the types that its readers count on."""
    assert isinstance(answer, Answer) and isinstance(answer.text, str)
    assert answer.finish_reason is None or isinstance(answer.finish_reason, str)
    for count in (answer.input_tokens, answer.output_tokens):
        assert count is None or (isinstance(count, int) and not isinstance(count, bool) and count >= 0)


class Texts(Target):
    """The text of an answer: items of the catalogue, none twice, everything counted."""

    name = "texts of answers"
    share = 3
    candidates = (2, 3, 5)

    def case(self, draw):
        text = self._text(draw)
        self.input = {"text": text}
        grounder = Grounder([*TITLES, "</s>", "1", "(", "&amp;", "x" * 10_000], 90)
        limit, candidates = draw.randint(1, 5), draw.choice((None, self.candidates))
        items = grounder.ground(text, limit, candidates)
        report = grounder.report.report()
        assert len(set(items)) == len(items) <= limit
        assert set(items) <= set(candidates or range(1, 13))
        counted = [report[kind] for kind in ("exact", "fuzzy", "repeated", "out_of_candidates", "invented")]
        assert report["titles"] == sum(counted) and report["answers"] == 1
        assert len(items) == report["exact"] + report["fuzzy"]
        assert report["refused"] == int(report["titles"] == 0)
        titles, form = read_titles(text)
        assert all(isinstance(title, str) and title.strip() for title in titles)
        assert form in ("json", "repaired", "lines")
        number = read_number(text, "rating", 1, 5)
        assert number is None or 1 <= number <= 5
        assert len(read_text(text, "explanation").splitlines()) <= 1
        return RIGHT

    @staticmethod
    def _text(draw):
        titles = [draw.choice((*TITLES, mutate.text(draw))) for _ in range(draw.randint(0, 6))]
        kind = draw.randrange(8)
        if kind == 0:
            return json.dumps({"titles": titles})
        if kind == 1:
            return json.dumps(mutate.structure(draw, {"titles": titles, "rating": 3, "explanation": "a"}))
        if kind == 2:
            return "\n".join(f"{number}. {title}" for number, title in enumerate(titles))
        if kind == 3:
            return mutate.nested(draw)
        if kind == 4:
            return json.dumps({"rating": mutate.value(draw), "explanation": mutate.value(draw)})
        if kind == 5:
            return draw.choice(REPEATED) * draw.choice((100, 5_000, 100_000))
        broken = mutate.some_bytes(draw, json.dumps({"titles": titles}).encode("utf-8", "ignore"))
        return ("Sure! ```json\n" if kind == 6 else "") + broken.decode("utf-8", "replace")
