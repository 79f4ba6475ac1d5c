"""The test is read from the epoch that validation selected, in the run and when the run is tested again."""

import json
from pathlib import Path

import pytest
import torch
from recbole.trainer import Trainer

from recbole_genrec import run_recbole_genrec
from recbole_genrec.runs import retest
from recbole_genrec.runs import run as runner
from recbole_genrec.training.listeners import Listener
from tests.model.conftest import BLACK, SMALL, WHITE

MODELS = ["GenRec", "GenRecSeq2Seq", "P5", "SASRecAll", "BSARec", "HSTU", "SASRec", "BERT4Rec"]


def weights(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    titles = BLACK + WHITE
    rows = [(f"u{user}", titles[(user + time) % 12], 100 + time) for user in range(24) for time in range(6)]
    data_path = write_dataset(tmp_path / "data", rows, [(title, title) for title in titles])
    return SMALL | {"data_path": data_path, "epochs": 3, "embedding_dropout": 0.1}


@pytest.fixture
def falling(monkeypatch):
    """Let every validation have a worse score than the one before; gives the weights of each validated epoch."""
    validated, validate = [], Trainer._valid_epoch

    def falling_score(trainer, *args, **kwargs):
        _, result = validate(trainer, *args, **kwargs)
        validated.append(weights(trainer.model))
        return 1 / len(validated), result

    monkeypatch.setattr(Trainer, "_valid_epoch", falling_score)
    return validated


@pytest.fixture
def tested(monkeypatch):
    """The weights that each test of a run has had, of :func:`run_recbole_genrec` or :func:`retest`."""
    seen = []

    def watch(module):
        measure_test = module.measure_test

        def measured(trainer, *args, **kwargs):
            class Weights(Listener):
                def rows_measured(self, values):
                    seen.append(weights(trainer.model))

            with trainer.listening(Weights()):
                return measure_test(trainer, *args, **kwargs)

        monkeypatch.setattr(module, "measure_test", measured)

    watch(runner)
    watch(retest)
    return seen


@pytest.mark.parametrize("model", MODELS)
def test_the_best_epoch_is_tested_and_not_the_last(model, settings, falling, tested):
    result = run_recbole_genrec(model, "tiny", config_dict=settings)
    assert len(falling) == 3 and result["best_valid_score"] == 1
    best, *_, last = falling
    (first_test,) = tested
    assert equal(first_test, best) and not equal(first_test, last)

    path = Path(f"results/{model}-tiny-2020.json")
    again = retest.retest(path)
    assert equal(tested[1], best) and not equal(tested[1], last)
    assert again["test_result"] == json.loads(path.read_text("utf-8"))["test_result"]


@pytest.mark.parametrize("model", ["GenRec", "SASRecAll", "SASRec"])
def test_without_saving_the_last_epoch_is_tested(model, settings, falling, tested):
    run_recbole_genrec(model, "tiny", config_dict=settings, saved=False)
    best, *_, last = falling
    assert equal(tested[0], last) and not equal(tested[0], best)
