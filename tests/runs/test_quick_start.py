"""The runner: one dataset object and split for all models, results as JSON and as a table."""

import io
import json
import logging
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.distributed import threads
from recbole_genrec.files.plain import plain
from recbole_genrec.files.write import write_text
from recbole_genrec.interactions import split as split_data
from recbole_genrec.runs import process
from recbole_genrec.runs import run as runner
from recbole_genrec.runs.result import versions
from recbole_genrec.runs.summary import markdown_table, print_table

# isort: split
from recbole.config import Config
from recbole.model.sequential_recommender import SASRec

SMALL = {
    "hidden_size": 8,
    "SASRec": {"inner_size": 8, "n_layers": 1, "n_heads": 1},
    "BERT4Rec": {"inner_size": 8, "n_layers": 1, "n_heads": 1},
    "GRU4Rec": {"embedding_size": 8, "num_layers": 1},
    "epochs": 2,
    "topk": [1, 3],
    "show_progress": False,
}


@pytest.fixture
def settings(tmp_path, monkeypatch, write_dataset):
    """An empty working folder; gives the settings of a run on the dataset ``tiny``: 8 users, 9 items, 48 rows."""
    rows = [(user, (user + step) % 9, 1000 + step) for user in range(8) for step in range(6)]
    monkeypatch.chdir(tmp_path)
    return {**SMALL, "data_path": write_dataset(tmp_path / "data", rows)}


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


class TestSampleOfUsers:
    """``eval_users``: validation and test on a part of the users, the same ones for every model."""

    def evaluated_by(self, monkeypatch):
        users = []

        class Watching(runner.SplitData):
            def evaluation_loader(self, config, phase):
                loader = super().evaluation_loader(config, phase)
                users.append((config["model"], phase, loader._dataset.inter_feat["user_id"].tolist()))
                return loader

        monkeypatch.setattr(runner, "SplitData", Watching)
        return users

    def test_all_models_see_the_same_users(self, settings, monkeypatch, capsys):
        users = self.evaluated_by(monkeypatch)
        results = run_recbole_genrec("SASRec,GRU4Rec", "tiny", config_dict={**settings, "eval_users": 3})
        assert len(users) == 6 and len({tuple(sorted(sample)) for *_, sample in users}) == 1
        assert len(users[0][2]) == 3
        assert [result["users"] for result in results] == [{"evaluated": 3, "validated": 3, "of": 8}] * 2
        assert "3 of 8 users" in " ".join(capsys.readouterr().out.split())
        for result in results:
            assert result["test_interval"].keys() == result["test_result"].keys()
            for name, (low, high) in result["test_interval"].items():
                assert low - 1e-4 <= result["test_result"][name] <= high + 1e-4

    def test_the_seed_chooses_them(self, settings, monkeypatch):
        users = self.evaluated_by(monkeypatch)
        for seed in (1, 1, 2):
            run_recbole_genrec("GRU4Rec", "tiny", config_dict={**settings, "eval_users": 4, "seed": seed, "epochs": 1})
        first, again, other = (sorted(sample) for _, phase, sample in users if phase == "test")
        assert first == again != other

    @pytest.mark.parametrize("mode", ["full", "uni5"])
    def test_users_with_several_targets_keep_them_all(self, settings, monkeypatch, mode):
        users = self.evaluated_by(monkeypatch)
        split = {"split": {"RS": [0.2, 0.2, 0.6]}, "mode": mode}
        chosen = {**settings, "eval_args": split, "eval_users": 2, "metrics": ["Hit"]}
        result = run_recbole_genrec("GRU4Rec", "tiny", config_dict=chosen)
        (test,) = (sample for _, phase, sample in users if phase == "test")
        assert len(set(test)) == 2 and len(test) > 2
        low, high = result["test_interval"]["hit@3"]
        assert low - 1e-4 <= result["test_result"]["hit@3"] <= high + 1e-4

    def test_more_users_than_there_are_means_all(self, settings):
        result = run_recbole_genrec("GRU4Rec", "tiny", config_dict={**settings, "eval_users": 100})
        assert result["users"] == {"evaluated": 8, "validated": 8, "of": 8}

    def test_validation_can_have_fewer(self, settings, monkeypatch):
        users = self.evaluated_by(monkeypatch)
        given = {**settings, "eval_users": 6, "valid_users": 2}
        result = run_recbole_genrec("GRU4Rec", "tiny", config_dict=given)
        (valid,), (test,) = ([set(sample) for _, at, sample in users if at == phase] for phase in ("valid", "test"))
        assert len(valid) == 2 and len(test) == 6 and valid < test
        assert result["users"] == {"evaluated": 6, "validated": 2, "of": 8}

    @pytest.mark.parametrize("key", ["eval_users", "valid_users"])
    @pytest.mark.parametrize("value", [0, -3, 2.5, True, "many"])
    def test_other_values_are_refused(self, settings, key, value):
        with pytest.raises(GenRecError, match=f"'{key}' must be a positive whole number"):
            run_recbole_genrec("GRU4Rec", "tiny", config_dict={**settings, key: value})


def test_no_thread_goes_on_writing_after_a_run(settings):
    before = set(threading.enumerate())
    run_recbole_genrec("SASRec", "tiny", config_dict=settings)
    assert not [thread for thread in set(threading.enumerate()) - before if "Writer" in type(thread).__name__]


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


def test_settings_for_one_model_alone(settings):
    sections = {**settings, "SASRec": {"epochs": 1}, "GRU4Rec": {"learning_rate": 0.01}, "NARM": {"epochs": 9}}
    first, second = run_recbole_genrec(["SASRec", "GRU4Rec"], "tiny", config_dict=sections)
    assert (first["epochs"], second["epochs"]) == (1, 2)
    assert (first["config"]["learning_rate"], second["config"]["learning_rate"]) == (0.001, 0.01)


def test_models_with_different_data_settings_are_refused(settings):
    sections = {**settings, "GRU4Rec": {"MAX_ITEM_LIST_LENGTH": 3}}
    with pytest.raises(GenRecError, match="'MAX_ITEM_LIST_LENGTH' is 50 for SASRec and 3 for GRU4Rec"):
        run_recbole_genrec("SASRec,GRU4Rec", "tiny", config_dict=sections)
    assert not Path("results").exists()


def test_models_with_different_columns_share_their_union():
    first = {"load_col": {"inter": ["user_id", "item_id"]}, "model": "A"}
    second = {"load_col": {"inter": ["item_id", "timestamp"], "item": "*"}, "model": "B"}

    class Settings(dict):
        def __missing__(self, key):
            return None

    first, second = Settings(first), Settings(second)
    runner.share_data_settings(first, second)
    assert first["load_col"] == {"inter": ["user_id", "item_id", "timestamp"], "item": "*"} == second["load_col"]


def test_spread_weights_are_not_quantised(monkeypatch):
    class Settings(dict):
        @staticmethod
        def model_class(config, dataset):
            return SimpleNamespace(backbone=SimpleNamespace(model=None))

    monkeypatch.setattr(runner, "current", lambda: SimpleNamespace(size=2))
    settings = Settings(quantization="8bit", distributed="fsdp", device="cpu", model="GenRec")
    with pytest.raises(GenRecError, match="'distributed: fsdp' .* takes 'quantization: none'"):
        runner.build_model(settings, SimpleNamespace(parts=[None]))


def test_models_with_different_dataset_classes_are_refused(settings):
    with pytest.raises(GenRecError, match="different datasets.*DIEN"):
        run_recbole_genrec("SASRec,DIEN", "tiny", config_dict={**settings, "train_neg_sample_args": None})


class Plugged(SASRec):
    """A stand-in for one of the plugin's models, with generation counters."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.item_embedding.weight.requires_grad = False
        self.statistics = {"lists": 0, "distinct": 0}

    def generation_statistics(self):
        return dict(self.statistics)

    def identifier_statistics(self):
        return {"scheme": "plugged"}

    def full_sort_predict(self, interaction):
        self.statistics["lists"] += len(interaction)
        return super().full_sort_predict(interaction)


@pytest.fixture
def plugged(monkeypatch):
    """Make ``Plugged`` known as a plugin model with RecBole's trainer, without packing."""
    from recbole_genrec.config import registry

    plugged = registry.Plugin(f"{__name__}:Plugged", "recbole.trainer:Trainer")
    monkeypatch.setitem(registry.MODELS, "Plugged", plugged)
    monkeypatch.setattr(registry, "plugin_model", lambda name: Plugged)
    return {"hidden_dropout_prob": 0.1, "attn_dropout_prob": 0.1, "hidden_act": "gelu", "layer_norm_eps": 1e-12} | {
        "initializer_range": 0.02,
        "n_layers": 1,
        "n_heads": 1,
        "inner_size": 8,
        "loss_type": "CE",
        "packing": False,
    }


def test_a_plugin_model_beside_a_stock_one(settings, plugged):
    results = run_recbole_genrec("Plugged,SASRec", "tiny", config_dict={**settings, **plugged})
    counts = results[0]["parameters"]
    assert counts["trainable"] < counts["total"] == results[1]["parameters"]["total"]
    assert results[0]["generation"]["lists"] > 0
    assert results[1]["generation"] == {}


def test_a_model_may_have_a_training_loader_of_its_own(settings, plugged, monkeypatch):
    made = []

    def training_loader(model, config, dataset):
        made.append(dataset)
        return split_data.get_dataloader(config, "train")(config, dataset, None, shuffle=True)

    monkeypatch.setattr(Plugged, "training_loader", training_loader, raising=False)
    result = run_recbole_genrec("Plugged", "tiny", config_dict={**settings, **plugged})
    assert len(made) == 1 and result["epochs"] == 2


def test_a_class_of_ones_own(settings, plugged):
    class Mine(SASRec):
        pass

    own = {key: value for key, value in plugged.items() if key != "packing"}
    result = run_recbole_genrec(Mine, "tiny", config_dict={**settings, **own}, saved=False)
    assert result["model"] == "Mine"


def test_the_result_of_one_name_is_a_dictionary_and_of_a_list_a_list(settings):
    assert isinstance(run_recbole_genrec("SASRec", "tiny", config_dict=settings), dict)
    assert isinstance(run_recbole_genrec(["SASRec"], "tiny", config_dict=settings), list)


def test_without_saving_the_last_epoch_is_tested(settings):
    result = run_recbole_genrec("SASRec", "tiny", config_dict=settings, saved=False)
    assert result["checkpoint"] is None
    assert not list(Path("saved").iterdir())


class TestSurroundings:
    def test_handlers_and_streams_are_as_before(self, settings):
        root = logging.getLogger()
        before = list(root.handlers), root.level, sys.stdout, sys.stderr
        run_recbole_genrec("SASRec", "tiny", config_dict=settings)
        assert (list(root.handlers), root.level, sys.stdout, sys.stderr) == before

    def test_every_run_has_a_log_of_its_own(self, settings):
        run_recbole_genrec("SASRec", "tiny", config_dict=settings)
        run_recbole_genrec("SASRec", "tiny", config_dict={**settings, "seed": 3})
        logs = list(Path("log/SASRec").iterdir())
        assert len(logs) == 2
        assert all("best" in log.read_text("utf-8") or "epoch 1" in log.read_text("utf-8") for log in logs)
        assert all(log.read_text("utf-8").count(threads.described()) == 1 for log in logs)

    def test_a_refused_run_leaves_no_log(self, settings):
        with pytest.raises(GenRecError, match="'topk' asks for 99"):
            run_recbole_genrec("SASRec", "tiny", config_dict={**settings, "topk": 99})
        assert not [path for path in Path("log").rglob("*") if path.is_file()]

    def test_malloc_settings_are_accepted_or_skipped(self, caplog):
        process.tune_malloc()
        assert not caplog.records


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


class TestTables:
    RESULT = {
        "model": "A",
        "dataset": "d",
        "seed": 1,
        "test_result": {"hit@1": 0.25, "ndcg@1": 0.125},
        "parameters": {"total": 1234567, "trainable": 1000},
        "epochs": 3,
        "seconds": {"train": 61.7},
        "users_per_second": 99.6,
        "users": {"evaluated": 8000, "of": 8000},
        "test_interval": {"hit@1": [0.2, 0.32], "ndcg@1": [0.1, 0.14]},
    }

    def test_markdown(self):
        other = {**self.RESULT, "model": "B", "test_result": {"hit@1": 0.5}}
        assert markdown_table([self.RESULT, other]) == (
            "d, seed 1: test\n\n"
            "| model | hit@1 | ndcg@1 | parameters | trainable | epochs | train s | users/s |\n"
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
            "| A | 0.2500 | 0.1250 | 1,234,567 | 1,000 | 3 | 62 | 100 |\n"
            "| B | 0.5000 |  | 1,234,567 | 1,000 | 3 | 62 | 100 |\n"
        )

    def test_a_sample_of_users_is_named_with_its_uncertainty(self):
        sampled = {**self.RESULT, "users": {"evaluated": 2000, "of": 8000}}
        text = markdown_table([sampled])
        assert text.startswith("d, seed 1: test, 2,000 of 8,000 users (± half of the 95% bootstrap interval)\n")
        assert "| A | 0.2500 ±0.0600 | 0.1250 ±0.0200 |" in text

    def test_nothing_is_cut_where_there_is_no_terminal(self, monkeypatch, capsys):
        monkeypatch.setenv("COLUMNS", "20")
        many = {**self.RESULT, "test_result": {f"metric@{k}": 0.1 for k in range(30)}}
        print_table([many])
        assert "metric@29" in capsys.readouterr().out

    def test_a_narrow_terminal_gets_a_column_a_model(self, monkeypatch):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        monkeypatch.setenv("COLUMNS", "40")
        monkeypatch.setenv("TERM", "xterm")
        screen = Terminal()
        monkeypatch.setattr(sys, "stdout", screen)
        print_table([self.RESULT])
        lines = screen.getvalue().splitlines()
        assert any("hit@1" in line and "0.2500" in line for line in lines)
        assert max(map(len, lines)) < 200

    def test_values_become_plain(self):
        config = Config("SASRec", "ml-100k", config_dict={"train_neg_sample_args": None})
        text = json.dumps(plain({"config": config.final_config_dict, "set": {1}, "tensor": torch.tensor(2.5)}))
        assert '"tensor": 2.5' in text and '"MODEL_TYPE": "SEQUENTIAL"' in text

    def test_a_file_is_never_seen_half_written(self, tmp_path):
        write_text(tmp_path / "a" / "x.json", "1")
        write_text(tmp_path / "a" / "x.json", "2")
        assert [(p.name, p.read_text()) for p in (tmp_path / "a").iterdir()] == [("x.json", "2")]
