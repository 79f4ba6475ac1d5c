"""A finished run tested again: the same numbers under the same settings, and the asked-for ones under others."""

import json
from pathlib import Path

import numpy as np
import pytest

from recbole_genrec import run_recbole_genrec
from recbole_genrec.cli.main import main
from recbole_genrec.errors import GenRecError
from recbole_genrec.evaluation.outcomes import Outcomes
from recbole_genrec.runs.retest import retest

MEASURED = ("test_result", "test_interval", "best_valid_result", "best_valid_score", "users")


@pytest.fixture
def run(tmp_path, checkerboard, monkeypatch):
    """Train a model in an empty folder; gives the path of its JSON."""
    monkeypatch.chdir(tmp_path)

    def train(model, **settings):
        run_recbole_genrec(
            model, "tiny", config_dict=checkerboard | {"epochs": 2, "metrics": ["Hit", "NDCG"]} | settings
        )
        return Path(f"results/{model}-tiny-2020.json")

    return train


def histories_of(dataset):
    """Items of every user in the order of time, from the file."""
    (path,) = Path().rglob(f"{dataset}.inter")
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:]]
    histories = {}
    for user, item, _ in sorted(rows, key=lambda row: float(row[2])):
        histories.setdefault(user, []).append(item)
    return histories


@pytest.mark.parametrize("model", ["GenRec", "GenRecSeq2Seq", "P5", "SASRec", "SASRecAll", "BPR", "EASE"])
def test_the_same_settings_give_the_same_numbers(run, model):
    path = run(model)
    first, again = json.loads(path.read_text("utf-8")), retest(path)
    assert json.loads(Path("results/again", path.name).read_text("utf-8"))["test_result"] == first["test_result"]
    for key in MEASURED:
        assert again[key] == (tuple(first[key]) if isinstance(again[key], tuple) else first[key]), key
    assert again["seconds"]["train"] == first["seconds"]["train"]
    assert all("valid_result" not in epoch for epoch in again["curve"])
    assert len(again["curve"]) == first["epochs"]
    one, other = (
        Outcomes.read(folder / path.with_suffix(".npz").name) for folder in (Path("results"), Path("results/again"))
    )
    assert np.array_equal(one.lists, other.lists)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("GenRec", {"item_prior": True, "unseen_share": 0.2, "max_prompt_tokens": 200}),
        ("SASRecAll", {"text_vectors": "tfidf"}),
    ],
)
def test_cold_items_are_asked_for_again(run, model, settings):
    path = run(model, cold_items=0.4, topk=[1, 2], valid_metric="NDCG@2", **settings)
    first, again = json.loads(path.read_text("utf-8")), retest(path)
    assert first["cold"]["rows"] > 5 and set(first["cold"]) >= {"items", "test_result", "among_cold"}
    assert json.loads(Path("results/again", path.name).read_text("utf-8"))["cold"] == first["cold"]
    assert again["cold"]["items"] == first["cold"]["items"]
    other = retest(path, {"topk": [1], "results_dir": "other"})["cold"]
    hits = [result["test_result"]["hit@1"] for result in (first["cold"], other)]
    assert hits[0] == hits[1] and set(other["test_result"]) == {"hit@1", "ndcg@1"}


@pytest.mark.parametrize("model", ["GenRec", "SASRecAll", "BPR", "EASE"])
def test_what_was_seen_is_left_out(run, model):
    path = run(model)
    assert main(["test", f"--run={path}", "--repeatable=False", "--topk=[2]", "--results_dir=unseen"]) == 0
    result = json.loads(Path("unseen", path.name).read_text("utf-8"))
    assert result["config"]["repeatable"] is False and set(result["test_result"]) == {"hit@2", "ndcg@2"}
    assert result["tested_again"]["instead_of"]["repeatable"] is True and result["valid_metric"] == "NDCG@2"
    outcomes = Outcomes.read(Path("unseen", path.with_suffix(".npz").name))
    assert outcomes.lists.shape[1] == 2
    histories = histories_of("tiny")
    targets = dict(zip(outcomes.rows, outcomes.items[outcomes.targets]))
    for row, (user, listed) in enumerate(zip(outcomes.users, outcomes.lists)):
        assert not set(outcomes.items[listed]) & (set(histories[user][:-1]) - {targets[row]})


def test_candidates_may_be_others(run):
    result = retest(run("SASRecAll"), {"eval_args": {"mode": "uni3"}, "results_dir": "sampled"})
    assert result["config"]["eval_args"]["mode"] == {"valid": "uni3", "test": "uni3"}
    assert result["config"]["eval_args"]["split"] == {"LS": "valid_and_test"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.1}, "Unknown setting of a test 'learning_rate'"),
        ({"repeatabel": False}, "Did you mean 'repeatable'"),
        ({"eval_args": {"split": {"RS": [8, 1, 1]}}}, "the 'mode' alone"),
        ({"eval_args": "uni100"}, "the 'mode' alone"),
        ({"results_dir": "results"}, "must be another folder than 'results'"),
        ({"repeatable": 3}, "'repeatable' must be true or false"),
    ],
)
def test_what_would_need_a_training_is_refused(run, settings, message):
    path = run("SASRecAll")
    before = path.read_bytes()
    with pytest.raises(GenRecError, match=message):
        retest(path, settings)
    assert path.read_bytes() == before and not Path("results/again").exists()


def test_a_run_without_a_checkpoint_is_refused(run, checkerboard):
    path = run("SASRecAll")
    stored = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(stored | {"checkpoint": None}), "utf-8")
    with pytest.raises(GenRecError, match="names no checkpoint"):
        retest(path)


@pytest.mark.parametrize("model", ["SASRec", "GenRec"])
def test_weights_of_other_settings_are_refused(run, model):
    path = run(model)
    stored = json.loads(path.read_text("utf-8"))
    stored["config"] |= {"inner_size": 8} if model == "SASRec" else {"scratch_intermediate_size": 8}
    path.write_text(json.dumps(stored), "utf-8")
    with pytest.raises(GenRecError, match="The checkpoint .* (does not fit|belongs to another)"):
        retest(path)
    assert not Path("results/again").exists()


def test_a_lost_checkpoint_is_one_line(run, capsys):
    path = run("SASRecAll")
    Path(json.loads(path.read_text("utf-8"))["checkpoint"]).unlink()
    capsys.readouterr()
    assert main(["test", f"--run={path}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "is not there" in said


def test_a_run_cannot_say_that_its_code_is_trusted(run):
    path = run("GenRec")
    stored = json.loads(path.read_text("utf-8"))
    stored["config"]["trust_remote_code"] = True
    path.write_text(json.dumps(stored), "utf-8")
    assert not retest(path)["config"].get("trust_remote_code")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["test"], "--run is missing"), (["test", "--run=nowhere.json"], "nowhere.json")],
)
def test_the_command_says_what_is_missing(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
