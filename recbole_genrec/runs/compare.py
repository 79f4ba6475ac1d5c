"""Compare models over datasets and seeds: each run in a process of its own, and made once."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import get_trainer
from recbole_genrec.config.sources import check_lists
from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError, without_passwords
from recbole_genrec.files.plain import plain
from recbole_genrec.files.write import write_text
from recbole_genrec.interactions.dataset_files import check_dataset, check_rows, convert_raw_dump
from recbole_genrec.runs.identity import differences
from recbole_genrec.runs.result import FailedRun, read_run, result_file
from recbole_genrec.runs.retest import retest
from recbole_genrec.runs.run import RunOptions, run_models, share_data_settings
from recbole_genrec.training.trainer import GenRecTrainer

#: what a process is started with: the run comes through its standard input.
_PROGRAM = "from recbole_genrec.runs.compare import make_run; make_run()"


@dataclass(frozen=True)
class Planned:
    """A run of a comparison.

    Attributes:
        config: its configuration.
        order: what a process needs to make it.
        label: what else names a trial in the log, which shows its validation and not its test; of other runs empty.
    """

    config: GenRecConfig
    order: dict
    label: str = ""

    @property
    def name(self):
        """Model, dataset and seed, as the log names the run."""
        return f"{self.config['model']} on {self.config['dataset']}, seed {self.config['seed']}{self.label}"

    def file(self, ending):
        """Path of the run's result file with this ``ending``, such as ``json``."""
        return result_file(self.config["results_dir"], self.config["model"], self.config, ending)


@dataclass(frozen=True)
class Compared:
    """What has come of a comparison.

    Attributes:
        failed: names of the runs that failed, now or before.
        count: how many runs there are in all.
        folder: the folder of results.
        results: paths of the JSONs of the runs that did not fail.
    """

    failed: list
    count: int
    folder: str
    results: set


def compare(models, datasets, seeds=(2020,), config_files=(), settings=None, retry_failed=False):
    """Make the runs that ``results_dir`` does not hold yet.

    Args:
        models: names. datasets: names. seeds: whole numbers.
        config_files: paths of YAML files, later ones over earlier ones; a section ``SASRec:`` is for that model alone.
        settings: for all runs, over the files'.
        retry_failed: make runs again that failed before.

    Returns:
        :class:`Compared`.

    Raises:
        GenRecError: a name, file, key or value is not accepted; no run has been made then.
    """
    planned = _plan(models, datasets, seeds, list(config_files), dict(settings or {}))
    failed = carry_out(planned, retry_failed)
    return Compared(failed, len(planned), planned[0].config["results_dir"], _results(planned))


def carry_out(planned, retry_failed=False):
    """Make those of the runs that are not there yet, each in a process of its own; a run that fails stops no other.

    Args:
        planned: a list of :class:`Planned`.
        retry_failed: make runs again that failed before.

    Returns:
        Names of the runs that failed, now or before.
    """
    failed = []
    for number, run in enumerate(planned, 1):
        start = f"[{number}/{len(planned)}] {run.name}:"
        if _is_there(run, start):
            continue
        before = _failed_before(run)
        if before and not retry_failed:
            _say(f"{start} failed before; --retry_failed tries again. {before}")
        elif _succeeds(run, start):
            continue
        failed.append(run.name)
    return failed


def _plan(models, datasets, seeds, files, settings):
    """Every run, a whole table with the first seed before the next; what is wrong with any of them is said now."""
    check_lists(models=models, datasets=datasets, seeds=seeds)
    planned = []
    for seed in seeds:
        for dataset in datasets:
            planned += _plan_board(models, dataset, files, settings | {"seed": seed})
    return planned


def _plan_board(models, dataset, files, settings):
    """The runs of a dataset and a seed: their models see the same data, as those of one run do."""
    configs = [GenRecConfig(model, dataset, files, None, settings, models=models) for model in models]
    for config in configs[1:]:
        share_data_settings(configs[0], config)
    convert_raw_dump(configs[0])
    check_dataset(configs[0])
    check_rows(configs[0])
    return [planned_run(config, files, settings | {"load_col": configs[0]["load_col"]}, models) for config in configs]


def planned_run(config, files, settings, beside, label=""):
    """The :class:`Planned` run of a configuration.

    Args:
        config: made of the files and the settings. files: paths of YAML files. settings: over the files'.
        beside: names of all models of the comparison, whose settings are known, too.
        label: what the log adds to the run's name.
    """
    resumes = issubclass(get_trainer(config["MODEL_TYPE"], config["model"], current().size), GenRecTrainer)
    if resumes and "resume" not in config.external_config_dict:
        settings = settings | {"resume": "auto"}
    asked = {"model": config["model"], "dataset": config["dataset"], "files": files, "settings": settings}
    return Planned(config, asked | {"beside": beside}, label)


def _say(line):
    print(line, flush=True)


def _is_there(run, start):
    """Whether a run was made with the same settings; says so, or in what they differ."""
    stored = _read(run.file("json"))
    if stored is None:
        return False
    differing = differences(stored.config, run.config)
    if not differing:
        _say(f"{start} there already. {_outcome(run, stored)}")
        return True
    listed = ", ".join(f"{key} was {old!r} and is {new!r}" for key, (old, new) in differing.items())
    _say(f"{start} {run.file('json')} has other settings, the run is made again: {listed}.")
    return False


def _failed_before(run):
    """Why a run with the same settings failed, or None."""
    stored = _read(run.file("failed.json"))
    return stored.error if stored and not differences(stored.config, run.config) else None


def _read(path):
    if not path.is_file():
        return None
    try:
        return read_run(path)
    except GenRecError as error:
        raise GenRecError(f"{error} Remove it, and the run is made again.") from error


def _succeeds(run, start):
    """Make a run in a process of its own; keeps the reason where it fails."""
    _say(f"{start} started; its output goes to {run.file('log')}.")
    started = perf_counter()
    code = _make(run)
    if code == 0:
        run.file("failed.json").unlink(missing_ok=True)
        _say(f"{start} done in {perf_counter() - started:,.0f} s. {_outcome(run, _read(run.file('json')))}")
        return True
    output = without_passwords(run.file("log").read_text("utf-8", errors="replace"))
    write_text(run.file("log"), output)
    error = _reason(code, output)
    failed = FailedRun(
        model=run.config["model"],
        dataset=run.config["dataset"],
        seed=run.config["seed"],
        error=error,
        exit_code=code,
        traceback=output[output.rfind("Traceback (most recent call last)") :],
        config=plain(run.config.final_config_dict),
    )
    failed.write(run.file("failed.json"))
    _say(f"{start} failed. {error}")
    return False


def _make(run):
    """Start a process, hand it the run, and wait; returns its exit code, below 0 where a signal ended it."""
    log = run.file("log")
    log.parent.mkdir(parents=True, exist_ok=True)
    path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path)), "PYTHONUNBUFFERED": "1"}
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,  # stays open: its end tells the process that this one has ended
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        with process:
            process.stdin.write(json.dumps(run.order).encode() + b"\n")
            process.stdin.flush()
            return process.wait()


def make_run():
    """What the process of a run does: read it from standard input, and make it."""
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_comparison, daemon=True).start()
    try:
        follow(order)
    except GenRecError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


def follow(order):
    """Make the run of an order in this process: a training, or a test of the run whose JSON it names ``again``."""
    if "again" in order:
        retest(order["again"], order["settings"])
        return
    asked = order["model"], order["dataset"], order["files"]
    run_models(*asked, command_line=order["settings"], options=RunOptions(beside=tuple(order["beside"])))


def _end_with_the_comparison():
    """A comparison that is killed takes its run with it; else the next one would make the run a second time, beside."""
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written: this returns when the other end closes
    os._exit(1)


def _reason(code, output):
    """One line that says why a process failed."""
    if code < 0:
        return f"Ended by {signal.Signals(-code).name}" + (", perhaps for want of memory." if code == -9 else ".")
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else f"Exit code {code}, without a word."


def _outcome(run, result):
    if run.label:
        score = "none" if result.best_valid_score is None else f"{result.best_valid_score:.4f}"
        return f"{result.valid_metric} {score} on validation"
    metric = result.valid_metric.lower()
    return ", ".join(f"{name} {value:.4f}" for name, value in result.test_result.items() if name == metric)


def _results(planned):
    paths = {run.file("json").resolve() for run in planned if not run.file("failed.json").is_file()}
    return {path for path in paths if path.is_file()}
