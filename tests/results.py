"""Results of runs that were never made."""

from recbole_genrec.runs.result import RunResult

#: what the JSON of a run holds, as an early version wrote it: without the keys that came later.
EARLY = {
    "model": "GenRec",
    "dataset": "tiny",
    "seed": 2020,
    "best_valid_result": {"hit@1": 0.25},
    "valid_metric": "Hit@1",
    "test_result": {"hit@1": 0.25},
    "epochs": 3,
    "seconds": {"train": 61.7, "total": 70.0},
    "users_per_second": 99.6,
    "parameters": {"total": 1234567, "trainable": 1000},
    "config": {"eval_args": {"mode": "full", "split": {"LS": "valid_and_test"}}, "topk": [1], "epochs": 3},
    "versions": {"python": "3.12.0", "recbole_genrec": "0.1.0", "torch": "2.6.0", "recbole": "1.2.1"},
    "hardware": {"device": "cpu", "name": "x86_64", "cpu_count": 2, "threads": 1},
}


def run_result(**changes):
    """A :class:`RunResult` with the values of some keys."""
    return RunResult.model_validate(EARLY | changes)
