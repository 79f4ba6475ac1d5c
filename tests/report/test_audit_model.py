"""Audits that ask the model itself: what is read off its states of users."""

import json
from pathlib import Path

import pytest

from recbole_genrec import run_recbole_genrec
from recbole_genrec.cli.main import main
from recbole_genrec.evaluation import probe
from tests.model.conftest import checkerboard, checkpoint, local  # noqa: F401  fixtures


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(probe, "SHUFFLES", 4)
    monkeypatch.setattr(probe, "RESAMPLES", 100)


def write_users(data_path):
    """Users of the checkerboard: the colour that they walk along, and a coin that says nothing of it."""
    rows = [f"u{user}\t{('black', 'white')[user % 2]}\t{user // 2 % 2}" for user in range(48)]
    text = "\n".join(["user_id:token\tcolour:token\tcoin:token", *rows])
    Path(data_path, "tiny", "tiny.user").write_text(text + "\n", "utf-8")


@pytest.mark.parametrize("model", ["SASRecAll", "SASRec"])
def test_what_a_model_knows_is_read_off_its_states(checkerboard, few_draws, model, capsys):  # noqa: F811
    run_recbole_genrec(model, "tiny", config_dict=checkerboard | {"epochs": 2})
    write_users(checkerboard["data_path"])
    path = f"results/{model}-tiny-2020.json"
    assert main(["audit", f"--run={path}", "--by=colour,coin", "--probe", "--topk=3"]) == 0
    found = json.loads(Path(path.replace(".json", ".audit.json")).read_text("utf-8"))["probe"]
    assert found["colour"]["auc"] > 0.95 and found["colour"]["users"] == 48
    assert found["colour"]["groups"] == ["black", "white"] and not found["colour"]["read_by_model"]
    assert found["coin"]["auc"] < 0.9
    assert "Attributes read off states of users" in capsys.readouterr().out


def test_a_probe_needs_the_checkpoint(checkerboard, few_draws, capsys):  # noqa: F811
    run_recbole_genrec("SASRecAll", "tiny", config_dict=checkerboard | {"epochs": 1})
    write_users(checkerboard["data_path"])
    path = Path("results/SASRecAll-tiny-2020.json")
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"checkpoint": None}), "utf-8")
    assert main(["audit", f"--run={path}", "--by=colour", "--probe", "--topk=3"]) == 2
    assert "names no checkpoint" in capsys.readouterr().err
