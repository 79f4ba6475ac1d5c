"""The runner: one dataset object and split for all models, results as JSON and as a table."""

import json
import sys
from pathlib import Path

import pytest
import torch

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.files.plain import plain
from recbole_genrec.interactions import split as split_data
from recbole_genrec.runs import run as runner
from recbole_genrec.runs.machine import versions


def seen_by(monkeypatch):
    """Record the datasets that models are built on."""
    seen = []

    class Watching(runner.SplitData):
        def train_loader(self, config, model):
            seen.append((config["model"], id(self.dataset), tuple(map(id, self.parts))))
            return super().train_loader(config, model)

    monkeypatch.setattr(runner, "SplitData", Watching)
    return seen


def test_models_share_one_dataset_and_end_in_one_table(settings, monkeypatch, capsys):
    seen = seen_by(monkeypatch)
    results = run_recbole_genrec("SASRec, BERT4Rec,GRU4Rec", "tiny", config_dict=settings)
    assert [result["model"] for result in results] == ["SASRec", "BERT4Rec", "GRU4Rec"]
    # those after the first are built once before it is trained
    assert [name for name, *_ in seen] == ["BERT4Rec", "GRU4Rec", "SASRec", "BERT4Rec", "GRU4Rec"]
    assert len({data for _, *data in map(lambda one: (one[0], one[1:]), seen) for data in data}) == 1
    table = Path("results/SASRec+BERT4Rec+GRU4Rec-tiny-2020.md").read_text("utf-8").splitlines()
    assert table[:2] == ["tiny, seed 2020: test", ""]
    table = table[2:]
    assert table[0].startswith("| model | hit@1 | hit@3 | ndcg@1 | ndcg@3 | parameters |")
    assert [line.split(" | ")[0] for line in table[2:]] == ["| SASRec", "| BERT4Rec", "| GRU4Rec"]
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("SASRec", "BERT4Rec", "GRU4Rec", "users/s", "train s"))


def test_no_model_is_trained_before_all_are_built(settings, monkeypatch):
    trained = []
    monkeypatch.setattr(runner, "get_trainer", lambda *_: trained.append(1))
    with pytest.raises(GenRecError, match="GRU4Rec: Make sure 'loss_type' in"):
        run_recbole_genrec("SASRec,GRU4Rec", "tiny", config_dict={**settings, "GRU4Rec": {"loss_type": "NLL"}})
    assert not trained and not list(Path("results").glob("*.json"))


def test_the_json_says_what_was_run_and_what_came_out(settings):
    returned = run_recbole_genrec("SASRec", "tiny", config_dict=settings)
    stored = json.loads(Path("results/SASRec-tiny-2020.json").read_text("utf-8"))
    assert stored == plain(returned)
    assert (stored["model"], stored["dataset"], stored["seed"], stored["epochs"]) == ("SASRec", "tiny", 2020, 2)
    assert set(stored["test_result"]) == {"hit@1", "hit@3", "ndcg@1", "ndcg@3"} == set(stored["best_valid_result"])
    assert stored["best_valid_score"] == stored["best_valid_result"]["ndcg@3"]
    assert stored["config"]["hidden_size"] == 8
    assert stored["config"]["device"] in ("cpu", "cuda")
    assert stored["versions"] == versions()
    assert stored["versions"]["torch"] == torch.__version__
    assert stored["hardware"]["cpu_count"] >= 1
    seconds = stored["seconds"]
    assert seconds["total"] >= seconds["data"] + seconds["train"] + seconds["validate"] + seconds["test"] > 0
    assert stored["users_per_second"] > 0
    assert stored["parameters"]["total"] == stored["parameters"]["trainable"] > 0
    assert stored["generation"] == {}
    assert Path(stored["checkpoint"]).is_file()


def test_a_model_scores_the_same_alone_and_after_others(settings):
    alone = run_recbole_genrec("SASRec", "tiny", config_dict=settings)
    after = run_recbole_genrec(["GRU4Rec", "SASRec"], "tiny", config_dict=settings)[1]
    assert alone["best_valid_result"] == after["best_valid_result"]
    assert alone["test_result"] == after["test_result"]


def test_the_numbers_are_those_of_recboles_own_runner(settings):
    from recbole.quick_start import run_recbole

    ours = run_recbole_genrec("SASRec", "tiny", config_dict=settings)
    stock_settings = {
        **settings,
        **settings["SASRec"],
        "train_neg_sample_args": None,
        "metrics": ["Hit", "NDCG"],
        "valid_metric": "NDCG@3",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    }
    stock = run_recbole("SASRec", "tiny", config_dict=stock_settings)
    assert ours["test_result"] == dict(stock["test_result"])
    assert ours["best_valid_result"] == stock["best_valid_result"]


def test_sampled_candidates_are_the_same_for_every_model_and_epoch(settings, monkeypatch):
    drawn = {}

    class Recording(split_data._SameCandidates):
        def sample_by_user_ids(self, user_ids, item_ids, num):
            negatives = super().sample_by_user_ids(user_ids, item_ids, num)
            drawn.setdefault((self.phase, int(user_ids[0])), []).append(negatives.tolist())
            return negatives

    monkeypatch.setattr(split_data, "_SameCandidates", Recording)
    sampled = {**settings, "eval_args": {"mode": "uni3"}}
    results = run_recbole_genrec("SASRec,GRU4Rec", "tiny", config_dict=sampled)
    assert len(drawn) == 16
    # two models; two validations and one test each
    assert {phase: len(draws) for (phase, _), draws in drawn.items()} == {"valid": 4, "test": 2}
    assert all(draw == draws[0] for draws in drawn.values() for draw in draws)
    assert any(draws[0] != drawn[("test", 1)][0] for (phase, _), draws in drawn.items() if phase == "test")
    assert set(results[0]["test_result"]) == {"hit@1", "hit@3", "ndcg@1", "ndcg@3"}


def test_the_result_of_one_name_is_a_dictionary_and_of_a_list_a_list(settings):
    assert isinstance(run_recbole_genrec("SASRec", "tiny", config_dict=settings), dict)
    assert isinstance(run_recbole_genrec(["SASRec"], "tiny", config_dict=settings), list)


def test_without_saving_the_last_epoch_is_tested(settings):
    result = run_recbole_genrec("SASRec", "tiny", config_dict=settings, saved=False)
    assert result["checkpoint"] is None
    assert not list(Path("saved").iterdir())


class TestDownload:
    def test_failure_is_explained_and_leaves_no_folder(self, settings, monkeypatch):
        from urllib.error import URLError

        def unreachable(url):
            Path("data/ml-1m").mkdir()
            raise URLError("no route")

        monkeypatch.setattr(sys.modules["recbole.data.dataset.dataset"], "decide_download", unreachable)
        with pytest.raises(GenRecError, match="'ml-1m' cannot be downloaded: .*no route.*Put its atomic files into"):
            run_recbole_genrec("SASRec", "ml-1m", config_dict=settings)
        assert not Path("data/ml-1m").exists()
