"""Search for hyper-parameters: RecBole's HyperTuning and its search-space files, over this package's runner.

A space file has a line for each key, ``key type values``::

    learning_rate loguniform -7,-4          bounds of the logarithm
    hidden_dropout uniform 0.0,0.5
    scratch_hidden_size quniform 32,96,32   a multiple of the third number
    item_indexing choice ['title','semantic']
"""

import ast
import io
import os
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import yaml
from recbole.trainer import HyperTuning

from recbole_genrec.config.config import GenRecConfig, parse_value
from recbole_genrec.config.keys import check_key, known_keys
from recbole_genrec.errors import GenRecError, unknown_name
from recbole_genrec.files.table import print_rows, rows_as_markdown
from recbole_genrec.files.write import write_text
from recbole_genrec.runs.run import run_models
from recbole_genrec.runs.summary import print_table

ALGORITHMS = ("exhaustive", "random", "bayes")
#: how many numbers each type of a space file takes; ``choice`` takes a list.
NUMBERS = {"uniform": 2, "quniform": 3, "loguniform": 2}


def objective_function(config_dict=None, config_file_list=None, saved=True, shown=True):
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
    return run_models(model, None, config_file_list, settings, saved=saved, shown=shown)


def _plain_value(value):
    """A drawn value as YAML would give it: hyperopt makes tuples of lists, and its multiples are floats."""
    if isinstance(value, (tuple, list)):
        return [_plain_value(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def tune(
    model,
    dataset=None,
    config_file_list=None,
    config_dict=None,
    params_file=None,
    algo="exhaustive",
    max_evals=100,
    early_stop=10,
):
    """Search a space for the settings that are best on validation; the test is shown for these alone.

    A trial prints one line, its settings and its score on validation; what else it logs goes to RecBole's log file.
    Each trial's JSON goes to ``<results_dir>/<model>-<dataset>-<seed>-tuning/<trial>/``; beside the trials stand the
    table, ``trials.md``, and ``best.yaml``, a file for ``config_files``.

    Args:
        model, dataset, config_file_list, config_dict: what all trials share, as for the runner.
        params_file: the space file.
        algo: ``exhaustive`` (every combination of choices, in random order), ``random`` or ``bayes`` (TPE).
        max_evals: trials at most; ``exhaustive`` has its own number.
        early_stop: stop after so many trials in a row without a better one.

    Returns:
        The result of the best trial.

    Raises:
        GenRecError: the file, a key or a value is not accepted, or hyperopt is not installed.
    """
    if find_spec("hyperopt") is None:
        raise GenRecError("'tune' needs hyperopt: pip install 'recbole_genrec[tuning]'.")
    if algo not in ALGORITHMS:
        raise unknown_name("value of 'algo':", algo, ALGORITHMS)
    config = GenRecConfig(model, dataset, config_file_list, config_dict)
    fixed = {**(config_dict or {}), "model": config["model"], "dataset": config["dataset"]}
    space = read_space(params_file, known_keys([config.model_class], config["dataset"]), algo)
    folder = Path(config["results_dir"]) / f"{config['model']}-{config['dataset']}-{config['seed']}-tuning"
    trials = []

    def trial(params, files):
        place = {"results_dir": str(folder / str(len(trials)))}
        trials.append((params, objective_function({**fixed, **params, **place}, files, shown=False)))
        return trials[-1][1]

    def line():
        (params, result), best = trials[-1], _order(trials)[0] == len(trials) - 1
        values = ", ".join(f"{key} {value}" for key, value in zip(params, _texts(params)))
        score = f"{config['valid_metric']} {result['best_valid_score']:.4f} on validation"
        return f"trial {len(trials) - 1}: {values}: {score}{', the best so far' if best else ''}"

    search = _Search(
        line,
        trial,
        params_dict=space,
        fixed_config_file_list=config_file_list,
        algo=algo,
        max_evals=max_evals,
        early_stop=early_stop,
    )
    with _drawing_by(config["seed"]):
        search.run()
    best = _order(trials)[0]
    rows = _rows(trials, config["valid_metric"])
    title = f"{config['dataset']}, seed {config['seed']}: {config['valid_metric']} on validation, best first"
    write_text(folder / "trials.md", rows_as_markdown(title, rows))
    drawn = {key: _plain_value(value) for key, value in trials[best][0].items()}
    write_text(folder / "best.yaml", yaml.safe_dump(drawn, sort_keys=True, allow_unicode=True))
    print_rows(title, rows)
    print(f"Best: trial {best}, {folder / 'best.yaml'}")
    print_table([trials[best][1]])
    return trials[best][1]


class _Search(HyperTuning):
    """RecBole's search, which prints one ``line()`` a trial: RecBole's own words show every better trial's test."""

    def __init__(self, line, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._line = line

    def trial(self, params):
        with redirect_stdout(io.StringIO()):
            outcome = super().trial(params)
        print(self._line())
        return outcome


def _texts(params):
    return [f"{v:.4g}" if isinstance(v, float) else str(v) for v in map(_plain_value, params.values())]


@contextmanager
def _drawing_by(seed):
    """Let hyperopt draw by ``seed``, without its bar on standard output: RecBole has no argument for either."""
    progress = import_module("hyperopt.progress")
    before, bar = os.environ.get("HYPEROPT_FMIN_SEED"), progress.default_callback
    os.environ["HYPEROPT_FMIN_SEED"], progress.default_callback = str(seed), progress.no_progress_callback
    try:
        yield
    finally:
        progress.default_callback = bar
        if before is None:
            del os.environ["HYPEROPT_FMIN_SEED"]
        else:
            os.environ["HYPEROPT_FMIN_SEED"] = before


def _order(trials):
    """Numbers of the trials, the best on validation first; of equal ones, the earlier first."""
    sign = -1 if trials[0][1]["valid_score_bigger"] else 1
    return sorted(range(len(trials)), key=lambda number: sign * trials[number][1]["best_valid_score"])


def _rows(trials, metric):
    """Header and one row a trial, for the table."""
    keys = list(trials[0][0])
    rows = [["trial", *keys, metric, "epochs", "train s"]]
    for number in _order(trials):
        params, result = trials[number]
        seconds = f"{result['seconds']['train']:.0f}"
        rows.append([str(number), *_texts(params), f"{result['best_valid_score']:.4f}", str(result["epochs"]), seconds])
    return rows


def read_space(path, known, algo="exhaustive"):
    """Read a search-space file in RecBole's format; no line is evaluated as code.

    Args:
        path: the file.
        known: keys that a run has.
        algo: ``exhaustive`` takes choices alone.

    Returns:
        What ``HyperTuning`` takes as ``params_dict``: by type, by key, the values.

    Raises:
        GenRecError: the file cannot be read, or a line is not accepted; the message names file and line.
    """
    if not path:
        raise GenRecError("'tune' needs a search space: --params_file=FILE, with lines such as 'epochs choice [5,10]'.")
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GenRecError(f"Cannot read the search space {str(path)!r}: {error}.") from None
    space, seen = {}, {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{path}, line {number}"
        key, kind, values = _parse_line(line, where)
        check_key(key, where, known)
        if key in ("model", "dataset", "results_dir"):
            raise GenRecError(f"{where}: {key!r} is the same for all trials.")
        if key in seen:
            raise GenRecError(f"{where}: {key!r} stands in line {seen[key]} already.")
        if kind != "choice" and algo == "exhaustive":
            raise GenRecError(f"{where}: 'algo: exhaustive' takes 'choice' alone; {kind!r} goes with random or bayes.")
        seen[key] = number
        space.setdefault(kind, {})[key] = values
    if not space:
        raise GenRecError(f"The search space {str(path)!r} is empty.")
    return space


def _parse_line(line, where):
    """Key, type and values of a line."""
    parts = line.split(None, 2)
    if len(parts) < 3:
        raise GenRecError(f"{where}: {line.strip()!r} is not of the form 'key type values'.")
    key, kind, text = parts
    if kind == "choice":
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values = None
        if not isinstance(values, list) or not values:
            raise GenRecError(f"{where}: 'choice' takes a list such as [0.1,0.2] or ['a','b'], not {text.strip()!r}.")
        # RecBole evaluates texts as its command line does: '[64,32]' is a list
        return key, kind, [parse_value(key, value) if isinstance(value, str) else value for value in values]
    if kind not in NUMBERS:
        raise unknown_name(f"type in {where}:", kind, ("choice", *NUMBERS))
    try:
        values = [float(value) for value in text.split(",")]
    except ValueError:
        values = []
    if len(values) != NUMBERS[kind] or values[0] >= values[1]:
        wanted = "low,high,step" if kind == "quniform" else "low,high"
        raise GenRecError(f"{where}: {kind!r} takes {wanted}, not {text.strip()!r}.")
    return key, kind, values
