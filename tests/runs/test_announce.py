"""What a run says at its start and at its end."""

import logging
import re
import shlex

import pytest

from recbole_genrec.cli.commands import COMMANDS
from recbole_genrec.cli.parser import parse
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.announce import announce, announce_data, changed_settings, next_commands, print_ending
from recbole_genrec.runs.process import recbole_logging
from tests.results import EARLY, run_result


def config_of(tmp_path, **settings):
    places = {"checkpoint_dir": str(tmp_path), "results_dir": str(tmp_path)}
    return GenRecConfig("GenRec", "ml-100k", config_dict=places | settings)


def test_settings_that_differ_from_the_shipped_ones(tmp_path):
    shipped = config_of(tmp_path)
    given = {"epochs": shipped["epochs"], "learning_rate": 0.5, "eval_args": {"mode": "uni100"}}
    changed = changed_settings(config_of(tmp_path, **given))
    assert changed.keys() == {"learning_rate", "eval_args"} and changed["learning_rate"] == 0.5
    assert changed_settings(shipped) == {}


def test_all_settings_are_in_the_log_file_alone(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    config = config_of(tmp_path, learning_rate=0.5)
    with recbole_logging(config):
        announce(config)
    console = capfd.readouterr().err
    file = next(tmp_path.glob("log/GenRec/*.log")).read_text("utf-8")
    assert "GenRec on ml-100k, seed 2020, on cpu. Settings: learning_rate=0.5" in console
    assert "weight_decay" not in console and "weight_decay" in file
    assert logging.getLogger().level == logging.WARNING


def test_the_size_of_the_data_is_that_of_the_file(tmp_path, caplog):
    caplog.set_level("INFO")
    announce_data(SplitData([config_of(tmp_path)]))
    size, statistics = caplog.messages[-2:]
    assert size == "ml-100k: 943 users, 1,682 items, 100,000 interactions"
    assert re.search(r"The number of inters\S*: 100000\n", statistics)


CONFIG = EARLY["config"] | {"repeatable": True}


@pytest.mark.parametrize(
    ("model", "checkpoint", "first"),
    [
        ("GenRec", "saved/a folder/best", "recommend"),
        ("SASRec", "saved/SASRec.pth", "test"),
        ("Pop", None, "report"),
    ],
)
def test_the_next_commands_are_commands(model, checkpoint, first):
    result = run_result(model=model, dataset="d", seed=1, checkpoint=checkpoint, config=CONFIG, outcomes=True)
    commands = next_commands([result], "my results", "user 7")
    assert commands[0].startswith(first) and commands[-1] == "report --results='my results'"
    for command in commands:
        name, *rest = shlex.split(command)
        assert name in COMMANDS
        parse(name, rest)


def test_the_ending_names_every_file(capsys):
    results = [
        run_result(model="GenRec", dataset="d", seed=1, checkpoint="saved/[a]/best", config=CONFIG),
        run_result(model="Pop", dataset="d", seed=1, checkpoint=None, config=CONFIG),
    ]
    print_ending(results, "results", 5)
    assert capsys.readouterr().out.splitlines() == [
        "GenRec: results in results/GenRec-d-1.json, checkpoint in saved/[a]/best",
        "Pop: results in results/Pop-d-1.json, no checkpoint",
        "Next:",
        "  python -m recbole_genrec recommend --checkpoint 'saved/[a]/best' --user 5 --exclude_seen",
        "  python -m recbole_genrec report --results=results",
    ]
