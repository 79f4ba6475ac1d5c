"""What does each idea bring? One training for every idea, over a common base, and for several seeds.

    python -m benchmarks.ideas benchmarks/ideas/ml-100k.yaml [--seeds 2020,2021,2022] [--data FOLDER]

The file names a ``dataset``, the ``base`` settings, and ``ideas``: what each of them changes, by its name. An idea's
``on`` names another idea that it stands on, instead of the base. ``$encoder`` in a value stands for ``--encoder``, the
folder of a sentence encoder; without it the ideas that need one are left out.

Each run is a process of its own and made once: a second call goes on where the first one was stopped. The table has
test HR@10 and NDCG@10, means over the seeds; the difference of NDCG@10 to what the idea stands on, with the p-value of
a paired bootstrap over users (not corrected for the number of ideas); NDCG@10 in validation; and seconds of training,
the mean.
"""

from pathlib import Path
from statistics import mean

import yaml

from benchmarks.common import Results, parser, report
from recbole_genrec.report.statistics import UserSums, mean_and_deviation, paired_over_users
from recbole_genrec.report.stored_runs import Run
from recbole_genrec.runs.compare import compare
from recbole_genrec.runs.result import read_run

MODEL = "GenRec"
METRIC = "ndcg@10"
BASE = "base"
ENCODER = "$encoder"
COLUMNS = {
    "idea": "",
    "seeds": "",
    "valid": ".4f",
    "hit@10": ".4f",
    METRIC: ".4f",
    "deviation": ".4f",
    "difference": "+.4f",
    "p": ".3f",
    "seconds": ",.0f",
}


def main():
    """Read the options, make the runs that are missing, and report."""
    options = parser("ideas", __doc__)
    options.add_argument("file", type=Path, help="YAML: dataset, base, ideas")
    options.add_argument("--seeds", default="2020,2021,2022")
    options.add_argument("--data", default=None, help="data_path")
    options.add_argument("--runs", type=Path, default=Path("results/ideas"), help="folder of the runs' results")
    options.add_argument("--encoder", default=None, help="folder or hub id of a sentence encoder")
    options.add_argument("--only", default=None, help="names of ideas, with ; between them")
    options = options.parse_args()
    plan = yaml.safe_load(options.file.read_text("utf-8").replace(ENCODER, options.encoder or ENCODER))
    seeds = [int(seed) for seed in options.seeds.split(",")][: 1 if options.quick else None]
    ideas = {BASE: {}, **plan["ideas"]}
    if options.only:
        ideas = {name: ideas[name] for name in options.only.split(";")}
    ideas = {name: idea for name, idea in ideas.items() if ENCODER not in str(_settings(name, plan))}
    common = {"epochs": 1} if options.quick else {}
    common |= {"data_path": options.data} if options.data else {}
    runs = {}
    for name in ideas:
        runs[name] = _runs_of(name, plan, common, seeds, options.runs / options.file.stem)
    rows = [_row(name, runs, plan["ideas"].get(name, {}).get("on", BASE)) for name in runs if runs[name]]
    report(options, {"ideas": Results(f"{plan['dataset']}: what each idea brings", COLUMNS, rows)}, plan=plan)


def _settings(name, plan):
    """Settings of an idea, over those of what it stands on."""
    if name == BASE:
        return plan["base"]
    idea = dict(plan["ideas"][name])
    return _settings(idea.pop("on", BASE), plan) | idea


def _runs_of(name, plan, common, seeds, folder):
    """The finished runs of an idea by seed."""
    slug = "".join(letter if letter.isalnum() else "-" for letter in name)
    settings = _settings(name, plan) | common | {"results_dir": str(folder / slug)}
    compared = compare([MODEL], [plan["dataset"]], seeds, settings=settings)
    runs = [Run(Path(path), read_run(Path(path))) for path in sorted(compared.results)]
    return {run.result.config["seed"]: run for run in runs}


def _row(name, runs, reference):
    results = [run.result for run in runs[name].values()]
    value, deviation = mean_and_deviation([result.test_result[METRIC] for result in results])
    row = {
        "idea": name,
        "seeds": len(results),
        "valid": mean(result.best_valid_result[METRIC] for result in results),
        "hit@10": mean(result.test_result["hit@10"] for result in results),
        METRIC: value,
        "deviation": deviation,
        "seconds": mean(result.seconds.train for result in results),
    }
    if name != reference and runs.get(reference):
        row["difference"], _, row["p"] = _paired(runs[name], runs[reference])
    return row


def _paired(runs, others):
    """:func:`~recbole_genrec.report.statistics.paired_over_users` of the seeds that two ideas share."""
    seeds = sorted(runs.keys() & others.keys())
    pairs = [tuple(UserSums(each[seed].outcomes(), [METRIC]) for each in (runs, others)) for seed in seeds]
    return paired_over_users(pairs)[METRIC] if pairs else (None, None, None)


if __name__ == "__main__":
    main()
