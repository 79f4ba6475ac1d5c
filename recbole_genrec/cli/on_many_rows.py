"""``recommend`` for many rows: users of the command line, of a file or of the dataset, and JSON lines."""

import os
import sys

from recbole_genrec.errors import GenRecError

#: options of ``recommend`` that are for many rows alone.
MANY = frozenset(("users", "all_users", "input", "output", "format", "resume", "on_error", "nproc"))
#: options that are for one history alone.
ONE = ("entries", "explain", "json")
#: options that say what is asked for each row.
_MANNER = ("topk", "exclude_seen", "at", "on_error")


def recommend_rows(checkpoint, trust_remote_code, named_users, nproc=1, data_path=None, **asked):
    """Write the lists of many rows; returns an exit code where other processes have done it.

    Args:
        checkpoint: a trained model. trust_remote_code: run code that comes with it.
        named_users: raw ids of users.
        nproc: number of processes.
        data_path: the folder that holds the dataset's folder.
        asked: the other options of the command.

    Raises:
        GenRecError: an option is for one history, a file is missing, or see
            :func:`~recbole_genrec.serve.many.recommend_many.recommend_many`.
    """
    if given := ["history" if key == "entries" else key for key in ONE if asked.get(key)]:
        raise GenRecError(f"command line: --{given[0]} is for one history, not for many rows.")
    source, manner, output = _checked(named_users, asked)
    from recbole_genrec.serve.stored_path import check_path

    check_path(checkpoint)
    if nproc > 1:
        options = {"checkpoint": checkpoint, "data_path": data_path, "trust_remote_code": trust_remote_code, **asked}
        return _launch(nproc, named_users, options, source, output)
    return _run(checkpoint, (trust_remote_code, data_path), (source, manner, output), bool(asked.get("all_users")))


def _checked(named_users, asked):
    """Source, manner and output, checked before anything heavy is imported."""
    from recbole_genrec.serve.many.asked_rows import Source
    from recbole_genrec.serve.many.manner import Manner, Output
    from recbole_genrec.serve.many.row_parts import format_of

    source = Source(tuple(named_users), asked.get("users"), asked.get("input"))
    if source == Source() and not asked.get("all_users"):
        raise GenRecError("command line: whose lists? Give --user, --users, --input or --all_users.")
    source.check()
    path = asked.get("output")
    if asked.get("resume") and path is None:
        raise GenRecError("command line: --resume goes on with a file: give --output.")
    output = Output(path, format_of(path, asked.get("format")), asked.get("resume", False))
    given = {key: asked[key] for key in _MANNER if key in asked}
    texts = {key: tuple(text for _, text in asked.get(key, ())) for key in ("where", "exclude")}
    if texts["where"]:
        from recbole_genrec.serve.conditions import parse_where

        parse_where(texts["where"])
    if given.get("topk", 1) < 1:
        raise GenRecError("command line: --topk must be a positive whole number, not '0'.")
    return source, Manner(**texts, **given), output


def _launch(nproc, named_users, options, source, output):
    """Start the same command in several processes."""
    from recbole_genrec.distributed.launch import launch
    from recbole_genrec.serve.many.asked_rows import check_processes

    if "WORLD_SIZE" in os.environ:
        raise GenRecError("command line: --nproc starts processes, and torchrun has done that already.")
    check_processes(source, output.path)
    arguments = ["recommend", *(f"--user={user}" for user in named_users)]
    for key, value in options.items():
        if key in ("where", "exclude"):
            arguments += [f"--{key}={text}" for _, text in value]
        elif value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments.append(f"--{key}={text}")
    return launch(nproc, arguments, "--resume goes on with the rows that they have answered")


def _run(checkpoint, how, asked, all_users):
    """Answer the rows in this process, which may be one of several."""
    source, manner, output = asked
    from transformers.utils import logging

    from recbole_genrec.distributed.world import joined, own_gpu
    from recbole_genrec.serve.many.asked_rows import check_processes
    from recbole_genrec.serve.many.recommend_many import recommend_many
    from recbole_genrec.serve.protocol import Recommender
    from recbole_genrec.serve.stored_path import identity_of

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    with joined() as world:
        if world.size > 1:
            check_processes(source, output.path)
            os.environ["CUDA_VISIBLE_DEVICES"] = own_gpu(os.environ.get("CUDA_VISIBLE_DEVICES"))
        recommender = Recommender.load(checkpoint, None, *how)
        identity = {"checkpoint": identity_of(checkpoint)}
        count = recommend_many(recommender, source, manner, output, all_users, identity)
        if output.path is not None and world.is_first:
            print(f"{count:,} rows in {output.path}")
