"""The commands ``recommend`` and ``add_items``."""

import json
import sys
from collections import Counter

from recbole_genrec.errors import GenRecError, unknown_name

RECOMMEND_HELP = """\
Recommend items with a trained checkpoint.

  python -m recbole_genrec recommend --checkpoint DIR --history "Toy Story (1995)" --history "Fargo (1996)"
  python -m recbole_genrec recommend --checkpoint DIR --user 196 --where "class=Comedy" --exclude_seen --explain

--checkpoint     a checkpoint folder of GenRec, such as the one that the JSON of its results names
--history TITLE  an entry of the history, the oldest first; once for each. A title that the catalogue does not have is
                 matched with a similar one, or else read as free text
--item ID        an entry of the history by its raw item id, in its place among the others
--user ID        a user of the dataset: the history begins with what the user has chosen, as the run's filters leave it
--data_path      the folder that holds the dataset's folder, for --user; by default where it was in training
--topk K         length of the list (default 10)
--where          which items may be recommended: column=value, column=one|other, column=low..high with either end open;
                 several of these, or one with ';' in it, must all hold
--exclude_seen   leave the history's items out
--explain        say which entries of the history moved the list most
--json           print JSON
--trust_remote_code  run Python code that comes with the checkpoint's backbone
"""

ADD_ITEMS_HELP = """\
Put new items into the catalogue of a trained checkpoint, without training.

  python -m recbole_genrec add_items --checkpoint DIR --items new.item --output DIR

--checkpoint     a checkpoint folder of GenRec; its identifiers must be made of text ('item_indexing: title')
--items          an atomic .item file of the new items, with the columns of the training's
--output         the folder of the checkpoint with these items; it serves for recommending, not for more training
--trust_remote_code  run Python code that comes with the checkpoint's backbone
"""

HELP = {"recommend": RECOMMEND_HELP, "add_items": ADD_ITEMS_HELP}
#: options that may go without a value, and the value that they then have.
FLAGS = {"exclude_seen": "true", "explain": "true", "json": "true", "trust_remote_code": "true"}
REPEATABLE = ("history", "item", "where")
OPTIONS = {
    "recommend": ("checkpoint", *REPEATABLE, "user", "data_path", "topk", *FLAGS),
    "add_items": ("checkpoint", "items", "output", "trust_remote_code"),
}


def run(command, pairs):
    """Run a command.

    Args:
        command: a key of :data:`HELP`.
        pairs: options and their texts, in order.

    Raises:
        GenRecError: an option is unknown, missing, given twice or not accepted.
    """
    counts = Counter(key for key, _ in pairs)
    for key, count in counts.items():
        if key not in OPTIONS[command]:
            raise unknown_name("option", f"--{key}", (f"--{option}" for option in OPTIONS[command]))
        if count > 1 and key not in REPEATABLE:
            raise GenRecError(f"command line: --{key} is given twice.")
    {"recommend": _recommend, "add_items": _add_items}[command](pairs, dict(pairs))


def _recommend(pairs, options):
    _need(options, "checkpoint")
    if not options.keys() & {"history", "item", "user"}:
        raise GenRecError("command line: whose history? Give --history, --item or --user.")
    if "data_path" in options and "user" not in options:
        raise GenRecError("command line: --data_path is for --user.")
    topk = options.get("topk", "10")
    if not topk.isdecimal():
        raise GenRecError(f"command line: --topk must be a whole number, not {topk!r}.")
    flags = {key: _flag(key, options.get(key, "false")) for key in FLAGS}

    from recbole_genrec.serve.conditions import parse_where

    where = parse_where([text for key, text in pairs if key == "where"]) or None
    recommender = _load(options)
    history, unknown = _history(recommender, pairs, options)
    asked = ([history], int(topk), where, flags["exclude_seen"])
    explanation = recommender.explain(history, *asked[1:]) if flags["explain"] else None
    answer = explanation.answer if explanation else recommender.answer(*asked)[0]

    from recbole_genrec.serve.answers import as_json, print_answer

    if flags["json"]:
        print(json.dumps({**as_json(answer, explanation), "unknown_items": unknown}, ensure_ascii=False, indent=2))
        return
    if unknown:
        print(f"Not in the catalogue, left out of the history of {options['user']}: {', '.join(unknown)}")
    print_answer(answer, explanation)


def _history(recommender, pairs, options):
    """The entries that the options give, and items of the user's that the catalogue does not have."""
    from recbole_genrec.serve.history_reader import ItemId

    entries, unknown = [], []
    if "user" in options:
        from recbole_genrec.serve.user_history import read_user_history

        chosen = read_user_history(recommender.settings, options["user"], options.get("data_path"))
        known = recommender.reader.number
        entries = [ItemId(token) for token in chosen if token in known]
        unknown = [token for token in chosen if token not in known]
    kinds = {"history": str, "item": ItemId}
    return entries + [kinds[key](text) for key, text in pairs if key in kinds], unknown


def _add_items(pairs, options):
    for key in ("checkpoint", "items", "output"):
        _need(options, key)
    recommender = _load(options)
    before = len(recommender.reader.titles)
    recommender.add_items(options["items"])
    recommender.save(options["output"])
    titles = recommender.reader.titles[before:]
    print(f"{len(titles)} new items in {options['output']}, {before + len(titles)} in all: {', '.join(titles[:5])}")


def _need(options, key):
    if key not in options:
        raise GenRecError(f"command line: --{key} is missing.")


def _flag(key, text):
    if text not in ("true", "false"):
        raise GenRecError(f"command line: --{key} is a flag; it may be true or false, not {text!r}.")
    return text == "true"


def _load(options):
    from transformers.utils import logging

    from recbole_genrec.serve.recommender import GenRecommender

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    trusted = _flag("trust_remote_code", options.get("trust_remote_code", "false"))
    return GenRecommender.from_checkpoint(options["checkpoint"], trust_remote_code=trusted)
