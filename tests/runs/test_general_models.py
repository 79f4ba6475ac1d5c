"""General models of RecBole beside sequential ones: one table, one test of significance, one cold test."""

from itertools import count
from pathlib import Path

import pytest

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.cli.main import main
from recbole_genrec.config import config as configuration
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs import run as runner

# isort: split
from recbole.model.general_recommender import BPR, EASE

GENREC = {"scratch_hidden_size": 16, "scratch_layers": 1, "scratch_vocab_size": 300, "warmup_steps": 0}


def test_one_table_holds_models_of_all_kinds(settings):
    settings |= {"GenRec": {**GENREC, "item_indexing": "independent", "item_text": "{item_id}"}, "epochs": 1}
    del settings["hidden_size"]
    settings["SASRec"] |= {"hidden_size": 8}
    path = Path(settings["data_path"], "tiny/tiny.item")
    path.write_text(
        "\n".join(["item_id:token\ttitle:token_seq", *(f"{item}\tfilm {item}" for item in range(9))]) + "\n"
    )
    models = ["GenRec", "BPR", "SASRec", "Pop"]
    results = run_recbole_genrec(models, "tiny", config_dict=settings)
    assert [result["model"] for result in results] == models
    table = Path("results/GenRec+BPR+SASRec+Pop-tiny-2020.md").read_text("utf-8")
    assert all(f"| {model} |" in table for model in models)
    assert all(result["test_result"].keys() == results[0]["test_result"].keys() for result in results)
    assert main(["report", "--results=results", "--baseline=BPR"]) == 0
    page = Path("results/table.md").read_text("utf-8")
    assert "Not tested" not in page and all(f"| {model} |" in page for model in ("GenRec", "Pop"))


def test_they_are_asked_for_cold_items_too(settings):
    """Items held out of training: general models are asked for the same ones, and train on none."""
    settings |= {"cold_items": 0.3, "topk": [1]}
    results = run_recbole_genrec("SASRec,BPR,EASE", "tiny", config_dict=settings)
    assert len({result["cold"]["rows"] for result in results}) == 1 and results[0]["cold"]["rows"] > 0
    assert all("hit@1" in result["cold"]["among_cold"]["test_result"] for result in results)
    config = GenRecConfig("BPR", "tiny", config_dict=settings)
    data = SplitData([config])
    trained = set(data.train_part(config).inter_feat["item_id"].tolist())
    assert not trained & set(data.dataset.cold_items.tolist())


class Timed(EASE):
    """Counts how often it is computed."""

    built = 0

    def __init__(self, config, dataset):
        type(self).built += 1
        super().__init__(config, dataset)


def test_what_is_computed_is_computed_once_and_timed(settings, monkeypatch):
    monkeypatch.setattr(runner, "perf_counter", count().__next__)
    settings |= {"epochs": 2, "eval_step": 2, "Timed": {"reg_weight": 250.0}}
    monkeypatch.setattr(Timed, "built", 0)
    results = run_recbole_genrec(["SASRec", Timed], "tiny", config_dict=settings)
    assert Timed.built == 1
    assert results[1]["epochs"] == 1 and results[1]["best_valid_result"]
    assert results[1]["seconds"]["train"] > 1


class Mine(BPR):
    """Reads a key more."""

    setting_keys = ("mine",)


def test_a_class_of_ones_own(settings):
    del settings["hidden_size"]
    settings |= {"mine": 3, "embedding_size": 8, "train_neg_sample_args": None}
    result = run_recbole_genrec(Mine, "tiny", config_dict=settings, saved=False)
    assert result["config"]["train_neg_sample_args"]["sample_num"] == 1


def test_several_processes_are_refused(monkeypatch, settings):
    world = type("World", (), {"size": 2, "is_first": True, "rank": 0})
    monkeypatch.setattr(configuration, "current", world)
    monkeypatch.setattr(GenRecConfig, "_take_place", lambda *_: None)
    with pytest.raises(GenRecError, match="BPR: RecBole's general models train in one process: leave '--nproc' at 1"):
        GenRecConfig("BPR", "tiny", config_dict=settings)


def test_a_package_that_is_asked_for_in_the_middle_of_a_run(monkeypatch, settings):
    monkeypatch.setattr(configuration, "_is_installed", lambda package: False)
    with pytest.raises(GenRecError, match="NCL needs the package faiss"):
        GenRecConfig("NCL", "tiny", config_dict=settings)


def test_the_labels_of_a_file_are_learnt_from_and_predicted(settings, tmp_path, write_dataset):
    rows = [(user, (user + step) % 9, user % 2, 1000 + step) for user in range(8) for step in range(6)]
    settings["data_path"] = write_dataset(
        tmp_path / "labels", rows, inter_header=("user_id:token", "item_id:token", "label:float", "timestamp:float")
    )
    settings |= {
        "load_col": {"inter": ["user_id", "item_id", "label", "timestamp"]},
        "eval_args": {"mode": "labeled"},
        "metrics": ["AUC", "LogLoss"],
        "valid_metric": "AUC",
        "epochs": 30,
        "learning_rate": 0.05,
        "train_batch_size": 16,
    }
    result = run_recbole_genrec("NeuMF", "tiny", config_dict=settings)
    assert result["config"]["train_neg_sample_args"]["distribution"] == "none"
    assert result["test_result"]["auc"] == 1 and result["test_result"]["logloss"] < 0.3
