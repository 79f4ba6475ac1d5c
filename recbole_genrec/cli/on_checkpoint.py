"""The commands that read a checkpoint: ``recommend``, ``add_items`` and ``export``."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from recbole_genrec.cli.conversing import ATTEMPTS, MODEL_OPTIONS, check_options, converse
from recbole_genrec.cli.on_many_rows import MANY, recommend_rows
from recbole_genrec.errors import GenRecError


@dataclass(frozen=True)
class Question:
    """What is asked of a recommender."""

    #: pairs ``("history", title)`` and ``("item", raw id)``, the oldest first.
    entries: tuple = ()
    #: raw id of a user whose interactions come before the entries, and the folder of the dataset's folder.
    user: str | None = None
    data_path: str | None = None
    #: the moment that is asked for, as ISO text; ``None``: now.
    at: str | None = None
    topk: int = 10
    #: pairs ``("where", condition)``, which must all hold.
    where: tuple = ()
    exclude_seen: bool = False
    #: pairs ``("exclude", raw item id)``.
    exclude: tuple = ()
    explain: bool = False
    #: print JSON.
    json: bool = False
    #: talk.
    chat: bool = False


def recommend(checkpoint, trust_remote_code=False, asked_users=(), **asked):
    """Print the most probable next items of a history, write those of many users, or talk.

    Args:
        checkpoint: a trained model. trust_remote_code: run code that comes with it.
        asked_users: pairs ``("user", raw id)``.
        asked: the fields of a :class:`Question`, options of a conversation's language model, and the options of
            :func:`~.on_many_rows.recommend_rows`.
    """
    language_model = {option.name: asked.pop(option.name) for option in MODEL_OPTIONS if option.name in asked}
    if len(asked_users) > 1 or asked.keys() & MANY:
        if asked.get("chat") or language_model:
            raise GenRecError("command line: --chat talks about one history.")
        return recommend_rows(checkpoint, trust_remote_code, tuple(user for _, user in asked_users), **asked)
    question = Question(user=asked_users[0][1] if asked_users else None, **asked)
    check_options(question.chat, question.exclude_seen, question.explain, language_model)
    if not question.entries and question.user is None and not question.chat:
        raise GenRecError("command line: whose history? Give --history, --item or --user; or --users, --input.")
    from recbole_genrec.serve.conditions import parse_where

    where = parse_where([text for _, text in question.where]) or None
    recommender = _load(checkpoint, trust_remote_code, question.data_path)
    if question.data_path is not None and question.user is None and recommender.name == "GenRec":
        raise GenRecError("command line: --data_path is for --user.")
    history = _history(recommender, question)
    unknown = list(history.unknown)
    if question.chat:
        if unknown:
            print(_left_out(question, unknown), file=sys.stderr)
        _talk(recommender, history, where, question, language_model)
        return None
    exclude = [item for _, item in question.exclude]
    how = (question.topk, where, question.exclude_seen, question.at, exclude)
    explanation = recommender.explain(history, *how) if question.explain else None
    answer = explanation.answer if explanation else recommender.answer([history], *how)[0]

    from recbole_genrec.serve.answers import as_json, print_answer

    if question.json:
        print(json.dumps({**as_json(answer, explanation), "unknown_items": unknown}, ensure_ascii=False, indent=2))
        return None
    if unknown:
        print(_left_out(question, unknown))
    print_answer(answer, explanation)
    return None


def _left_out(question, unknown):
    return f"Not in the catalogue, left out of the history of {question.user}: {', '.join(unknown)}"


def _talk(recommender, history, where, question, language_model):
    from recbole_genrec.serve.conversation import Conversation

    if language_model:
        language_model = {"request_attempts": ATTEMPTS, **language_model}
        if "request_timeout" in language_model:
            language_model["request_timeout"] = float(language_model["request_timeout"])
    conversation = Conversation(recommender, history, question.topk, where, language_model or None, question.at)
    converse(conversation, begin=bool(history or where), as_json=question.json)


def _history(recommender, question):
    """The user's interactions, and the entries of the command line behind them."""
    from recbole_genrec.serve.history_reader import ItemId, UserHistory

    user = question.user
    history = UserHistory([]) if user is None else recommender.history_of(user)
    history += [ItemId(text) if kind == "item" else text for kind, text in question.entries]
    return history


def add_items(checkpoint, items, output, trust_remote_code=False):
    """Write a checkpoint with new items in its catalogue, and print which."""
    from recbole_genrec.checkpoint.folder import existing

    existing(checkpoint)  # what is not there is said before torch is imported
    if not Path(items).is_file():
        raise GenRecError(f"New items: the file {items} does not exist.")
    recommender = _load(checkpoint, trust_remote_code, only_genrec=True)
    before = len(recommender.reader.titles)
    recommender.add_items(items)
    recommender.save(output)
    titles = recommender.reader.titles[before:]
    print(f"{len(titles)} new items in {output}, {before + len(titles)} in all: {', '.join(titles[:5])}")


def export(checkpoint, output, **options):
    """Write a checkpoint for other programs, and print what was made."""
    from recbole_genrec.checkpoint.folder import existing

    checkpoint = existing(checkpoint)
    from recbole_genrec.serve.export import export

    print(export(checkpoint, output, **options))


def _load(checkpoint, trust_remote_code, data_path=None, only_genrec=False):
    """The recommender of a trained model; what is not there is said before torch is imported."""
    from recbole_genrec.serve.stored_path import check_path

    check_path(checkpoint)
    from transformers.utils import logging

    from recbole_genrec.serve.protocol import Recommender
    from recbole_genrec.serve.recommender import GenRecommender

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    if only_genrec:
        return GenRecommender.from_checkpoint(checkpoint, trust_remote_code=trust_remote_code)
    return Recommender.load(checkpoint, trust_remote_code=trust_remote_code, data_path=data_path)
