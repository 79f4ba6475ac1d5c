"""How an item is named: GenRec and P5 with every indexing scheme, on the same split and the same budget of training.

A run that has its result file below ``--results`` is not made again, so that the comparison can be stopped and goes on
where it was; the table has all runs that are there.

    python -m benchmarks.indexing --datasets ml-100k amazon14-toys --seeds 2020 2021 2022 --data FOLDER
"""

import json
import statistics
from pathlib import Path

from benchmarks.common import Results, parser, report
from recbole_genrec import run_recbole_genrec
from recbole_genrec.indexing import known_indexings

METRICS = ("hit@10", "ndcg@10")

#: settings over the shipped defaults, which bound the training: the same for all schemes of a model on a dataset.
BUDGETS = {
    ("GenRec", "ml-100k"): {"epochs": 8},
    ("GenRec", "amazon14-toys"): {"epochs": 8},
    ("P5", "ml-100k"): {"epochs": 6, "MAX_ITEM_LIST_LENGTH": 20, "learning_rate": 3.0e-3},
    ("P5", "amazon14-toys"): {"epochs": 3, "examples_per_user": 1, "learning_rate": 3.0e-3},
}


def result_file(options, model, dataset, scheme, seed):
    """Where a run leaves its result."""
    return options.results / scheme / f"{model}-{dataset}-{seed}.json"


def run(options, model, dataset, scheme, seed):
    """Train and test a model with a scheme."""
    settings = BUDGETS.get((model, dataset), {}) | {
        "item_indexing": scheme,
        "seed": seed,
        "results_dir": str(options.results / scheme),
        "show_progress": False,
    }
    if options.data:
        settings["data_path"] = str(options.data)
    if options.quick:
        settings |= {"epochs": 1}
    run_recbole_genrec(model, dataset, config_dict=settings, saved=False)


def summary(options):
    """A row for each model, dataset and scheme: means over the seeds that have a result."""
    rows = []
    for dataset in options.datasets:
        for model in options.models:
            for scheme in options.schemes:
                files = [result_file(options, model, dataset, scheme, seed) for seed in options.seeds]
                found = [json.loads(file.read_text("utf-8")) for file in files if file.is_file()]
                if found:
                    rows.append({"dataset": dataset, "model": model, "scheme": scheme, **_means(found)})
    return rows


def _means(found):
    row = {"seeds": len(found)}
    for name in ("tokens", "decisions", "new_tokens"):
        row[name] = statistics.mean(result["identifiers"][name] for result in found)
    for metric in METRICS:
        scores = [result["test_result"][metric] for result in found]
        row[metric] = statistics.mean(scores)
        row[f"{metric} sd"] = statistics.stdev(scores) if len(scores) > 1 else None
    row["valid"] = statistics.mean(result["generation"]["valid_share"] for result in found)
    row["train_s"] = statistics.mean(result["seconds"]["train"] for result in found)
    row["users_s"] = statistics.mean(result["users_per_second"] for result in found)
    row["epochs"] = statistics.mean(result["epochs"] for result in found)
    row["parameters"] = statistics.mean(result["parameters"]["total"] for result in found)
    return row


def main(arguments=None):
    options = parser("indexing", __doc__)
    options.add_argument("--datasets", nargs="+", default=["ml-100k"])
    options.add_argument("--models", nargs="+", default=["GenRec", "P5"])
    options.add_argument("--schemes", nargs="+", default=known_indexings(), choices=known_indexings())
    options.add_argument("--seeds", nargs="+", type=int, default=[2020])
    options.add_argument("--results", type=Path, default=Path("results/indexing"), help="one folder a scheme")
    options.add_argument("--data", type=Path, help="RecBole's 'data_path'")
    options = options.parse_args(arguments)
    for seed in options.seeds:
        for dataset in options.datasets:
            for model in options.models:
                for scheme in options.schemes:
                    if not result_file(options, model, dataset, scheme, seed).is_file():
                        run(options, model, dataset, scheme, seed)
    columns = {"dataset": "", "model": "", "scheme": "", "seeds": "", "tokens": ".2f", "decisions": ".2f"}
    columns |= {"new_tokens": ",.0f", "parameters": ",.0f"}
    for metric in METRICS:
        columns |= {metric: ".4f", f"{metric} sd": ".4f"}
    columns |= {"valid": ".0%", "epochs": ".1f", "train_s": ".0f", "users_s": ".0f"}
    report(options, {"rows": Results("Indexing schemes: test", columns, summary(options))})


if __name__ == "__main__":
    main()
