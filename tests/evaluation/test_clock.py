"""The curve of a run: every epoch, whichever trainer it is, also where training was stopped and went on."""

import json
from pathlib import Path

import pytest

from recbole_genrec import run_recbole_genrec
from tests.builders import stopping_in_epoch

SMALL = {
    "scratch_hidden_size": 16,
    "scratch_layers": 1,
    "scratch_intermediate_size": 16,
    "scratch_vocab_size": 300,
    "SASRec": {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1},
    "epochs": 3,
    "topk": [1, 3],
}


@pytest.fixture
def settings(tmp_path, monkeypatch, write_dataset):
    monkeypatch.chdir(tmp_path)
    rows = [(user, (user + step) % 9, 1000 + step) for user in range(8) for step in range(6)]
    return {**SMALL, "data_path": write_dataset(tmp_path / "data", rows, [(item, f"Item {item}") for item in range(9)])}


@pytest.mark.parametrize("model", ["GenRec", "SASRec"])
def test_every_epoch_has_its_loss_and_the_validations_their_metrics(settings, model):
    result = run_recbole_genrec(model, "tiny", config_dict={**settings, "eval_step": 2, "epochs": 4})
    curve = result["curve"]
    assert [epoch["epoch"] for epoch in curve] == [1, 2, 3, 4]
    assert all(epoch["train_loss"] > 0 and epoch["train_seconds"] > 0 for epoch in curve)
    validated = [epoch for epoch in curve if "valid_result" in epoch]
    assert [epoch["epoch"] for epoch in validated] == [2, 4]
    assert result["best_valid_result"] in [epoch["valid_result"] for epoch in validated]
    assert result["epochs"] == 4
    assert result["seconds"]["train"] == sum(epoch["train_seconds"] for epoch in curve)
    assert result["seconds"]["validate"] == sum(epoch["valid_seconds"] for epoch in validated)


def test_a_resumed_run_tells_of_its_first_epochs(settings):
    whole = run_recbole_genrec("GenRec", "tiny", config_dict={**settings, "checkpoint_dir": "whole"})
    with stopping_in_epoch(2), pytest.raises(KeyboardInterrupt):
        run_recbole_genrec("GenRec", "tiny", config_dict=settings)
    (file,) = Path("saved").glob("*/curve.json")
    first = json.loads(file.read_text("utf-8"))
    resumed = run_recbole_genrec("GenRec", "tiny", config_dict={**settings, "resume": "auto"})
    assert resumed["curve"][:2] == first and len(first) == 2

    def learned(run):
        return [(epoch["epoch"], epoch["train_loss"], epoch["valid_result"]) for epoch in run["curve"]]

    assert learned(resumed) == learned(whole)
    again = run_recbole_genrec("GenRec", "tiny", config_dict={**settings, "resume": "auto"})
    assert again["curve"] == resumed["curve"] and again["epochs"] == 3


def test_a_run_that_starts_anew_forgets_the_one_before(settings):
    first = run_recbole_genrec("GenRec", "tiny", config_dict=settings)
    second = run_recbole_genrec("GenRec", "tiny", config_dict=settings)
    assert [epoch["epoch"] for epoch in second["curve"]] == [1, 2, 3]
    assert second["curve"] != first["curve"]  # the seconds are its own


def test_a_model_without_training_is_validated_in_epoch_0(settings):
    result = run_recbole_genrec("PromptLLM", "tiny", config_dict={**settings, "backbone": "scratch"})
    assert [epoch["epoch"] for epoch in result["curve"]] == [0]
    assert result["curve"][0]["valid_result"] == result["best_valid_result"]
    assert result["epochs"] == 0
