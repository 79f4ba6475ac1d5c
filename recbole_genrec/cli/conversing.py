"""``recommend --chat``: a conversation on standard input and output, and the options of its language model."""

import json
import sys
from contextlib import suppress
from dataclasses import asdict

from recbole_genrec.cli.options import Option, flag, positive_number
from recbole_genrec.errors import GenRecError

#: turns that end a conversation.
ENDINGS = ("exit", "quit", "bye")
#: attempts of a request where nothing is said: a person waits.
ATTEMPTS = 2
#: keys of PromptLLM that name the language model.
MODEL_OPTIONS = (
    Option(
        "chat_model", "of --chat: name of a model at an OpenAI-compatible server; without one, rules", metavar="NAME"
    ),
    Option(
        "base_url",
        "of --chat_model: address of the server, such as http://localhost:8000/v1",
        metavar="URL",
        default="OpenAI's own",
    ),
    Option(
        "api_key_env",
        "of --chat_model: environment variable that holds the API key",
        metavar="NAME",
        default="OPENAI_API_KEY",
    ),
    flag("json_mode", "of --chat_model: ask for 'response_format: json_object'; where refused, go on without"),
    Option("request_attempts", "of --chat_model: attempts of a request", positive_number, "N", default=ATTEMPTS),
    Option(
        "request_timeout", "of --chat_model: seconds until an attempt is given up", positive_number, "N", default=120
    ),
    Option("chat_cache", "of --chat_model: folder of replies", metavar="FOLDER", default="chat_cache"),
)
OPTIONS = (
    flag("chat", "talk: read turns line by line, 'exit' ends it; the history's items are always left out"),
    *MODEL_OPTIONS,
)


def check_options(chat, exclude_seen, explain, model):
    """Refuse options that do not go together; ``model`` holds those of the language model that were given.

    Raises:
        GenRecError: so.
    """
    if model and not chat:
        raise GenRecError(f"command line: --{next(iter(model))} is for --chat.")
    if model and "chat_model" not in model:
        raise GenRecError(f"command line: --{next(iter(model))} is for --chat_model.")
    if chat and exclude_seen:
        raise GenRecError(
            "command line: --exclude_seen is not for --chat, which always leaves the history's items out."
        )
    if chat and explain:
        raise GenRecError("command line: --explain is not for --chat; the turn 'why' says what was understood.")


def converse(conversation, begin, as_json):
    """Answer standard input turn by turn.

    Args:
        conversation: :class:`~recbole_genrec.serve.conversation.Conversation`.
        begin: whether to show the list before the first turn.
        as_json: print a line of JSON a turn.
    """
    show = print_json if as_json else print_reply
    if begin:
        show(conversation.recommend())
    for turn in _turns():
        show(conversation.say(turn))


def _turns():
    """Yield the lines of standard input that are not empty, up to one that ends the conversation.

    Only a person at a terminal is prompted.
    """
    for line in _typed() if sys.stdin.isatty() else _piped():
        if line.strip().casefold() in ENDINGS:
            return
        if line.strip():
            yield line.strip()


def _typed():
    with suppress(ImportError):  # not on Windows
        import readline  # noqa: F401  lets the line be edited

    print("Say what you liked and what you want; 'exit' ends.")
    while True:
        try:
            yield input("> ")
        except EOFError:
            print()
            return


def _piped():
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    yield from sys.stdin


def print_reply(reply):
    """Print a reply for people: the list, and a sentence."""
    for note in reply.notes:
        print(f"({note})")
    width = max((len(each.title) for each in reply.recommendations), default=0)
    for each in reply.recommendations:
        print(f"{each.rank:>3}  {each.title:<{width}}  {_certainty(each)}")
    print(reply.line)
    if reply.phrased:
        print(reply.phrased)
    print(flush=True)


def print_json(reply):
    """Print a reply for programs, in one line."""
    print(json.dumps(asdict(reply), ensure_ascii=False), flush=True)


def _certainty(item):
    """The probability of an item, or the score that its model gives instead."""
    return f"{item.score:.4f}" if hasattr(item, "score") else f"{item.probability:.2%}"
