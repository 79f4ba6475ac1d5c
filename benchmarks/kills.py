"""Training processes killed at random moments and started again: does each end as if it had never been stopped?

Every process is killed by SIGKILL at a moment of its own, drawn over the time that a whole run takes, and the next one
goes on with ``resume: auto``. Its result file is compared with that of the run that nobody stopped, all but its times.
Processes are forked from one that has imported everything: Linux and macOS.

    python -m benchmarks.kills --kills 100
"""

import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.common import Results, parser, report
from recbole_genrec import run_recbole_genrec

SETTINGS = {
    "scratch_hidden_size": 16,
    "scratch_layers": 1,
    "scratch_intermediate_size": 32,
    "scratch_vocab_size": 300,
    "max_prompt_tokens": 64,
    "train_batch_tokens": 200,
    "topk": [3],
    "valid_metric": "NDCG@3",
    "epochs": 4,
    "ema_decay": 0.9,
    "save_steps": 2,
    "resume": "auto",
    "show_progress": False,
}
TIMES = ("seconds", "users_per_second", "train_seconds", "valid_seconds")


def write_dataset(folder):
    """Atomic files of 24 users and 8 items; returns RecBole's ``data_path``."""
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    rows += [f"u{u}\tm{(u * 3 + t * (1 + u % 2)) % 8}\t{100 + t}" for u in range(24) for t in range(6)]
    items = ["item_id:token\ttitle:token_seq", *(f"m{i}\tMovie {i}" for i in range(8))]
    (folder / "tiny").mkdir(parents=True)
    for ending, lines in (("inter", rows), ("item", items)):
        (folder / "tiny" / f"tiny.{ending}").write_text("\n".join(lines) + "\n", "utf-8")
    return str(folder)


def start(folder, settings):
    """Train in a process of its own, in ``folder``; returns its id."""
    folder.mkdir(exist_ok=True)
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        torch.set_num_threads(1)
        os.chdir(folder)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(output, stream)
        run_recbole_genrec("GenRec", "tiny", config_dict=settings)
        code = 0
    finally:
        os._exit(code)


def finish(child):
    """Wait for a process; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def outcome(folder, model="GenRec", seed=2020):
    """The result file of a run in ``folder`` without its times."""
    return _without_times(json.loads((folder / "results" / f"{model}-tiny-{seed}.json").read_text("utf-8")))


def _without_times(value):
    if isinstance(value, dict):
        return {key: _without_times(entry) for key, entry in value.items() if key not in TIMES}
    return [_without_times(entry) for entry in value] if isinstance(value, list) else value


def kill_runs(folder, kills, seed, settings=()):
    """Kill so many runs, start each again, and compare.

    Args:
        folder: receives the runs.
        kills: how many.
        seed: of the moments.
        settings: over :data:`SETTINGS`.

    Returns:
        A row a run: ``moment``, the share of a whole run after which it was killed; ``killed``, false where it had
        ended by then; ``ended``, exit code 0 of the second process; ``equal`` results; ``left``, files of half-made
        checkpoints.
    """
    settings = SETTINGS | dict(settings) | {"data_path": write_dataset(folder / "data")}
    began = time.monotonic()
    if finish(start(folder / "whole", settings)):
        raise RuntimeError((folder / "whole" / "output.txt").read_text("utf-8"))
    duration, expected = time.monotonic() - began, outcome(folder / "whole")
    draw, rows = random.Random(seed), []
    for number in range(kills):
        run, moment = folder / f"run {number}", draw.random()
        child = start(run, settings)
        time.sleep(moment * duration)
        os.kill(child, signal.SIGKILL)
        killed = finish(child) == -signal.SIGKILL
        ended = finish(start(run, settings)) == 0
        equal = ended and outcome(run) == expected
        left = sum(path.is_dir() for path in run.glob("saved/*/.*"))
        rows.append({"moment": moment, "killed": killed, "ended": ended, "equal": equal, "left": left})
    return rows


def main(arguments=None):
    """Kill runs, start them again and report how they ended."""
    options = parser("kills", __doc__)
    options.add_argument("--kills", type=int, default=100)
    options = options.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = kill_runs(Path(folder), 3 if options.quick else options.kills, options.seed)
    sums = {name: sum(map(int, (row[name] for row in rows))) for name in ("killed", "ended", "equal", "left")}
    columns = dict.fromkeys(("runs", *sums), "")
    report(options, {"rows": Results("Killed runs, started again", columns, [{"runs": len(rows), **sums}])})


if __name__ == "__main__":
    main()
