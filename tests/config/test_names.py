"""What is known of a model by its name alone is what its class says."""

import pytest
from recbole.data.dataloader import TrainDataLoader, UserDataLoader
from recbole.data.utils import get_dataloader
from recbole.evaluator.register import smaller_metrics
from recbole.utils import ModelType

from recbole_genrec import GenRecError
from recbole_genrec.config.arguments.recbole_general import COMPUTED, UNSAMPLED
from recbole_genrec.config.keys import known_keys, model_kind
from recbole_genrec.config.registry import (
    MODELS,
    all_models,
    check_model,
    get_model,
    is_general,
    is_model,
    recbole_folder,
    recbole_models,
)
from recbole_genrec.report.analysis import SMALLER


@pytest.mark.parametrize("name", [*MODELS, *recbole_models()])
def test_a_name_and_its_class_read_the_same_settings(name):
    assert model_kind(name) == model_kind(get_model(name))
    assert known_keys([name], "ml-100k") == known_keys([get_model(name)], "ml-100k")


def test_all_of_recboles_all_models_are_named():
    assert sorted((*MODELS, *recbole_models())) == sorted(all_models())


@pytest.mark.parametrize("name", ["SASRek", "sasrec", "bpr", "FM", "../sasrec", "", "x" * 5000])
def test_names_of_no_model_of_the_runner(name):
    assert not is_model(name)
    with pytest.raises(GenRecError):
        check_model(name)


def test_a_model_that_somebody_put_into_recboles_folder_is_no_unknown_name(monkeypatch, tmp_path):
    folder = tmp_path / "model/sequential_recommender"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text("")
    monkeypatch.setattr("recbole_genrec.config.registry.recbole_folder", lambda: tmp_path)
    assert is_model("Mine") and not is_model("Other")


@pytest.mark.parametrize("name", all_models())
def test_a_name_tells_whether_a_model_is_general(name):
    assert is_general(name) == is_general(get_model(name)) == (get_model(name).type != ModelType.SEQUENTIAL)


@pytest.mark.parametrize("name", sorted(UNSAMPLED))
def test_models_that_read_no_negative_samples(name):
    """Those that RecBole computes at once are its traditional ones; the others have its loader of users."""
    model = get_model(name)
    assert (name in COMPUTED) == (model.type == ModelType.TRADITIONAL)
    config = {"model": name, "MODEL_TYPE": model.type}
    users = get_dataloader(config, "train") is UserDataLoader
    assert name in COMPUTED or users or name in ("NCEPLRec", "RatingMF")


def test_every_other_general_model_reads_negative_samples():
    for name in set(filter(is_general, all_models())) - UNSAMPLED:
        model = get_model(name)
        assert model.type == ModelType.GENERAL
        assert get_dataloader({"model": name, "MODEL_TYPE": model.type}, "train") is TrainDataLoader


def test_recboles_folder_is_found_without_an_import():
    assert (recbole_folder() / "properties/overall.yaml").is_file()


def test_metrics_of_which_less_is_better_are_recboles():
    assert sorted(SMALLER) == sorted(smaller_metrics)
