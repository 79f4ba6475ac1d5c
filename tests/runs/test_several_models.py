"""What the models of a run share, and what is of one alone; models of the plugin and of one's own among them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.interactions import split as split_data
from recbole_genrec.runs import run as runner

# isort: split
from recbole.model.sequential_recommender import SASRec


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
        model_class = SASRec

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
        runner.build_model(settings, SimpleNamespace(train_part=lambda config: None))


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
