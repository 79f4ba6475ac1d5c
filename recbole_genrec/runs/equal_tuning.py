"""Equal tuning: as many trials for every model, alike where their spaces are, then the chosen settings over seeds.

Trial 0 of every model comes before trial 1 of any. A trial is a training in a process of its own; where tables of both
protocols are wanted, its best epoch is validated under the other one, too. Each protocol has its own choice, the trial
best on validation, and its own table. Tests of trials are written beside their validation, as those of all runs are,
and are not read here. What is there already is not made again.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.sources import check_lists
from recbole_genrec.config.yaml_settings import read_yaml
from recbole_genrec.errors import unknown_name
from recbole_genrec.files.plain import plain
from recbole_genrec.files.write import write_text
from recbole_genrec.interactions.dataset_files import check_dataset, check_rows, convert_raw_dump
from recbole_genrec.runs.compare import Compared, Planned, carry_out, compare, planned_run
from recbole_genrec.runs.result import FailedRun, RunResult, read_run
from recbole_genrec.runs.run import share_data_settings
from recbole_genrec.runs.shared_space import check_spaces, draw

#: whether items that a user has interacted with are ranked, by the name of a protocol.
PROTOCOLS = {"kept": True, "out": False}


@dataclass(frozen=True)
class EqualSearch:
    """How models are tuned and compared.

    Attributes:
        trials: of every model.
        seeds: of the final runs; the first one draws the trials and trains them.
        spaces: folder of ``<Model>.yaml``; ``None``: the shipped one.
        trial_users: trials take a seeded sample of this many users; ``None``: all.
        protocols: names of :data:`PROTOCOLS`, a table each; the first one selects the epoch of a trial.

    Raises:
        GenRecError: there is no such protocol, or a list is empty or holds a value twice.
    """

    trials: int = 12
    seeds: tuple = (2020, 2021, 2022)
    spaces: str | None = None
    trial_users: int | None = None
    protocols: tuple = tuple(PROTOCOLS)

    def __post_init__(self):
        check_lists(seeds=self.seeds, protocols=self.protocols)
        for name in self.protocols:
            if name not in PROTOCOLS:
                raise unknown_name("protocol", name, PROTOCOLS)


@dataclass(frozen=True)
class Trial:
    """A trial of a model: the settings that were drawn, and the runs that measure it, by protocol."""

    model: str
    number: int
    drawn: dict
    runs: dict

    @property
    def name(self):
        """As the log and the table name it."""
        return f"{self.model}, trial {self.number}"

    def result(self, protocol):
        """The :class:`RunResult`, or the :class:`FailedRun`; ``None`` where there is neither."""
        for ending in ("failed.json", "json"):
            if (file := self.runs[protocol].file(ending)).is_file():
                return read_run(file)
        return None

    def score(self, protocol):
        """The score on validation, better ones higher; ``None`` of a trial that failed."""
        result = self.result(protocol)
        if not isinstance(result, RunResult) or result.best_valid_score is None:
            return None
        return result.best_valid_score * (-1 if result.valid_score_bigger is False else 1)


@dataclass(frozen=True)
class Tuned:
    """What has come of a search.

    Attributes:
        trials: all of them.
        chosen: paths of the files of chosen settings, by protocol.
        compared: the comparison of the chosen settings, by protocol: :class:`~recbole_genrec.runs.compare.Compared`.
        failed: names of the trials that failed, and of models of which none succeeded.
    """

    trials: list
    chosen: dict
    compared: dict
    failed: list


def tune_equally(models, dataset, search, config_files=(), settings=None, retry_failed=False):
    """Search the space of every model, choose by validation, and compare the chosen settings.

    In ``results_dir`` lie ``trials/<Model>/<number>/``, ``trials.csv`` and ``trials.json``, and for each protocol
    ``chosen-<protocol>.yaml``, a file for ``config_files``, and the final runs, ``<protocol>/``.

    Args:
        models: names. dataset: its name. search: :class:`EqualSearch`.
        config_files: paths of YAML files; a section ``SASRec:`` is for that model alone.
        settings: for all trials and runs, over the files'.
        retry_failed: make trials and runs again that failed before.

    Returns:
        :class:`Tuned`.

    Raises:
        GenRecError: a name, file, key or value is not accepted; nothing has been trained then.
    """
    files, settings = list(map(str, config_files)), dict(settings or {})
    check_lists(models=models)
    spaces = check_spaces(models, dataset, settings, search.spaces)
    trials = _plan_trials(spaces, dataset, search, files, settings)
    folder = Path(trials[0].runs[search.protocols[0]].config["results_dir"]).parents[2]
    _carry_out_trials(trials, retry_failed)
    chosen = {protocol: _choose(trials, protocol) for protocol in search.protocols}
    _write_trials(trials, chosen, search, folder)
    files_of, compared = {}, {}
    for protocol, best in chosen.items():
        if not best:
            continue
        files_of[protocol] = _write_chosen(best, files, folder / f"chosen-{protocol}.yaml")
        own = {"repeatable": PROTOCOLS[protocol], "results_dir": str(folder / protocol)}
        finals = [*files, str(files_of[protocol])]
        compared[protocol] = compare(list(best), [dataset], search.seeds, finals, settings | own, retry_failed)
    return Tuned(trials, files_of, compared, _failures(trials, models, chosen))


def _plan_trials(spaces, dataset, search, files, settings):
    """Every trial, each number of all models before the next; what is wrong with any of them is said now."""
    models, first, trials = list(spaces), None, []
    common = {"seed": search.seeds[0], "repeatable": PROTOCOLS[search.protocols[0]]}
    if search.trial_users is not None:
        common["sample_users"] = search.trial_users
    for number in range(search.trials):
        for model in models:
            drawn = draw(spaces[model], search.seeds[0], number)
            asked = settings | common | drawn
            config = GenRecConfig(model, dataset, files, None, asked, models=models)
            for key in ("results_dir", "checkpoint_dir"):  # RecBole names checkpoints by the second
                config[key] = asked[key] = str(Path(config[key]) / "trials" / model / str(number))
            if first is None:
                first = config
                convert_raw_dump(config)
                check_dataset(config)
                check_rows(config)
            share_data_settings(first, config)
            run = planned_run(config, files, asked, models, f", trial {number}")
            trials.append(Trial(model, number, drawn, _runs_of(run, search.protocols)))
    return trials


def _runs_of(run, protocols):
    """The run of a trial under the first protocol, and the tests again of its model under the others."""
    runs = {protocols[0]: run}
    for protocol in protocols[1:]:
        again = {"repeatable": PROTOCOLS[protocol], "results_dir": str(run.file("json").parent / protocol)}
        asked = run.order["settings"] | again
        config = GenRecConfig(
            run.config["model"], run.config["dataset"], run.order["files"], None, asked, models=run.order["beside"]
        )
        order = {"again": str(run.file("json")), "settings": again}
        runs[protocol] = Planned(config, order, f"{run.label}, seen items {protocol}")
    return runs


def _carry_out_trials(trials, retry_failed):
    """Make the trials, and then measure those that succeeded under the other protocols."""
    first = [next(iter(trial.runs.values())) for trial in trials]
    carry_out(first, retry_failed)
    again = [
        run
        for trial, trained in zip(trials, first)
        if trained.file("json").is_file() and not trained.file("failed.json").is_file()
        for run in trial.runs.values()
        if run is not trained
    ]
    carry_out(again, retry_failed)


def _choose(trials, protocol):
    """The best trial of each model on validation, the earliest of equal ones; without models that have none."""
    best = {}
    for trial in trials:
        score = trial.score(protocol)
        if score is not None and (trial.model not in best or score > best[trial.model].score(protocol)):
            best[trial.model] = trial
    return {model: best[model] for model in dict.fromkeys(trial.model for trial in trials) if model in best}


def _write_chosen(best, files, path):
    """Write a file of settings with a section for each model: those that its files give it alone, and the drawn."""
    sections = {}
    for model, trial in best.items():
        given = [content[model] for content in map(read_yaml, files) if isinstance(content.get(model), dict)]
        sections[model] = {**(given[-1] if given else {}), **trial.drawn}
    write_text(path, yaml.safe_dump(plain(sections), sort_keys=True, allow_unicode=True))
    return path


def _write_trials(trials, chosen, search, folder):
    """Write ``trials.json`` and ``trials.csv``: each trial's settings, its scores on validation, whether chosen."""
    rows = []
    for trial in trials:
        results = {protocol: trial.result(protocol) for protocol in search.protocols}
        trained = results[search.protocols[0]]
        row = {"model": trial.model, "trial": trial.number, "settings": plain(trial.drawn), "validation": {}}
        row["chosen"] = [protocol for protocol, best in chosen.items() if best.get(trial.model) is trial]
        if isinstance(trained, RunResult):
            row |= {"epochs": trained.epochs, "train_seconds": trained.seconds.train}
        for protocol, result in results.items():
            if isinstance(result, RunResult):
                row["validation"][protocol] = plain(result.best_valid_result)
            elif isinstance(result, FailedRun):
                row["error"] = result.error
        rows.append(row)
    metric = trials[0].runs[search.protocols[0]].config["valid_metric"]
    content = {"trials_per_model": search.trials, "seed": search.seeds[0], "trial_users": search.trial_users}
    content |= {"valid_metric": metric, "selects_epochs": search.protocols[0], "trials": rows}
    write_text(folder / "trials.json", json.dumps(content, indent=1) + "\n")
    write_text(folder / "trials.csv", _as_csv(rows, search.protocols, metric.lower()))


def _as_csv(rows, protocols, metric):
    drawn = list(dict.fromkeys(key for row in rows for key in row["settings"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = [f"valid {metric}, {protocol}" for protocol in protocols]
    writer.writerow(["model", "trial", *scores, "chosen", "epochs", "train_seconds", "error", *drawn])
    for row in rows:
        found = [(row["validation"].get(protocol) or {}).get(metric, "") for protocol in protocols]
        figures = [" ".join(row["chosen"]), row.get("epochs", ""), row.get("train_seconds", ""), row.get("error", "")]
        settings = [row["settings"].get(key, "") for key in drawn]
        writer.writerow([row["model"], row["trial"], *found, *figures, *settings])
    return text.getvalue()


def _failures(trials, models, chosen):
    failed = [trial.name for trial in trials if any(trial.score(protocol) is None for protocol in chosen)]
    lost = [model for model in models if any(model not in best for best in chosen.values())]
    return failed + [f"{model}: no trial succeeded" for model in lost]


def tuning_texts(tuned):
    """What a search prints before its tables: which trial of each model was chosen, and which failed."""
    for protocol, path in tuned.chosen.items():
        best = _choose(tuned.trials, protocol)
        for model, trial in best.items():
            tried = sum(other.model == model for other in tuned.trials)
            score = f"{trial.result(protocol).best_valid_score:.4f}"
            yield f"Seen items {protocol}: {model}, trial {trial.number} of {tried}, {score} on validation; {path}"
    if tuned.failed:
        yield f"Failed: {'; '.join(tuned.failed)}."


def is_complete(tuned):
    """Whether no trial and no final run failed."""
    return not tuned.failed and not any(isinstance(c, Compared) and c.failed for c in tuned.compared.values())
