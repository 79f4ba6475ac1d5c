"""What is known of a model by its name alone is what its class says."""

import pytest
from recbole.evaluator.register import smaller_metrics

from recbole_genrec import GenRecError
from recbole_genrec.config.keys import known_keys, model_kind
from recbole_genrec.config.registry import (
    MODELS,
    check_model,
    get_model,
    is_sequential,
    recbole_folder,
    recbole_models,
    sequential_models,
)
from recbole_genrec.report.analysis import SMALLER


@pytest.mark.parametrize("name", [*MODELS, *recbole_models()])
def test_a_name_and_its_class_read_the_same_settings(name):
    assert model_kind(name) == model_kind(get_model(name))
    assert known_keys([name], "ml-100k") == known_keys([get_model(name)], "ml-100k")


def test_all_of_recboles_sequential_models_are_named():
    assert sorted((*MODELS, *recbole_models())) == sorted(sequential_models())


@pytest.mark.parametrize("name", ["SASRek", "sasrec", "BPR", "../sasrec", "", "x" * 5000])
def test_names_of_no_sequential_model(name):
    assert not is_sequential(name)
    with pytest.raises(GenRecError):
        check_model(name)


def test_a_model_that_somebody_put_into_recboles_folder_is_no_unknown_name(monkeypatch, tmp_path):
    folder = tmp_path / "model/sequential_recommender"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text("")
    monkeypatch.setattr("recbole_genrec.config.registry.recbole_folder", lambda: tmp_path)
    assert is_sequential("Mine") and not is_sequential("Other")


def test_recboles_folder_is_found_without_an_import():
    assert (recbole_folder() / "properties/overall.yaml").is_file()


def test_metrics_of_which_less_is_better_are_recboles():
    assert sorted(SMALLER) == sorted(smaller_metrics)
