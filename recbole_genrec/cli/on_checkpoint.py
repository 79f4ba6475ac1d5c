"""The commands that read a checkpoint: ``recommend``, ``add_items`` and ``export``."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from recbole_genrec.cli.conversing import ATTEMPTS, MODEL_OPTIONS, check_options, converse
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
    explain: bool = False
    #: print JSON.
    json: bool = False
    #: talk.
    chat: bool = False


def recommend(checkpoint, trust_remote_code=False, **asked):
    """Print the most probable next items of a history, or talk.

    ``asked`` are the fields of a :class:`Question`, and options of a conversation's language model.
    """
    language_model = {option.name: asked.pop(option.name) for option in MODEL_OPTIONS if option.name in asked}
    question = Question(**asked)
    check_options(question.chat, question.exclude_seen, question.explain, language_model)
    if not question.entries and question.user is None and not question.chat:
        raise GenRecError("command line: whose history? Give --history, --item or --user.")
    if question.data_path is not None and question.user is None:
        raise GenRecError("command line: --data_path is for --user.")
    from recbole_genrec.serve.conditions import parse_where

    where = parse_where([text for _, text in question.where]) or None
    recommender = _load(checkpoint, trust_remote_code)
    history, unknown = _history(recommender, question)
    if question.chat:
        if unknown:
            print(_left_out(question, unknown), file=sys.stderr)
        _talk(recommender, history, where, question, language_model)
        return
    how = (question.topk, where, question.exclude_seen, question.at)
    explanation = recommender.explain(history, *how) if question.explain else None
    answer = explanation.answer if explanation else recommender.answer([history], *how)[0]

    from recbole_genrec.serve.answers import as_json, print_answer

    if question.json:
        print(json.dumps({**as_json(answer, explanation), "unknown_items": unknown}, ensure_ascii=False, indent=2))
        return
    if unknown:
        print(_left_out(question, unknown))
    print_answer(answer, explanation)


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
    """The entries of the history, and items of the user's that the catalogue does not have."""
    from recbole_genrec.serve.history_reader import ItemId, UserHistory

    chosen, unknown, of_user, ranker = [], [], {}, recommender.ranker
    if question.user is not None:
        from recbole_genrec.serve.user_history import read_user_history

        entries = read_user_history(
            recommender.settings, question.user, question.data_path, ranker.template, ranker.user_index.columns
        )
        known, of_user = recommender.reader.number, entries.user
        chosen = [entry for entry in entries if entry.item_id in known]
        unknown = [entry.item_id for entry in entries if entry.item_id not in known]
    chosen += [ItemId(text) if kind == "item" else text for kind, text in question.entries]
    return UserHistory(chosen, of_user, question.user), unknown


def add_items(checkpoint, items, output, trust_remote_code=False):
    """Write a checkpoint with new items in its catalogue, and print which."""
    from recbole_genrec.checkpoint.folder import existing

    existing(checkpoint)  # what is not there is said before torch is imported
    if not Path(items).is_file():
        raise GenRecError(f"New items: the file {items} does not exist.")
    recommender = _load(checkpoint, trust_remote_code)
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


def _load(checkpoint, trust_remote_code):
    from recbole_genrec.checkpoint.folder import existing

    existing(checkpoint)  # what is not there is said before torch is imported
    from transformers.utils import logging

    from recbole_genrec.serve.recommender import GenRecommender

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    return GenRecommender.from_checkpoint(checkpoint, trust_remote_code=trust_remote_code)
