"""``log_wandb``: what arrives at Weights & Biases, by a stand-in for its module."""

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from recbole_genrec import GenRecError, run_recbole_genrec

SMALL = {
    "SASRec": {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1},
    "GenRec": {
        "scratch_hidden_size": 8,
        "scratch_layers": 1,
        "scratch_intermediate_size": 8,
        "scratch_vocab_size": 300,
    },
    "topk": [1, 3],
    "epochs": 2,
    "show_progress": False,
    "log_wandb": True,
    "wandb_project": "mine",
}


class Wandb(ModuleType):
    """``wandb`` as RecBole and the runner call it; keeps every run."""

    def __init__(self):
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None, origin="here")
        self.run, self.runs = None, []

    def init(self, project, name, config):
        json.dumps(config)  # the real one warns of what it cannot store
        self.run = SimpleNamespace(project=project, name=name, config=config, summary={}, logged=[], steps={})
        self.runs.append(self.run)

    def define_metric(self, name, step_metric):
        self.run.steps[name] = step_metric

    def log(self, metrics, commit=True):
        self.run.logged.append(metrics)

    def finish(self):
        self.run = None


@pytest.fixture
def wandb(monkeypatch):
    module = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def settings(tmp_path, monkeypatch, write_dataset):
    rows = [(user, (user + step) % 9, 1000 + step) for user in range(8) for step in range(6)]
    monkeypatch.chdir(tmp_path)
    return {**SMALL, "data_path": write_dataset(tmp_path / "data", rows, [(item, f"Film {item}") for item in range(9)])}


def test_every_model_has_a_run_with_its_losses_and_metrics(settings, wandb):
    results = run_recbole_genrec("GenRec,SASRec", "tiny", config_dict={**settings, "cold_items": 0.4})
    assert [run.name for run in wandb.runs] == ["GenRec-tiny-2020", "SASRec-tiny-2020"] and wandb.run is None
    for run, result in zip(wandb.runs, results):
        assert run.project == "mine" and run.config["epochs"] == 2 and run.config["model"] == result["model"]
        assert run.steps == {"train/*": "train_step", "valid/*": "valid_step"}
        train = [metrics for metrics in run.logged if "train_step" in metrics]
        valid = [metrics for metrics in run.logged if "valid_step" in metrics]
        assert [metrics["train_step"] for metrics in train] == [0, 1] and all(m["train/train_loss"] > 0 for m in train)
        assert [metrics["valid_step"] for metrics in valid] == [0, 1]
        assert max(metrics["valid/ndcg@3"] for metrics in valid) == result["best_valid_score"]
        assert {name: run.summary[f"eval/{name}"] for name in result["test_result"]} == result["test_result"]
        cold = result["cold"]["test_result"]
        assert {name: run.summary[f"cold/{name}"] for name in cold} == cold


def test_models_that_do_not_train_are_logged_too(settings, wandb):
    given = {**settings, **settings["GenRec"], "backbone": "scratch"}
    result = run_recbole_genrec("PromptLLM", "tiny", config_dict=given)
    (run,) = wandb.runs
    assert [metrics for metrics in run.logged] == [
        {"valid_step": 0, **{f"valid/{name}": value for name, value in result["best_valid_result"].items()}}
    ]
    assert run.summary["eval/hit@3"] == result["test_result"]["hit@3"]


def test_a_run_that_is_under_way_is_left_open(settings, wandb):
    wandb.init("theirs", "sweep", {})
    run_recbole_genrec("SASRec", "tiny", config_dict=settings)
    assert wandb.run is wandb.runs[0] and len(wandb.runs) == 1 and wandb.run.logged


def test_a_failed_run_is_finished(settings, wandb, monkeypatch):
    monkeypatch.setattr("recbole_genrec.runs.run._run_model", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_recbole_genrec("SASRec", "tiny", config_dict=settings)
    assert wandb.runs and wandb.run is None


def test_without_the_key_nothing_is_sent(settings, wandb):
    run_recbole_genrec("SASRec", "tiny", config_dict={**settings, "log_wandb": False})
    assert not wandb.runs


@pytest.mark.parametrize("spec", [None, ModuleSpec("wandb", None)])  # nothing; the folder that wandb writes
def test_a_missing_wandb_is_named_before_anything_runs(settings, monkeypatch, tmp_path, spec):
    monkeypatch.setattr("recbole_genrec.config.config.find_spec", lambda name: spec)
    with pytest.raises(GenRecError, match=r"needs wandb: pip install 'recbole_genrec\[wandb\]'"):
        run_recbole_genrec("SASRec", "tiny", config_dict=settings)
    assert not (tmp_path / "saved").exists()
