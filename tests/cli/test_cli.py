"""The command line: its forms, and one line on standard error with exit code 2 for every mistake."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import recbole_genrec
from recbole_genrec import GenRecError
from recbole_genrec.cli import on_runs
from recbole_genrec.cli.main import main
from recbole_genrec.cli.parser import parse

ROWS = [(user, (user + step) % 7, 100 * step) for user in range(6) for step in range(5)]


@pytest.fixture
def data(tmp_path, monkeypatch, write_dataset):
    """An empty working folder; gives the arguments of a run on a small dataset."""
    monkeypatch.chdir(tmp_path)
    return ["--model=SASRec", "--dataset=tiny", f"--data_path={write_dataset(tmp_path / 'data', ROWS)}"]


def written(folder=Path(".")):
    """What a run would have written: logs, checkpoints, results."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if path.parts[0] != "data" and path.suffix != ".yaml"]


class TestForms:
    def test_equals_and_space(self):
        texts = {"a": "1", "b": "2", "c": "x=y", "d": "-1", "e": ""}
        assert parse("run", ["--a=1", "--b", "2", "--c=x=y", "--d", "-1", "--e="]) == {"settings": texts}

    def test_texts_that_argparse_alone_would_take_for_options(self):
        given = parse("recommend", ["--checkpoint", "-c", "--history", "-1 e3", "--history=--x", "--item", "-5e-3"])
        assert given == {"checkpoint": "-c", "entries": [("history", "-1 e3"), ("history", "--x"), ("item", "-5e-3")]}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["epochs=1"], "'epochs=1' is not of the form"),
            (["--epochs"], "--epochs has no value"),
            (["--epochs", "--seed=1"], "--epochs has no value"),
            (["--seed=1", "--seed", "2"], "--seed is given twice"),
            (["--", "x"], "'--' is not of the form"),
        ],
    )
    def test_others_are_errors(self, arguments, message):
        with pytest.raises(GenRecError, match=message):
            parse("run", arguments)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(flag, capsys):
    assert main([flag]) == 0
    assert "--config_files" in capsys.readouterr().out


def rejected(arguments, capsys):
    """Run, expect exit code 2 and nothing written, and return the one line of the message."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert captured.err.rstrip().endswith(lines[0])
    assert "Traceback" not in captured.err + captured.out
    assert not written()
    return lines[0]


class TestMistakes:
    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--epoch=3"], "Unknown key 'epoch' (command line). Did you mean 'epochs'?"),
            (["--epochs=three"], "'epochs' must be a whole number of at least 0, not 'three' (command line)."),
            (["--topk=[5"], "the value of --topk is not valid YAML"),
            (["--topk=[3, 8]"], "'topk' asks for 8 items, but the catalogue has 7."),
            (["--config_files=nowhere.yaml"], "Cannot read configuration file 'nowhere.yaml'"),
            (["--topk=3", "--loss_type=XE"], "Unknown value of 'loss_type': 'XE' (command line). Known: BPR, CE, NLL."),
            (["--topk=3", "--n_heads=3"], "SASRec: The hidden size (64) is not a multiple of the number of attention"),
        ],
    )
    def test_in_settings(self, data, capsys, more, message):
        assert message in rejected([*data, *more], capsys)

    def test_in_the_columns_that_a_model_of_recbole_reads(self, data, capsys):
        message = rejected(["--model=S3Rec", *data[1:], "--topk=3"], capsys)
        assert message.startswith("error: S3Rec: 'item_attribute' names 'class', no column of ")

    def test_in_the_model(self, data, capsys):
        assert "Unknown model 'SASRek'. Did you mean 'SASRec'?" in rejected(["--model=SASRek", *data[1:]], capsys)
        assert "Model 'SASRec' is given twice" in rejected(["--model=SASRec,SASRec", *data[1:]], capsys)

    def test_in_the_dataset(self, data, capsys):
        message = rejected([data[0], "--dataset=tinny", data[2]], capsys)
        assert "Unknown dataset 'tinny'" in message
        assert str(Path("data/tinny").absolute()) in message
        assert "Folders there: tiny" in message

    def test_in_a_dataset_without_interactions(self, data, capsys):
        Path("data/tiny/tiny.inter").rename("data/tiny/other.inter")
        message = rejected(data, capsys)
        assert "tiny.inter' is missing. The folder holds other.inter." in message

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("1\t2", "tiny.inter, line 32: 2 cells where the header has 3."),
            ("1\t2\t3\t4", "tiny.inter, line 32: 4 cells where the header has 3."),
            ("1\t2\tnoon", "tiny.inter, line 32: 'noon' in column 'timestamp' is not a number."),
        ],
    )
    def test_in_a_row(self, data, capsys, row, message):
        with open("data/tiny/tiny.inter", "a", encoding="utf-8") as file:
            file.write(f"{row}\n1\t3\t5\n")
        assert message in rejected(data, capsys)

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ("user_id\titem_id:token\ttimestamp:float", "line 1: 'user_id' is not 'name:type'"),
            ("user_id:token\titem_id:text\ttimestamp:float", "line 1: 'item_id:text' is not 'name:type'"),
            ("user_id:token\titem_id:token\ttime:float", "line 1: no column 'timestamp' (TIME_FIELD)"),
        ],
    )
    def test_in_a_header(self, data, capsys, header, message):
        file = Path("data/tiny/tiny.inter")
        file.write_text("\n".join([header, *file.read_text("utf-8").splitlines()[1:]]), "utf-8")
        assert message in rejected(data, capsys)

    def test_in_a_configuration_file(self, data, capsys):
        Path("bad.yaml").write_text("epochs: 1\nseed: : 2\n", "utf-8")
        assert "bad.yaml, line 2: not valid YAML" in rejected([*data, "--config_files=bad.yaml"], capsys)


def test_a_run_from_the_command_line(data, capsys):
    Path("a.yaml").write_text("n_layers: 1\nhidden_size: 8\nepochs: 3", "utf-8")
    Path("b.yaml").write_text("epochs: 1\ninner_size: 8\ntopk: [1, 3]", "utf-8")
    assert main([*data, "--config_files", "a.yaml b.yaml", "--n_heads", "1", "--results_dir=out"]) == 0
    printed = capsys.readouterr().out
    assert "ndcg@3" in printed and "users/s" in printed
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "SASRec-tiny-2020.json",
        "SASRec-tiny-2020.md",
        "SASRec-tiny-2020.npz",
    ]


def test_the_module_runs_as_a_program(tmp_path):
    source = Path(recbole_genrec.__file__).parent.parent
    command = [sys.executable, "-W", "error", "-m", "recbole_genrec", "--dataset=nowhere"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Unknown dataset 'nowhere'")
    assert done.stderr.count("\n") == 1


class TestWhatStopsARun:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_a_signal_is_one_line(self, monkeypatch, capsys, number, code):
        monkeypatch.setattr(on_runs, "run", lambda **given: os.kill(os.getpid(), number))
        before = signal.getsignal(number)
        assert main([]) == code
        assert capsys.readouterr().err == f"stopped: by {number.name}.\n"
        assert signal.getsignal(number) is before

    def test_a_file_that_cannot_be_written_is_one_line(self, data, capsys):
        Path("results").write_text("a file")
        assert main([*data, "--epochs=0", "--topk=3", "--valid_metric=NDCG@3"]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == "error: results: File exists."

    def test_a_resumed_run_needs_no_value(self):
        assert parse("run", ["--resume", "--a=1"]) == {"settings": {"resume": "auto", "a": "1"}}
        assert parse("run", ["--resume", "folder"]) == {"settings": {"resume": "folder"}}
