"""Every patch does its work, stays inside RecBole, and is there in a spawned process too."""

import logging
import multiprocessing
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from recbole_genrec import plugin
from recbole_genrec.cli.parser import parse_pairs
from recbole_genrec.compat import imports, naming, numeric, torch_calls
from recbole_genrec.compat.tensorboard import no_tensorboard
from recbole_genrec.config.registry import MODELS, Plugin
from recbole_genrec.errors import GenRecError

# isort: split
# stock RecBole imports only once the plugin's patches are in place
import recbole.data.dataset
import recbole.trainer
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.evaluator.collector import Collector
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import ModelType, get_model, get_trainer

TINY = {
    "n_layers": 1,
    "n_heads": 1,
    "hidden_size": 8,
    "inner_size": 8,
    "epochs": 1,
    "train_neg_sample_args": None,
    "show_progress": False,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "topk": [3],
    "valid_metric": "MRR@3",
}


@pytest.fixture
def here(tmp_path, monkeypatch, write_dataset):
    """An empty working folder with a small dataset ``tiny``; gives RecBole's settings for it."""
    rows = [(user, (user + step) % 9, 100 * step) for user in range(8) for step in range(6)]
    monkeypatch.chdir(tmp_path)
    return {**TINY, "data_path": write_dataset(tmp_path / "data", rows)}


def fresh_python(code):
    """Run code in a new interpreter in which warnings are errors, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


class TestNothingOutsideRecBole:
    def test_import_leaves_no_stub_and_no_alias_behind(self):
        printed = fresh_python(
            """
            import sys, numpy, scipy.sparse, torch, yaml
            before = {name: set(vars(m)) for name, m in [("numpy", numpy), ("torch", torch)]}
            load, loader = torch.load, dict(yaml.FullLoader.yaml_implicit_resolvers)
            import recbole_genrec
            from recbole.config import Config
            Config("SASRec", "ml-100k", config_dict={"train_neg_sample_args": None})
            assert "ray" not in sys.modules and "ray.tune" not in sys.modules and "kmeans_pytorch" not in sys.modules
            assert torch.load is load
            print(sorted({"float", "str", "object", "unicode", "complex"} & (set(vars(numpy)) - before["numpy"])))
            """
        )
        assert printed == ["[]"] or hasattr(np, "float_")

    def test_anomaly_detection_stays_as_it_was(self):
        code = """
            import torch
            import recbole_genrec
            print(torch.is_anomaly_enabled())
            import recbole.model.sequential_recommender.sine
            print(torch.is_anomaly_enabled())
        """
        assert fresh_python(code) == ["False", "False"]

    def test_numpy_scipy_and_torch_keep_their_own(self):
        assert not hasattr(scipy.sparse.dok_matrix, "_update") or scipy.sparse.dok_matrix is not numeric._DokMatrix
        assert torch.load is not torch_calls.load_pickle

    def test_a_second_apply_changes_nothing(self):
        patched = (Collector.get_data_struct, load_data_and_model, Config._load_internal_config_dict)
        plugin.install()
        assert patched == (Collector.get_data_struct, load_data_and_model, Config._load_internal_config_dict)

    def test_ray_that_is_there_already_is_used(self, monkeypatch):
        reported = []
        module = type(sys)("ray.tune")
        module.report = lambda **metrics: reported.append(metrics)
        tune = sys.modules["recbole.quick_start.quick_start"].tune
        tune.report(hit=1)
        monkeypatch.setitem(sys.modules, "ray.tune", module)
        tune.report(hit=2)
        assert reported == [{"hit": 2}] or not isinstance(tune, imports.Tune)


def test_a_spawned_process_is_patched_too():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        # to call the package's function, the child imports the package
        assert pool.apply(parse_pairs, (["--a=1"],)) == [("a", "1")]
        load = "__import__('recbole.trainer.trainer').trainer.trainer.torch.load.__module__"
        assert pool.apply(eval, (load,)) == "recbole_genrec.compat.torch_calls"


class TestMending:
    def test_metrics_find_their_numpy_alias(self, here):
        settings = {**here, "metrics": ["MRR", "MAP", "NDCG", "GAUC"]}
        assert set(run_recbole("SASRec", "tiny", config_dict=settings, saved=False)["test_result"]) == {
            "mrr@3",
            "map@3",
            "ndcg@3",
            "gauc",
        }

    def test_metrics_over_counters(self, here):
        settings = {**here, "metrics": ["MRR", "ItemCoverage", "GiniIndex", "AveragePopularity", "TailPercentage"]}
        result = run_recbole("SASRec", "tiny", config_dict=settings, saved=False)["test_result"]
        assert 0 < result["itemcoverage@3"] <= 1

    def test_the_collector_keeps_its_counters_between_evaluations(self):
        config = Config("SASRec", "ml-100k", config_dict={"train_neg_sample_args": None, "metrics": ["ItemCoverage"]})
        collector = Collector(config)
        collector.data_struct.set("data.num_items", 7)
        collector.data_struct.set("rec.items", torch.ones(2, 3))
        struct = collector.get_data_struct()
        assert (struct.get("data.num_items"), struct.get("rec.items").shape) == (7, (2, 3))
        assert collector.data_struct.get("data.num_items") == 7
        assert "rec.items" not in collector.data_struct

    @pytest.mark.filterwarnings("ignore:torch.sparse.SparseTensor:UserWarning")
    def test_lightgcn(self, here):
        settings = {**here, "eval_args": {"order": "RO"}, "train_neg_sample_args": {"distribution": "uniform"}}
        assert "mrr@3" in run_recbole("LightGCN", "tiny", config_dict=settings, saved=False)["test_result"]

    def test_missing_values_are_filled_without_a_warning(self, here):
        path = f"{here['data_path']}/tiny/tiny.inter"
        with open(path, "a", encoding="utf-8") as file:
            file.write("1\t1\t\n")
        dataset = create_dataset(Config("SASRec", "tiny", config_dict=here))
        assert not dataset.inter_feat["timestamp"].isna().any()

    def test_sorting_interactions_gives_no_warning(self):
        interaction = Interaction({"a": torch.tensor([2, 1, 3])})
        interaction.sort("a")
        assert interaction["a"].tolist() == [1, 2, 3]

    def test_pandas_still_warns_everybody_else(self):
        frame = pd.DataFrame({"a": [1.0, None]})
        with pytest.warns(FutureWarning, match="inplace"):
            frame["a"].fillna(0, inplace=True)

    def test_a_download_waits_for_nobody_in_one_process(self):
        sys.modules["recbole.data.dataset.dataset"].torch.distributed.barrier()

    def test_a_missing_clustering_package_is_named_when_it_is_used(self):
        with pytest.raises(ImportError, match="kmeans_pytorch"):
            imports.kmeans()


def test_a_folder_that_another_process_makes_in_between_is_no_error(tmp_path, monkeypatch):
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "recbole"]
    makers = {vars(module)["ensure_dir"] for module in modules if "ensure_dir" in vars(module)}
    monkeypatch.setattr("os.path.exists", lambda path: False)
    for make in makers:
        make(str(tmp_path / "new" / "folder"))
        make(str(tmp_path / "new" / "folder"))
    assert (tmp_path / "new" / "folder").is_dir() and len(makers) == 1


class TestCheckpoints:
    def test_stock_checkpoints_load(self, here):
        run_recbole("SASRec", "tiny", config_dict=here)
        (file,) = Path("saved").glob("SASRec*.pth")
        config, model, _, _, _, test_data = load_data_and_model(str(file))
        assert config["model"] == "SASRec"
        result = recbole.trainer.Trainer(config, model).evaluate(test_data, model_file=str(file))
        assert set(result) >= {"mrr@3"}

    def test_a_folder_is_read_by_the_plugin(self, tmp_path, monkeypatch):
        checkpoints = pytest.importorskip("recbole_genrec.runs.reopen")
        monkeypatch.setattr(checkpoints, "load_as_recbole", lambda folder: {"folder": folder})
        loaded = sys.modules["recbole.trainer.trainer"].torch.load(str(tmp_path), map_location="cpu")
        assert loaded == {"folder": str(tmp_path)}

    def test_other_loads_keep_torchs_caution(self, tmp_path):
        torch.save({"config": Config}, tmp_path / "x.pth")
        with pytest.raises(Exception, match="(?i)weights.only"):
            torch.load(tmp_path / "x.pth")


class Echo(SequentialRecommender):
    """A stand-in for a plugin model: scores items by how near their number is to the last one."""

    input_type = None

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.weight = torch.nn.Parameter(torch.ones(1))

    def __deepcopy__(self, memo):
        raise AssertionError("nobody copies a language model")

    def calculate_loss(self, interaction):
        return (self.weight - 2).square().sum()

    def full_sort_predict(self, interaction):
        last = interaction[self.ITEM_SEQ].gather(1, interaction[self.ITEM_SEQ_LEN][:, None] - 1)
        return -self.weight * (torch.arange(self.n_items) - last - 1).abs()


class TestPluginNames:
    @pytest.fixture
    def echo(self, monkeypatch):
        """Make ``Echo`` known as a plugin model, without a trainer of its own."""
        module = type(sys)("recbole.model.sequential_recommender.echo")
        module.__spec__ = find_spec("json")
        module.Echo = Echo
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(MODELS, "Echo", Plugin(f"{__name__}:Echo"))
        find = naming._resolver("recbole.trainer", "Trainer", MODELS, lambda name: recbole.trainer.Trainer)
        monkeypatch.setattr(recbole.trainer, "__getattr__", find)
        return Echo

    def test_stock_run_with_a_plugin_model_by_name(self, echo, here):
        result = run_recbole("Echo", "tiny", config_dict={**here, "repeatable": True})
        assert result["test_result"]["mrr@3"] > 0

    def test_stock_parts_with_a_plugin_model_by_class(self, echo, here):
        del here["load_col"], here["train_neg_sample_args"]
        config = Config(echo, "tiny", config_dict={**here, "train_neg_sample_args": None})
        assert "timestamp" in config["load_col"]["inter"]
        train_data, valid_data, _ = data_preparation(config, create_dataset(config))
        model = echo(config, train_data.dataset)
        trainer = recbole.trainer.Trainer(config, model)
        trainer.fit(train_data, valid_data, saved=False)
        assert trainer.evaluate(valid_data, load_best_model=False)

    @pytest.mark.parametrize("name", sorted(MODELS))
    def test_recbole_finds_every_plugin_model(self, name):
        model = get_model(name)
        assert (model.__name__, model.__module__) == (name, f"recbole_genrec.model.{name.lower()}")
        own = "recbole" if model.type == ModelType.GENERAL else "recbole_genrec.training"  # RecBole's own trains those
        assert get_trainer(model.type, name).__module__.startswith(own)
        assert issubclass(getattr(recbole.data.dataset, f"{name}Dataset"), recbole.data.dataset.SequentialDataset)
        assert find_spec(f"recbole.model.sequential_recommender.{name.lower()}") is not None

    def test_names_that_are_not_the_plugins_stay_unknown(self):
        assert not hasattr(recbole.trainer, "SASRecTrainer")
        assert not hasattr(recbole.data.dataset, "NobodyDataset")
        with pytest.raises((ValueError, ImportError)):
            get_model("Nobody")

    def test_stock_defaults_of_other_models_are_recboles(self):
        config = Config("SASRec", "ml-100k", config_dict={"train_neg_sample_args": None})
        assert (config["topk"], config["results_dir"]) == ([10], None)

    def test_flops_of_a_plugin_model_are_an_estimate(self, echo, here):
        config = Config(echo, "tiny", config_dict=here)
        dataset = create_dataset(config)
        quick_start = sys.modules["recbole.quick_start.quick_start"]
        assert quick_start.get_flops(echo(config, dataset), dataset, "cpu", None, None) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_refused(here, value):
    config = Config("SASRec", "tiny", config_dict=here)
    train, _, test = data_preparation(config, create_dataset(config))
    trainer = recbole.trainer.Trainer(config, get_model("SASRec")(config, train.dataset))
    trainer.evaluate(test, load_best_model=False)  # column 0 is -inf: that is no fault
    score = trainer.model.full_sort_predict

    def one_bad_row(interaction):
        scores = score(interaction)
        scores[1, 3] = value
        return scores

    trainer.model.full_sort_predict = one_bad_row
    with pytest.raises(GenRecError, match="SASRec gives scores that are not finite, in 1 of 8 rows of a batch"):
        trainer.evaluate(test, load_best_model=False)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_losses_that_are_no_numbers_are_refused(here, value):
    config = Config("SASRec", "tiny", config_dict=here)
    train, _, _ = data_preparation(config, create_dataset(config))
    trainer = recbole.trainer.Trainer(config, get_model("SASRec")(config, train.dataset))
    with torch.no_grad():
        trainer.model.item_embedding.weight.fill_(float(value))
    with pytest.raises(GenRecError, match=f"SASRec: the training loss is (nan|{value})"):
        trainer.fit(train, saved=False)


def test_trainers_write_for_tensorboard_again_afterwards(tmp_path, monkeypatch):
    """Only the first of several processes writes."""
    monkeypatch.chdir(tmp_path)
    module = recbole.trainer.trainer
    get_tensorboard = module.get_tensorboard
    with pytest.raises(KeyError), no_tensorboard():
        writer = module.get_tensorboard(None)
        writer.add_scalar("loss", 1.0, 0)
        writer.add_hparams({}, {})
        writer.close()
        assert not list(tmp_path.iterdir())
        raise KeyError
    assert module.get_tensorboard is get_tensorboard


def test_a_board_stays_in_the_folder_in_which_it_was_opened(tmp_path, monkeypatch):
    """Although TensorBoard opens its file again for every write."""
    from recbole.utils import get_tensorboard

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    board = get_tensorboard(logging.Logger("nobody's"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    board.add_scalar("loss", 1.0, 1)
    board.close()
    assert len(list(tmp_path.glob("log_tensorboard/*/events*"))) == 1 and not list(tmp_path.glob("elsewhere/*"))
