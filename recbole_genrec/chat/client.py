"""Requests to an OpenAI-compatible server: concurrent, retried where that helps, and cached on disk."""

import asyncio
import os
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from logging import WARNING, getLogger

from recbole_genrec.chat.reply_cache import AnswerCache, is_count
from recbole_genrec.errors import GenRecError

#: HTTP statuses after which the same request may succeed.
TRANSIENT = (408, 409, 425, 429)
#: longest wait between two attempts, in seconds: of the client's backoff, and of a server's Retry-After.
LONGEST_BACKOFF, LONGEST_ASKED = 60.0, 600.0
#: characters of an answer that are read: more than any model writes, and few enough to search.
LONGEST_ANSWER = 1_000_000
#: the key sent to a server that needs none.
NO_KEY = "none"
#: a shorter key is a placeholder, such as EMPTY, which an answer may hold by chance.
SHORTEST_KEY = 16


@dataclass(frozen=True)
class Answer:
    """One answer of a server."""

    #: the text; empty if the server refused to answer or filtered the answer.
    text: str
    finish_reason: str | None
    #: as the server counts them; ``None`` if it does not.
    input_tokens: int | None
    output_tokens: int | None


@dataclass
class Usage:
    """The usage of a run. A request counts once, even if its answer is used several times."""

    requests: int = 0
    #: requests answered from the cache.
    from_cache: int = 0
    #: attempts that had to be repeated.
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    #: answers whose tokens the server did not count.
    without_usage: int = 0


class _Abandoned(Exception):
    """A request was not sent because another one failed in all its attempts."""


class ChatClient:
    """Send requests to a server and cache the answers.

    Args:
        settings: :class:`~recbole_genrec.config.arguments.PromptLLMArguments`.

    Attributes:
        usage: :class:`Usage` since the client was made.

    Raises:
        GenRecError: ``openai`` is not installed, there is no API key where one is needed, or it cannot be one.
    """

    def __init__(self, settings):
        if find_spec("openai") is None:
            raise GenRecError("'ranking: chat' needs openai: pip install 'recbole_genrec[chat]'.")
        import openai

        self._openai, self.settings = openai, settings
        self._key = os.environ.get(settings.api_key_env, "").strip()  # a file ends with a line break
        if not (self._key.isascii() and self._key.isprintable()):  # the HTTP library would show it in its error
            raise GenRecError(
                f"The environment variable {settings.api_key_env!r} ('api_key_env') holds characters that no key has."
            )
        if not self._key and not settings.base_url:
            raise GenRecError(
                f"'ranking: chat' finds no API key in the environment variable {settings.api_key_env!r} "
                "('api_key_env'). Set it, or name another server in 'base_url'."
            )
        self.base_url = settings.base_url or "https://api.openai.com/v1"
        self.cache = AnswerCache(settings.chat_cache)
        self.usage = Usage()
        self._counted, self._sent_tokens = set(), (0, 0)
        self._json_mode = settings.json_mode
        # not RecBole's seeded generator: the number of waits must not change what is measured.
        self._random = random.Random()

    def ask(self, conversations):
        """Answer conversations, in their order; equal ones are sent once.

        Args:
            conversations: lists of messages, ``{"role": ..., "content": ...}``.

        Returns:
            A list of :class:`Answer`.

        Raises:
            GenRecError: a request has failed after all attempts. Earlier answers are kept in the cache.
        """
        bodies = [self._body(messages) for messages in conversations]
        keys = [self.cache.key(self.base_url, body) for body in bodies]
        with _quiet_libraries():
            answers = _run(self._ask_all(dict(zip(keys, bodies))))
        return [answers[key] for key in keys]

    def _body(self, messages):
        body = {"model": self.settings.chat_model, "messages": messages}
        if self.settings.json_mode:
            body["response_format"] = {"type": "json_object"}
        options = {**body, **self.settings.chat_options}
        return {key: value for key, value in options.items() if value is not None}

    async def _ask_all(self, bodies):
        answers, unknown = {}, {}
        for key, body in bodies.items():
            entry = self._kept(key, body)
            if entry is None:
                unknown[key] = body
            else:
                answers[key] = self._count(key, entry, from_cache=True)
        if not unknown:
            return answers
        self.cache.prepare()
        self._stop = asyncio.Event()
        limit = asyncio.Semaphore(self.settings.concurrency)
        async with self._openai.AsyncOpenAI(
            api_key=self._key or NO_KEY,
            base_url=self.base_url,
            max_retries=0,  # the client repeats requests itself: attempts are a setting, and are counted
            timeout=self.settings.request_timeout,
        ) as server:
            tasks = [self._ask_one(server, limit, key, body) for key, body in unknown.items()]
            results = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in sorted(failures, key=lambda failure: isinstance(failure, _Abandoned)):
            raise failure
        return answers | dict(zip(unknown, results))

    def _kept(self, key, body):
        """The cache's entry of a request, also of one sent without ``response_format``."""
        entry = self.cache.get(key)
        if entry is None and "response_format" in body:
            entry = self.cache.get(self.cache.key(self.base_url, _without_format(body)))
        return entry

    async def _ask_one(self, server, limit, key, body):
        async with limit:
            try:
                entry, sent = await self._attempts(server, body)
                request = {"base_url": self.base_url, **sent}
                self.cache.put(self.cache.key(self.base_url, sent), {"request": request, **entry})
            except BaseException:
                self._stop.set()  # requests under way may finish, and their answers are kept; nothing new is sent
                raise
        return self._count(key, entry, from_cache=False)

    async def _attempts(self, server, body):
        """Send a request until it is answered; returns the entry and the body sent last."""
        openai, attempt = self._openai, 0
        while True:
            if self._stop.is_set():
                raise _Abandoned
            attempt += 1
            sent, asked_wait = body if self._json_mode else _without_format(body), None
            try:
                return await self._send(server, sent), sent
            except (asyncio.TimeoutError, openai.APITimeoutError):
                problem = f"no answer within {self.settings.request_timeout:g} seconds ('request_timeout')"
            except openai.APIConnectionError as error:
                problem = f"the connection failed ({self._without_key(_cause(error))})"
            except openai.APIStatusError as error:
                if self._refuses_format(error, sent):
                    attempt -= 1
                    continue
                problem = f"status {error.status_code} ({self._said(error)})"
                if not _is_transient(error):
                    raise self._failure(problem, attempt) from None
                asked_wait = _asked_wait(error.response.headers)
            except (openai.APIError, ValueError, RecursionError) as error:
                problem = f"an answer that is no chat completion ({self._without_key(_cause(error))})"
            if attempt == self.settings.request_attempts:
                raise self._failure(problem, attempt)
            self.usage.retries += 1
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._wait(attempt, asked_wait))

    async def _send(self, server, body):
        options = {key: value for key, value in body.items() if key not in ("model", "messages")}
        # httpx limits only the time between two bytes: a server that sends byte by byte would never time out.
        completion = await asyncio.wait_for(
            server.chat.completions.create(model=body["model"], messages=body["messages"], extra_body=options),
            self.settings.request_timeout,
        )
        return {name: self._unsaid(value) for name, value in _entry(completion).items()}

    def _unsaid(self, value):
        """A part of an answer without the API key, which a server may repeat."""
        if isinstance(value, str) and len(self._key) >= SHORTEST_KEY:
            return value.replace(self._key, "***")
        return value

    def _refuses_format(self, error, sent):
        """Whether an error says that a server does not know ``response_format``; later requests leave it out."""
        if "response_format" not in sent or error.status_code not in (400, 422):
            return False
        if "response_format" not in f"{error.message} {error.param} {error.body}":
            return False
        if self._json_mode:
            self._json_mode = False
            getLogger().warning(f"{self.base_url} refuses 'response_format' ('json_mode'): asking without it.")
        return True

    def _wait(self, attempt, asked):
        """Seconds until the next attempt: exponential backoff with jitter, at least what the server asks for."""
        backoff = min(self.settings.retry_wait * 2 ** (attempt - 1), LONGEST_BACKOFF) * (
            0.5 + self._random.random() / 2
        )
        return backoff if asked is None else min(max(backoff, asked), LONGEST_ASKED)

    def _said(self, error):
        body = error.body if isinstance(error.body, dict) else {}
        return self._without_key(str(body.get("message") or error.message))

    def _without_key(self, text):
        text = " ".join(text.split())
        return (text.replace(self._key, "***") if self._key else text)[:300]

    def _failure(self, problem, attempts):
        tried = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        return GenRecError(
            f"Chat model {self.settings.chat_model!r} at {self.base_url}: {problem}, after {tried}. "
            f"{len(self._counted)} answers of this run are kept in {str(self.cache.folder)!r}: the same command goes "
            "on from there."
        )

    def _count(self, key, entry, from_cache):
        answer = Answer(*(entry.get(name) for name in ("text", "finish_reason", "input_tokens", "output_tokens")))
        if key in self._counted:
            return answer
        self._counted.add(key)
        usage, tokens = self.usage, (answer.input_tokens or 0, answer.output_tokens or 0)
        usage.requests += 1
        usage.without_usage += answer.input_tokens is None or answer.output_tokens is None
        usage.input_tokens += tokens[0]
        usage.output_tokens += tokens[1]
        if from_cache:
            usage.from_cache += 1
        else:
            self._sent_tokens = tuple(map(sum, zip(self._sent_tokens, tokens)))
        return answer

    def report(self):
        """The usage, ready for JSON, with its costs.

        ``cost`` counts all answers, ``spent`` those that were not cached; both are ``None`` if no prices are known.
        """
        used = (self.usage.input_tokens, self.usage.output_tokens)
        return {**asdict(self.usage), "cost": self._price(used), "spent": self._price(self._sent_tokens)}

    def _price(self, tokens):
        prices = (self.settings.input_price, self.settings.output_price)
        return sum(count * price for count, price in zip(tokens, prices)) / 1e6 if any(prices) else None


def _entry(completion):
    """The entry of a completion for the cache.

    Raises:
        ValueError: it is not a completion.
    """
    choices = getattr(completion, "choices", None)
    message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
    if message is None:
        raise ValueError(f"it has no choices: {str(completion)[:100]!r}")
    usage = getattr(completion, "usage", None)
    text = _text(message, "content") or ""
    if len(text) > LONGEST_ANSWER:
        raise ValueError(f"it is {len(text):,} characters long")
    return {
        "text": text,
        "refusal": _text(message, "refusal"),
        "finish_reason": _text(choices[0], "finish_reason"),
        "input_tokens": _count(usage, "prompt_tokens"),
        "output_tokens": _count(usage, "completion_tokens"),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _text(part, name):
    """A text of a completion. A server may send another type, which the openai package passes on unchecked."""
    value = getattr(part, name, None)
    return value if isinstance(value, str) else None


def _count(usage, name):
    value = getattr(usage, name, None)
    return value if is_count(value) else None


def _without_format(body):
    return {key: value for key, value in body.items() if key != "response_format"}


def _is_transient(error):
    if error.code == "insufficient_quota":  # OpenAI sends 429 for an empty account, too
        return False
    return error.status_code in TRANSIENT or error.status_code >= 500


def _asked_wait(headers):
    """Seconds that a server asks to wait (RFC 9110, Retry-After: seconds or a date), or ``None``."""
    asked = headers.get("retry-after")
    if asked is None:
        return None
    try:
        return max(float(asked), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(asked) - datetime.now(timezone.utc)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _cause(error):
    text = str(error.__cause__ or error)
    return " ".join(text.split())[:200] or type(error.__cause__ or error).__name__


def _run(coroutine):
    """Run a coroutine to its end, even if an event loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


@contextmanager
def _quiet_libraries():
    """Silence the HTTP libraries, which log every request at INFO, the level of RecBole's log."""
    loggers = [getLogger(name) for name in ("openai", "httpx", "httpx2")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, WARNING))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
