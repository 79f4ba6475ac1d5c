"""How an item is named: GenRec and P5 with every indexing scheme, on the same split and the same budget of training.

Each run adds a line to ``--runs``. A run that has its line there, with the same budget, is not made again, so that the
comparison can be stopped and goes on where it was, elsewhere too; the table has all runs that are there.

    python -m benchmarks.indexing --datasets ml-100k amazon14-toys --seeds 2020 2021 2022 --data FOLDER

The results page has the table of all runs that there are (``python -m benchmarks.page``).
"""

import json
import statistics
from itertools import product
from pathlib import Path

from benchmarks.common import Results, parser, report
from recbole_genrec import run_recbole_genrec
from recbole_genrec.catalogue.schemes import known_indexings
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.files.table import rows_as_markdown
from recbole_genrec.files.write import write_text

METRICS = ("hit@10", "ndcg@10")

#: of Toys' many users a sample is enough, and the last epoch is tested.
_TOYS = {"eval_users": 4000, "eval_step": 100}
#: so many candidates fit into a prompt by their titles, too.
_P5 = {"learning_rate": 3.0e-3, "n_candidates": 10}
#: settings over the shipped defaults, which bound the training: the same for all schemes of a model on a dataset.
BUDGETS = {
    ("GenRec", "ml-100k"): {"epochs": 8},
    ("GenRec", "amazon14-toys"): {"epochs": 8, **_TOYS},
    ("P5", "ml-100k"): {"epochs": 6, "MAX_ITEM_LIST_LENGTH": 20, **_P5},
    ("P5", "amazon14-toys"): {"epochs": 3, "examples_per_user": 1, **_P5, **_TOYS},
}
#: a title of Toys has up to 177 tokens: two of them are what a prompt holds as candidates beside a history.
_LONG = {("P5", "amazon14-toys", scheme): {"n_candidates": 2} for scheme in ("title", "hybrid")}


#: what runs of all schemes have beside their budget.
_FIXED = {
    "GenRec": {"eval_step": 1},
    "P5": {"test_tasks": False},  # the boards have next items only
}


def read_runs(file):
    """Rows of runs that were made, by what identifies them."""
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {_identity(**row): row for row in rows}


def budget_of(model, dataset, scheme):
    """The settings that bound a training."""
    return BUDGETS.get((model, dataset), {}) | _LONG.get((model, dataset, scheme), {})


def comparable(runs):
    """Those that were made with the budget which stands here now."""
    return [row for row in runs if row["budget"] == budget_of(row["model"], row["dataset"], row["scheme"])]


def _identity(dataset, model, scheme, seed, budget, **results):
    return dataset, model, scheme, seed, json.dumps(budget, sort_keys=True)


def run(options, dataset, model, scheme, seed, budget):
    """Train and test a model with a scheme; returns the row."""
    settings = _FIXED.get(model, {}) | budget | {"item_indexing": scheme, "seed": seed, "show_progress": False}
    settings["results_dir"] = str(options.output.parent / "indexing" / scheme)
    if options.data:
        settings["data_path"] = str(options.data)
    # settings that a dataset has of its own for GenRec are for titles
    files = [str(properties_folder() / f"model/{model}.yaml")]
    result = run_recbole_genrec(model, dataset, files, settings, saved=False)
    asked = {"dataset": dataset, "model": model, "scheme": scheme, "seed": seed, "budget": budget}
    return asked | outcome(result)


def outcome(result):
    """What is kept of a run's result."""
    figures = {name: result["identifiers"][name] for name in ("tokens", "decisions", "new_tokens", "collisions")}
    figures |= {name: result["test_result"][name] for name in METRICS}
    if result["best_valid_result"]:
        figures |= {f"valid {name}": result["best_valid_result"][name] for name in METRICS}
    return figures | {
        "valid_share": result["generation"]["valid_share"],
        "epochs": result["epochs"],
        "train_s": round(result["seconds"]["train"], 1),
        "users_s": round(result["users_per_second"], 1),
        "parameters": result["parameters"]["total"],
        "versions": result["versions"],
        "hardware": result["hardware"],
    }


def summary(runs):
    """A row for each dataset, model and scheme: means over the seeds."""
    groups = {}
    for row in runs:
        groups.setdefault((row["dataset"], row["model"], row["scheme"]), []).append(row)
    return [
        {"dataset": dataset, "model": model, "scheme": scheme, "seeds": len(rows), **_means(rows)}
        for (dataset, model, scheme), rows in groups.items()
    ]


def _means(rows):
    names = ("tokens", "decisions", "new_tokens", "parameters", "valid_share", "epochs", "train_s", "users_s", *METRICS)
    means = {name: statistics.mean(row[name] for row in rows) for name in names}
    if len(rows) > 1:
        means |= {f"{metric} sd": statistics.stdev(row[metric] for row in rows) for metric in METRICS}
    return means


def boards(runs):
    """Markdown tables of runs, one for each dataset: schemes down, the first model's best first, models across.

    Lengths are those of the first model: P5 reads the same names, and ends those of text with a token more.
    """
    groups = {}
    for row in summary(runs):
        groups.setdefault(row["dataset"], {}).setdefault(row["model"], {})[row["scheme"]] = row
    return "\n".join(_board(dataset, models) for dataset, models in sorted(groups.items(), reverse=True))


def _board(dataset, models):
    first, *_ = models.values()
    header = ["scheme", "tokens", "decisions", "new tokens"]
    header += [f"{model}: {metric.upper().replace('HIT', 'HR')}" for model in models for metric in METRICS]
    lines = [header]
    for scheme, row in sorted(first.items(), key=lambda item: -item[1][METRICS[-1]]):
        cells = [f"`{scheme}`", f"{row['tokens']:.2f}", f"{row['decisions']:.2f}", f"{row['new_tokens']:,.0f}"]
        cells += [_cell(rows.get(scheme), metric) for rows in models.values() for metric in METRICS]
        lines.append(cells)
    seeds = ", ".join(f"{model} {_range([row['seeds'] for row in rows.values()])}" for model, rows in models.items())
    return rows_as_markdown(f"`{dataset}`; seeds: {seeds}.", lines)


def _cell(row, metric):
    if row is None:
        return ""
    spread = f" ± {row[f'{metric} sd']:.4f}" if row["seeds"] > 1 else ""
    return f"{row[metric]:.4f}{spread}"


def _range(counts):
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def main(arguments=None):
    """Make the runs that are still missing and report them."""
    options = parser("indexing", __doc__)
    options.add_argument("--datasets", nargs="+", default=["ml-100k"])
    options.add_argument("--models", nargs="+", default=["GenRec", "P5"])
    options.add_argument("--schemes", nargs="+", default=known_indexings(), choices=known_indexings())
    options.add_argument("--seeds", nargs="+", type=int, default=[2020])
    options.add_argument("--runs", type=Path, default=Path("benchmarks/results/indexing.jsonl"), help="a line a run")
    options.add_argument("--data", type=Path, help="RecBole's 'data_path'")
    options = options.parse_args(arguments)
    runs = read_runs(options.runs)
    wanted = list(product(options.seeds, options.datasets, options.models, options.schemes))
    asked = []
    for seed, dataset, model, scheme in wanted:
        budget = budget_of(model, dataset, scheme) | ({"epochs": 1} if options.quick else {})
        asked.append(_identity(dataset, model, scheme, seed, budget))
        if asked[-1] not in runs:
            runs[asked[-1]] = run(options, dataset, model, scheme, seed, budget)
            write_text(options.runs, "".join(json.dumps(row) + "\n" for row in runs.values()))
    columns = {"dataset": "", "model": "", "scheme": "", "seeds": "", "tokens": ".2f", "decisions": ".2f"}
    columns |= {"new_tokens": ",.0f", "parameters": ",.0f"}
    for metric in METRICS:
        columns |= {metric: ".4f", f"{metric} sd": ".4f"}
    columns |= {"valid_share": ".0%", "epochs": ".1f", "train_s": ".0f", "users_s": ".0f"}
    report(options, {"rows": Results("Indexing schemes: test", columns, summary([runs[key] for key in asked]))})


if __name__ == "__main__":
    main()
