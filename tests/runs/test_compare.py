"""A comparison makes every run once, goes on where it was killed, and survives a run that fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import recbole_genrec
from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.cli.main import main
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.runs import compare
from recbole_genrec.runs.identity import differences
from recbole_genrec.runs.run import RunOptions, run_models

SETTINGS = """\
topk: [1, 3]
epochs: 2
stopping_step: 100
scratch_hidden_size: 16
scratch_layers: 1
scratch_intermediate_size: 16
scratch_vocab_size: 300
SASRec: {hidden_size: 8, inner_size: 8, n_layers: 1, n_heads: 1}
"""


@pytest.fixture
def asked(tmp_path, monkeypatch, write_dataset):
    """An empty working folder; gives the arguments of a comparison of two models under two seeds."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{user}", f"i{(user + step) % 9}", 1000 + step) for user in range(8) for step in range(6)]
    write_dataset(tmp_path / "data", rows, [(f"i{item}", f"Item {item}") for item in range(9)])
    Path("settings.yaml").write_text(SETTINGS, "utf-8")
    return ["--models=SASRec,GenRec", "--datasets=tiny", "--seeds=1,2", "--data_path=data"] + [
        "--config_files=settings.yaml"
    ]


@pytest.fixture
def made(monkeypatch):
    """Make runs in this process; gives the names of those that were made. A model in ``broken`` fails."""
    names, broken = [], set()

    def make(run):
        names.append((run.config["model"], run.config["seed"]))
        run.file("log").parent.mkdir(exist_ok=True)
        if run.config["model"] in broken:
            run.file("log").write_text("Starts.\nTraceback (most recent call last):\n  ...\nKeyError: 'x'\n", "utf-8")
            return 1
        order = run.order
        options = RunOptions(beside=tuple(order["beside"]))
        run_models(order["model"], order["dataset"], order["files"], command_line=order["settings"], options=options)
        return 0

    monkeypatch.setattr(compare, "_make", make)
    make.names, make.broken = names, broken
    return make


def made_by(made, arguments, code=0):
    """Run a comparison, and return the runs that it made."""
    made.names.clear()
    assert main(["compare", *arguments]) == code
    return list(made.names)


ALL = [("SASRec", 1), ("GenRec", 1), ("SASRec", 2), ("GenRec", 2)]


def test_every_run_is_made_once(asked, made, capsys):
    assert made_by(made, asked) == ALL
    printed = capsys.readouterr().out
    assert "| SASRec | 2 |" in printed and "| GenRec | 2 |" in printed
    assert "No published figures for tiny" in printed
    assert made_by(made, asked) == []
    assert capsys.readouterr().out.count("there already") == 4
    assert made_by(made, [*asked[:2], "--seeds=1,2,3", *asked[3:]]) == [("SASRec", 3), ("GenRec", 3)]


def test_the_runs_are_those_of_the_command_line(asked, made):
    made_by(made, asked)
    settings = {"topk": [1, 3], "epochs": 2, "data_path": "data", "results_dir": "alone", "seed": 2}
    small = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1}
    alone = run_recbole_genrec("SASRec", "tiny", config_dict=settings | small)
    stored = json.loads(Path("results/SASRec-tiny-2.json").read_text("utf-8"))
    assert stored["test_result"] == alone["test_result"]


def test_general_models_are_compared_as_others_are(asked, made, capsys):
    asked = ["--models=SASRec,BPR,Pop", asked[1], "--seeds=1", *asked[3:]]
    assert made_by(made, asked) == [("SASRec", 1), ("BPR", 1), ("Pop", 1)]
    printed = capsys.readouterr().out
    assert "| BPR | 1 |" in printed and "| Pop | 1 |" in printed and "Not tested" not in printed
    assert made_by(made, asked) == []


def test_a_run_with_other_settings_is_made_again(asked, made, capsys):
    made_by(made, asked)
    section = Path("settings.yaml").read_text("utf-8").replace("n_layers: 1, n", "n_layers: 2, n")
    Path("settings.yaml").write_text(section, "utf-8")
    assert made_by(made, asked) == [("SASRec", 1), ("SASRec", 2)]
    assert "SASRec-tiny-1.json has other settings, the run is made again: n_layers was 1 and is 2." in (
        capsys.readouterr().out
    )
    assert made_by(made, asked) == []
    assert made_by(made, [*asked, "--eval_users=5"]) == ALL


def test_where_and_how_a_run_is_made_does_not_matter(asked, made):
    made_by(made, asked)
    Path("data").rename("elsewhere")
    arguments = [argument.replace("--data_path=data", "--data_path=elsewhere") for argument in asked]
    assert made_by(made, [*arguments, "--checkpoint_dir=other", "--show_progress=false", "--lora_r=8"]) == []


def test_settings_that_have_come_since_do_not_matter_unless_given(asked):
    config = GenRecConfig("GenRec", "tiny", None, None, {"data_path": "data"})
    stored = compare.plain(config.final_config_dict)
    assert differences(stored, config) == {}
    del stored["stopping_step"], stored["prompt"]
    assert differences(stored, config) == {}
    given = GenRecConfig("GenRec", "tiny", None, {"stopping_step": 3, "prompt": "instruction"}, {"data_path": "data"})
    assert differences(stored, given) == {
        "prompt": ("continuation", "instruction"),
        "stopping_step": (None, 3),
    }


def test_a_failed_run_is_reported_and_the_others_go_on(asked, made, capsys):
    made.broken.add("SASRec")
    assert made_by(made, asked, code=1) == ALL
    printed = capsys.readouterr().out
    assert "[1/4] SASRec on tiny, seed 1: failed. KeyError: 'x'" in printed
    assert "2 of 4 runs failed: SASRec on tiny, seed 1; SASRec on tiny, seed 2." in printed
    assert "| GenRec | 2 |" in printed and "| SASRec" not in printed
    kept = json.loads(Path("results/SASRec-tiny-1.failed.json").read_text("utf-8"))
    assert (kept["error"], kept["exit_code"]) == ("KeyError: 'x'", 1)
    assert kept["traceback"].startswith("Traceback (most recent call last):\n")
    made.broken.clear()
    assert made_by(made, asked, code=1) == []
    assert "failed before; --retry_failed tries again. KeyError: 'x'" in capsys.readouterr().out
    assert made_by(made, [*asked, "--retry_failed"]) == [("SASRec", 1), ("SASRec", 2)]
    assert not list(Path("results").glob("*.failed.json"))


def test_a_failed_run_with_other_settings_is_made(asked, made):
    made.broken.add("GenRec")
    made_by(made, asked, code=1)
    made.broken.clear()
    assert made_by(made, [*asked, "--learning_rate=0.01"]) == ALL


def test_models_see_the_same_columns_whoever_stands_beside(asked, made):
    made_by(made, [asked[0].replace("GenRec", "GenRec,GRU4Rec"), *asked[1:2], "--seeds=1", *asked[3:]])
    loads = [json.loads(path.read_text("utf-8"))["config"]["load_col"] for path in Path("results").glob("*.json")]
    assert len(loads) == 3 and loads[0] == loads[1] == loads[2]


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--models="], "compare needs --models"),
            (["--models=SASRec,SASRec"], "--models holds 'SASRec' twice"),
            (["--models=SASRek"], "Unknown model 'SASRek'. Did you mean 'SASRec'?"),
            (["--datasets=tinny"], "Unknown dataset 'tinny'"),
            (["--seeds=one"], "--seeds must be whole numbers with commas between them, not 'one'"),
            (["--seed=1"], "compare takes --seeds, with commas between several, not --seed."),
            (["--epoch=3"], "Unknown key 'epoch' (command line). Did you mean 'epochs'?"),
            (["--retry_failed=maybe"], "--retry_failed is a flag"),
        ],
    )
    def test_nothing_is_made(self, asked, made, capsys, arguments, message):
        key = arguments[0].partition("=")[0]
        assert main(["compare", *[a for a in asked if a.partition("=")[0] != key], *arguments]) == 2
        assert message in capsys.readouterr().err
        assert made.names == [] and not Path("results").exists()

    def test_models_with_different_data(self, asked, made, capsys):
        Path("settings.yaml").write_text(SETTINGS + "GenRec: {MAX_ITEM_LIST_LENGTH: 3}\n", "utf-8")
        assert main(["compare", *asked]) == 2
        assert "'MAX_ITEM_LIST_LENGTH' is 50 for SASRec and 3 for GenRec" in capsys.readouterr().err

    def test_a_damaged_result(self, asked, made):
        Path("results").mkdir()
        Path("results/SASRec-tiny-1.json").write_text("{", "utf-8")
        with pytest.raises(GenRecError, match="SASRec-tiny-1.json is not JSON"):
            compare.compare(["SASRec"], ["tiny"], [1], ["settings.yaml"], {"data_path": "data"})


class TestProcesses:
    """The runs' own processes, as they are."""

    def command(self, *arguments):
        source = str(Path(recbole_genrec.__file__).parents[1])
        path = os.pathsep.join((str(Path.cwd()), source))
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "recbole_genrec", "compare", *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def test_a_killed_comparison_goes_on_where_it_was(self, asked, made):
        long = [*asked[:2], "--seeds=1", *asked[3:], "--epochs=12"]
        assert made_by(made, [*long, "--results_dir=whole", "--checkpoint_dir=whole"]) == ALL[:2]
        process = self.command(*long)
        while not list(Path("saved").glob("GenRec-*/last/manifest.json")):  # the first epoch has ended
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        (curve,) = Path("saved").glob("GenRec-*/curve.json")
        seen = None
        while seen != curve.read_text("utf-8"):  # the run ends with its comparison
            seen = curve.read_text("utf-8")
            time.sleep(1)
        assert Path("results/SASRec-tiny-1.json").is_file()
        assert not Path("results/GenRec-tiny-1.json").exists()
        process = self.command(*long)
        printed, _ = process.communicate()
        assert process.returncode == 0
        assert "[1/2] SASRec on tiny, seed 1: there already." in printed
        assert "[2/2] GenRec on tiny, seed 1: done" in printed
        assert "Resume training from epoch" in Path("results/GenRec-tiny-1.log").read_text("utf-8")
        whole, resumed = (
            json.loads(Path(f"{folder}/GenRec-tiny-1.json").read_text("utf-8")) for folder in ("whole", "results")
        )
        assert resumed["test_result"] == whole["test_result"]
        assert [e["epoch"] for e in resumed["curve"]] == [e["epoch"] for e in whole["curve"]] == list(range(1, 13))
        assert resumed["curve"][: len(json.loads(seen)) - 1] == json.loads(seen)[:-1]

    def test_a_run_that_crashes_leaves_its_traceback(self, asked):
        fault = "from recbole_genrec.runs import run\nrun.build_model = lambda *_: 1 / 0\n"
        Path("sitecustomize.py").write_text(fault, "utf-8")  # imported by every Python below this folder
        process = self.command(*asked[1:2], *asked[3:], "--models=SASRec")
        printed, _ = process.communicate()
        assert process.returncode == 1
        kept = json.loads(Path("results/SASRec-tiny-2020.failed.json").read_text("utf-8"))
        assert "division by zero" in kept["error"]
        assert kept["error"] in printed
        assert kept["traceback"].startswith("Traceback") and "runs/run.py" in kept["traceback"]

    def test_how_a_process_ended_is_said(self):
        assert compare._reason(-9, "") == "Ended by SIGKILL, perhaps for want of memory."
        assert compare._reason(-15, "") == "Ended by SIGTERM."
        assert compare._reason(1, "a\nerror: The loss is nan.\n") == "The loss is nan."
        assert compare._reason(3, "") == "Exit code 3, without a word."
