"""The commands that read a checkpoint: ``recommend``, ``add_items`` and ``export``."""

import json
import sys

from recbole_genrec.errors import GenRecError


def recommend(
    checkpoint,
    entries=(),
    user=None,
    data_path=None,
    topk=10,
    where=(),
    exclude_seen=False,
    explain=False,
    trust_remote_code=False,
    **printed,
):
    """Print the most probable next items of a history.

    Args:
        entries: pairs ``("history", title)`` and ``("item", raw id)``, the oldest first.
        where: pairs ``("where", condition)``.
        printed: ``json``: whether to print JSON.
    """
    if not entries and user is None:
        raise GenRecError("command line: whose history? Give --history, --item or --user.")
    if data_path is not None and user is None:
        raise GenRecError("command line: --data_path is for --user.")
    from recbole_genrec.serve.conditions import parse_where

    conditions = parse_where([text for _, text in where]) or None
    recommender = _load(checkpoint, trust_remote_code)
    history, unknown = _history(recommender, entries, user, data_path)
    asked = ([history], topk, conditions, exclude_seen)
    explanation = recommender.explain(history, *asked[1:]) if explain else None
    answer = explanation.answer if explanation else recommender.answer(*asked)[0]

    from recbole_genrec.serve.answers import as_json, print_answer

    if printed.get("json"):
        print(json.dumps({**as_json(answer, explanation), "unknown_items": unknown}, ensure_ascii=False, indent=2))
        return
    if unknown:
        print(f"Not in the catalogue, left out of the history of {user}: {', '.join(unknown)}")
    print_answer(answer, explanation)


def _history(recommender, entries, user, data_path):
    """The entries of the history, and items of the user's that the catalogue does not have."""
    from recbole_genrec.serve.history_reader import ItemId

    chosen, unknown = [], []
    if user is not None:
        from recbole_genrec.serve.user_history import read_user_history

        tokens = read_user_history(recommender.settings, user, data_path)
        known = recommender.reader.number
        chosen = [ItemId(token) for token in tokens if token in known]
        unknown = [token for token in tokens if token not in known]
    return chosen + [ItemId(text) if kind == "item" else text for kind, text in entries], unknown


def add_items(checkpoint, items, output, trust_remote_code=False):
    """Write a checkpoint with new items in its catalogue, and print which."""
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
