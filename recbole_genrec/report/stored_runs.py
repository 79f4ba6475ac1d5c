"""The runs of a folder: read, and sorted into boards of runs that can be compared, and rows of equal settings."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from recbole_genrec.errors import GenRecError
from recbole_genrec.runs.identity import deciding_settings
from recbole_genrec.runs.result import FailedRun, RunResult, as_run, is_failed, read_json

#: at most so many settings are part of a row's name; more go into the caption.
NAMED_SETTINGS = 3
#: settings that decide what is trained on, whose and which targets a test has, and among which candidates: runs that
#: differ in one are not compared.
PROTOCOL_KEYS = (
    "eval_args",
    "eval_users",
    "sample_users",
    "cold_items",
    "repeatable",
    "benchmark_filename",
    "threshold",
    "val_interval",
) + ("filter_inter_by_user_or_item", "user_inter_num_interval", "item_inter_num_interval", "rm_dup_inter")


@dataclass(frozen=True)
class Run:
    """A run that has ended.

    Attributes:
        path: of its JSON.
        result: the run's :class:`~recbole_genrec.runs.result.RunResult`.
    """

    path: Path
    result: RunResult

    @cached_property
    def settings(self):
        """The settings that decide its outcome, its seed aside."""
        return {key: value for key, value in deciding_settings(self.result.config).items() if key != "seed"}

    def outcomes(self):
        """What its test gave every row, or None where no file beside the JSON says so."""
        path = self.path.with_suffix(".npz")
        if not self.result.outcomes or not path.is_file():
            return None
        from recbole_genrec.evaluation.outcomes import Outcomes

        return Outcomes.read(path)


@dataclass(frozen=True)
class Row:
    """Runs of one model with equal settings, by seed."""

    name: str
    runs: dict[int, Run]
    #: in what the row differs from others of its model, where that is too long for its name.
    settings: str = ""

    def values(self, metric):
        """A test metric of every run that has it, by seed."""
        tested = {seed: run.result.test_result.get(metric) for seed, run in self.runs.items()}
        return {seed: value for seed, value in tested.items() if value is not None}

    @property
    def model(self):
        """The model's name without settings."""
        return self.any.result.model

    @property
    def any(self):
        """One of the runs, the first."""
        return next(iter(self.runs.values()))


@dataclass(frozen=True)
class Board:
    """Rows that can be compared: one dataset, one split, the same candidates."""

    name: str
    dataset: str
    #: the settings that all its runs share, see :data:`PROTOCOL_KEYS`.
    protocol: dict
    rows: list[Row]

    @property
    def metrics(self):
        """Names of all test metrics."""
        return list(
            dict.fromkeys(name for row in self.rows for run in row.runs.values() for name in run.result.test_result)
        )

    @property
    def metric(self):
        """The metric that selected the epochs, where the test has it; else the last one."""
        chosen = self.rows[0].any.result.valid_metric.lower()
        return chosen if chosen in self.metrics else self.metrics[-1]


@dataclass(frozen=True)
class Results:
    """What a folder holds.

    Attributes:
        boards: one for each dataset and protocol.
        failed: what the ``.failed.json`` files hold.
        repeated: paths of runs that are left out, as another one has the same settings and seed.
    """

    boards: list[Board]
    failed: list[FailedRun]
    repeated: list[Path]


def read_results(folder, only=None):
    """Read every run below a folder.

    Args:
        folder: where they are.
        only: absolute paths of the JSONs that take part; None for all.

    Raises:
        GenRecError: there is no such folder, no run in it, or a file that is not JSON or not of a run's shape.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise GenRecError(f"There is no folder {str(folder)!r} to report on: --results=FOLDER names one with runs.")
    paths = [path for path in sorted(folder.rglob("*.json")) if only is None or path.resolve() in only]
    contents = {path: read_json(path) for path in paths}
    ended = {path: as_run(path, content) for path, content in contents.items() if is_failed(path) or _is_run(content)}
    failed = {path: run for path, run in ended.items() if is_failed(path)}
    superseded = {path.with_name(path.name.replace(".failed.json", ".json")) for path in failed}
    runs = [Run(path, result) for path, result in ended.items() if path not in failed.keys() | superseded]
    if not runs and not failed:
        raise GenRecError(f"{str(folder)!r} holds no run: the JSON of a run has 'model', 'test_result' and 'config'.")
    kept, repeated = _without_repetitions(runs)
    return Results(_boards(kept), list(failed.values()), repeated)


def _is_run(content):
    return isinstance(content, dict) and {"model", "dataset", "seed", "test_result", "config"} <= content.keys()


def _without_repetitions(runs):
    """Runs, one of each model, dataset, seed and settings; and the paths of the others."""
    kept, repeated = {}, []
    for run in runs:
        result = run.result
        identity = result.model, result.dataset, result.seed, _text(run.settings)
        if identity in kept:
            repeated.append(run.path)
        else:
            kept[identity] = run
    return list(kept.values()), repeated


def _boards(runs):
    boards = []
    for dataset, of_dataset in _groups(runs, lambda run: run.result.dataset).items():
        protocols = _groups(of_dataset, lambda run: _text(_protocol(run)))
        settings = [_protocol(group[0]) for group in protocols.values()]
        names = _names(dataset, settings, PROTOCOL_KEYS)
        boards += [Board(name, dataset, *own) for name, *own in zip(names, settings, map(_rows, protocols.values()))]
    return boards


def _protocol(run):
    protocol = {key: run.settings.get(key) or None for key in PROTOCOL_KEYS}  # nothing, none and 0 are the same
    return protocol | {"repeatable": run.settings.get("repeatable") is not False}


def _rows(runs):
    return [
        row for model, group in _groups(runs, lambda run: run.result.model).items() for row in _variants(model, group)
    ]


def _variants(model, runs):
    known = set.intersection(*(set(run.settings) for run in runs))  # others have come into the package later
    variants = _groups(runs, lambda run: _text({key: run.settings[key] for key in known}))
    settings = [group[0].settings for group in variants.values()]
    names, differing = _names(model, settings, sorted(known)), _differing(settings, sorted(known))
    details = [""] * len(names)
    if len(differing) > NAMED_SETTINGS:
        names = [f"{model} {number}" for number in range(1, len(names) + 1)]
        details = [_listed(own, differing) for own in settings]
    seeds = [sorted(((run.result.seed, run) for run in group), key=lambda pair: pair[0]) for group in variants.values()]
    return [Row(name, dict(pairs), detail) for name, pairs, detail in zip(names, seeds, details)]


def differing_settings(rows):
    """In what the rows of a model differ, for every model that has several.

    Args:
        rows: of a board.

    Returns:
        By model, the keys, and by name of the row the values as texts, in the order of the keys.
    """
    found = {}
    for model, own in _groups(rows, lambda row: row.model).items():
        known = set.intersection(*(set(run.settings) for row in own for run in row.runs.values()))
        keys = _differing([row.any.settings for row in own], sorted(known))
        if keys:
            found[model] = keys, {row.name: [_shown(row.any.settings[key]) for key in keys] for row in own}
    return found


def _groups(values, key):
    groups = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


def _names(name, variants, keys):
    """Name variants by the settings in which they differ: ``GenRec (item_indexing=hybrid)``; one alone has no need."""
    differing = _differing(variants, keys)
    if not differing:
        return [name] * len(variants)
    return [f"{name} ({_listed(settings, differing)})" for settings in variants]


def _differing(variants, keys):
    return [key for key in keys if len({_text(settings.get(key)) for settings in variants}) > 1]


def _listed(settings, keys):
    return ", ".join(f"{key}={_shown(settings.get(key))}" for key in keys)


def _shown(value):
    return value if isinstance(value, str) and value else _text(value)


def _text(value):
    return json.dumps(value, sort_keys=True)
