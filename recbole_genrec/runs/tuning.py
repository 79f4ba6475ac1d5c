"""Search for hyper-parameters: RecBole's HyperTuning over this package's runner."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from recbole.trainer import HyperTuning

from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.keys import known_keys
from recbole_genrec.errors import GenRecError, unknown_name
from recbole_genrec.files.plain import plain
from recbole_genrec.files.table import print_rows, rows_as_markdown
from recbole_genrec.files.write import write_text
from recbole_genrec.runs.result import RunResult
from recbole_genrec.runs.run import RunOptions, run_models
from recbole_genrec.runs.search_space import read_space
from recbole_genrec.runs.summary import print_table

ALGORITHMS = ("exhaustive", "random", "bayes")


def objective_function(
    config_dict: Mapping[str, Any] | None = None,
    config_file_list: Sequence[str | PathLike[str]] | None = None,
    saved: bool = True,
    shown: bool = True,
) -> dict[str, Any]:
    """Train and test one model by the runner, for RecBole's ``HyperTuning``.

    Args:
        config_dict: settings, the drawn ones among them; ``model`` and ``dataset`` may stand in the files.
        config_file_list: paths of YAML files.
        saved: test the best epoch, from its checkpoint; else the last one.
        shown: show the run's log and the table of its test on the console.

    Returns:
        What RecBole asks for: ``model``, ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result`` and
        ``test_result``; and what else :func:`~recbole_genrec.quick_start.run_recbole_genrec` gives.
    """
    settings = {key: _plain_value(value) for key, value in (config_dict or {}).items()}
    model = GenRecConfig(None, None, config_file_list, settings)["model"]
    return run_models(model, None, config_file_list, settings, options=RunOptions(saved, shown=shown))


def _plain_value(value):
    """A drawn value as YAML would give it: hyperopt makes tuples of lists, and its multiples are floats."""
    if isinstance(value, (tuple, list)):
        return [_plain_value(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class SearchSettings:
    """How a space is searched.

    Attributes:
        params_file: the space file.
        algo: ``exhaustive`` (every combination of choices, in random order), ``random`` or ``bayes`` (TPE).
        max_evals: trials at most; ``exhaustive`` has its own number.
        early_stop: stop after so many trials in a row without a better one.

    Raises:
        GenRecError: there is no such algorithm.
    """

    params_file: str | None = None
    algo: str = "exhaustive"
    max_evals: int = 100
    early_stop: int = 10

    def __post_init__(self):
        if self.algo not in ALGORITHMS:
            raise unknown_name("value of 'algo':", self.algo, ALGORITHMS)


@dataclass(frozen=True)
class Trial:
    """A trial: the settings that were drawn, and its result."""

    drawn: dict
    result: RunResult

    def score(self):
        """The score on validation, better ones higher."""
        return self.result.best_valid_score * (1 if self.result.valid_score_bigger else -1)


def tune(model, dataset=None, config_file_list=None, config_dict=None, **search):
    """Search a space for the settings that are best on validation; the test is shown for these alone.

    A trial prints one line, its settings and its score on validation; what else it logs goes to RecBole's log file.
    Each trial's JSON goes to ``<results_dir>/<model>-<dataset>-<seed>-tuning/<trial>/``; beside the trials stand the
    table, ``trials.md``, and ``best.yaml``, a file for ``config_files``.

    Args:
        model, dataset, config_file_list, config_dict: what all trials share, as for the runner.
        search: the fields of :class:`SearchSettings`.

    Returns:
        The result of the best trial.

    Raises:
        GenRecError: the file, a key or a value is not accepted, or hyperopt is not installed.
    """
    if find_spec("hyperopt") is None:
        raise GenRecError("'tune' needs hyperopt: pip install 'recbole_genrec[tuning]'.")
    search = SearchSettings(**search)
    config = GenRecConfig(model, dataset, config_file_list, config_dict)
    fixed = {**(config_dict or {}), "model": config["model"], "dataset": config["dataset"]}
    space = read_space(search.params_file, known_keys([config.model_class], config["dataset"]), search.algo)
    folder = Path(config["results_dir"]) / f"{config['model']}-{config['dataset']}-{config['seed']}-tuning"
    trials = []

    def trial(params, files):
        own_folder = {"results_dir": str(folder / str(len(trials)))}
        outcome = objective_function({**fixed, **params, **own_folder}, files, shown=False)
        trials.append(Trial(params, RunResult.model_validate(outcome)))
        return outcome

    _Search(trial, trials, space, config_file_list, search).run_by(config["seed"])
    best = _order(trials)[0]
    _write(trials, best, folder, config)
    return plain(trials[best].result.content())


def _write(trials, best, folder, config):
    """Write and print the table of the trials, the settings of the best, and the table of its test."""
    metric, rows = config["valid_metric"], _rows(trials, config["valid_metric"])
    title = f"{config['dataset']}, seed {config['seed']}: {metric} on validation, best first"
    write_text(folder / "trials.md", rows_as_markdown(title, rows))
    drawn = {key: _plain_value(value) for key, value in trials[best].drawn.items()}
    write_text(folder / "best.yaml", yaml.safe_dump(drawn, sort_keys=True, allow_unicode=True))
    print_rows(title, rows)
    print(f"Best: trial {best}, {folder / 'best.yaml'}")
    print_table([trials[best].result])


class _Search(HyperTuning):
    """RecBole's search, which prints one line a trial: RecBole's own words show every better trial's test.

    Args:
        trial: makes a trial of drawn settings and files, and adds it to ``trials``.
        trials: the trials so far.
        space: as :func:`~recbole_genrec.runs.search_space.read_space` gives it.
        files: paths of YAML files.
        search: :class:`SearchSettings`.
    """

    def __init__(self, trial, trials, space, files, search):
        limits = {"max_evals": search.max_evals, "early_stop": search.early_stop}
        super().__init__(trial, params_dict=space, fixed_config_file_list=files, algo=search.algo, **limits)
        self._trials = trials

    def run_by(self, seed):
        """Search, drawing by ``seed`` and without hyperopt's bar: RecBole's ``run`` has no argument for either."""
        fmin = import_module("hyperopt").fmin
        fmin(
            self.trial,
            self.space,
            algo=self.algo,
            max_evals=self.max_evals,
            early_stop_fn=self.early_stop_fn,
            rstate=np.random.default_rng(seed),
            show_progressbar=False,
        )

    def trial(self, params):
        """RecBole's trial, silent, and then its line."""
        with redirect_stdout(io.StringIO()):
            outcome = super().trial(params)
        print(self._line())
        return outcome

    def _line(self):
        number, last = len(self._trials) - 1, self._trials[-1]
        values = ", ".join(f"{key} {value}" for key, value in zip(last.drawn, _texts(last.drawn)))
        score = f"{last.result.valid_metric} {last.result.best_valid_score:.4f} on validation"
        is_best = _order(self._trials)[0] == number
        return f"trial {number}: {values}: {score}{', the best so far' if is_best else ''}"


def _texts(params):
    return [f"{v:.4g}" if isinstance(v, float) else str(v) for v in map(_plain_value, params.values())]


def _order(trials):
    """Numbers of the trials, the best on validation first; of equal ones, the earlier first."""
    return sorted(range(len(trials)), key=lambda number: -trials[number].score())


def _rows(trials, metric):
    """Header and one row a trial, for the table."""
    rows = [["trial", *trials[0].drawn, metric, "epochs", "train s"]]
    for number in _order(trials):
        result = trials[number].result
        figures = f"{result.best_valid_score:.4f}", str(result.epochs), f"{result.seconds.train:.0f}"
        rows.append([str(number), *_texts(trials[number].drawn), *figures])
    return rows
