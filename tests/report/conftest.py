"""Runs that were never made: JSON and outcomes as a run writes them, with figures that a test chooses."""

import json

import numpy as np
import pytest

from recbole_genrec.evaluation.outcomes import Outcomes


@pytest.fixture
def outcomes():
    """Make outcomes from targets' places: users u0, u1, ..., targets i1, i2, ... one after the other."""

    def make(places, n_items=30, length=10, seed=0):
        places = np.asarray(places)
        random = np.random.default_rng(seed)
        targets = 1 + np.arange(len(places)) % n_items
        lists = np.stack([random.permutation(np.setdiff1d(np.arange(1, n_items + 1), [t]))[:length] for t in targets])
        found = places > 0
        lists[np.flatnonzero(found), places[found] - 1] = targets[found]
        return Outcomes(
            items=np.array(["[PAD]", *(f"i{item}" for item in range(1, n_items + 1))]),
            item_counts=np.array([0, *range(n_items - 1, -1, -1)]),
            users=np.array([f"u{user}" for user in range(len(places))]),
            user_counts=np.arange(len(places)) % 120,
            lists=lists,
            rows=np.arange(len(places)),
            targets=targets,
            places=places,
        )

    return make


@pytest.fixture
def write_run(tmp_path, outcomes):
    """Write a run with the places of its targets; gives the path of its JSON."""

    def write(model, seed, places=(1, 0, 2, 5, 0, 11), folder="results", dataset="toy", stored=True, **changes):
        made = outcomes(places, length=12, seed=seed)
        metrics = made.metrics(["Hit", "NDCG"], [5, 10])
        tested = {name: round(float(value.mean()), 4) for name, value in metrics.items()}
        config = {"eval_args": {"mode": "full", "split": {"LS": "valid_and_test"}}, "topk": [5, 10], "epochs": 20}
        config |= {"seed": seed, "valid_metric": "NDCG@10", "learning_rate": 0.001} | changes.pop("config", {})
        curve = [
            {"epoch": epoch, "train_loss": 1 / epoch, "train_seconds": 2.0, "valid_seconds": 1.0}
            | {"valid_result": {name: value * epoch / 3 for name, value in tested.items()}}
            for epoch in (1, 2, 3)
        ]
        result = {
            "model": model,
            "dataset": dataset,
            "seed": seed,
            "best_valid_score": curve[-1]["valid_result"]["ndcg@10"],
            "best_valid_result": curve[-1]["valid_result"],
            "valid_metric": "NDCG@10",
            "test_result": tested,
            "users": {"evaluated": len(places), "of": len(places)},
            "epochs": 3,
            "curve": curve,
            "outcomes": stored,
            "seconds": {"train": 6.0 * len(model), "total": 10.0},
            "users_per_second": 50.0 * seed,
            "parameters": {"total": 1234567, "trainable": 1234567},
            "generation": {"valid_share": 1.0} if model == "GenRec" else {},
            "config": config,
            "versions": {"python": "3.12.0", "recbole_genrec": "0.1.0", "torch": "2.6.0", "recbole": "1.2.1"},
            "hardware": {"device": "cpu", "name": "x86_64", "cpu_count": 2, "threads": 1},
        } | changes
        path = tmp_path / folder / f"{model}-{dataset}-{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result), "utf-8")
        if stored:
            made.write(path.with_suffix(".npz"))
        return path

    return write
