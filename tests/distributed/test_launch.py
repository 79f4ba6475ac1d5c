"""``--nproc`` and ``torchrun`` as a user types them, in processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.kills import outcome
from recbole_genrec.cli.main import main
from tests.distributed.conftest import PATIENCE

MODELS = ("GenRec", "P5", "SASRec")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


@pytest.fixture
def command(settings, tmp_path):
    """The arguments of a run: three models, those that know a setting getting it."""

    def make(models=MODELS, **more):
        own = ("data_path", "topk", "valid_metric", "show_progress")
        shared = {key: settings[key] for key in own} | {"epochs": 2} | more
        rest = {key: value for key, value in settings.items() if key not in shared}
        file = tmp_path / "settings.json"  # JSON is YAML
        still = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
        sections = {
            "SASRec": still,
            "P5": {key: rest[key] for key in rest if key != "train_batch_tokens"} | {"n_candidates": 5},
            "GenRec": rest,
        }
        file.write_text(json.dumps({model: sections[model] for model in models}))
        given = [
            f"--{key}={json.dumps(value) if not isinstance(value, str) else value}" for key, value in shared.items()
        ]
        return [f"--model={','.join(models)}", "--dataset=tiny", f"--config_files={file}", *given]

    return make


@pytest.fixture
def start(tmp_path):
    """Start a command in a folder; it is killed with all its processes when the test ends."""
    started = []

    def run(folder, *arguments):
        (tmp_path / folder).mkdir(exist_ok=True)
        root = str(Path(__file__).parents[2])
        started.append(
            subprocess.Popen(
                list(arguments),
                cwd=tmp_path / folder,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def finish(process):
    """Exit code, standard output, and error lines."""
    output, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, output, errors


def processes_below(parent):
    """Ids of the children of a process, from ``/proc``."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
        except (OSError, ValueError):
            continue
    return sorted(found)


def is_running(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_both_ways_give_the_metrics_of_one_process(start, command, tmp_path):
    package = [sys.executable, "-m", "recbole_genrec"]
    runs = [
        start("one", *package, *command()),
        start("nproc", *package, "--nproc=2", *command()),
        start("torchrun", *TORCHRUN, "-m", "recbole_genrec", *command()),
    ]
    for process in runs:
        code, output, errors = finish(process)
        assert code == 0, errors
        assert output.count("tiny, seed 2020: test") == 1
    for model in MODELS:
        one, *others = [outcome(tmp_path / folder, model) for folder in ("one", "nproc", "torchrun")]
        for several in others:
            assert several["processes"] == 2
            assert several["test_result"] == pytest.approx(one["test_result"], abs=1e-6)
            assert several["best_valid_result"] == pytest.approx(one["best_valid_result"], abs=1e-6)


def test_bad_input_is_one_line(start, command):
    code, _, errors = finish(start("bad", sys.executable, "-m", "recbole_genrec", "--nproc=2", *command(epochs="many")))
    assert code == 2
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and "'epochs' must be a" in lines[0] and "Traceback" not in errors


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes in /proc")
def test_a_process_that_dies_takes_the_run_down(start, command, tmp_path):
    process = start("dies", sys.executable, "-m", "recbole_genrec", "--nproc=2", *command(["GenRec"], epochs=100000))
    wait_for(lambda: list((tmp_path / "dies").glob("saved/*/last/manifest.json")) or process.poll() is not None)
    first, second = processes_below(process.pid)[:2]
    os.kill(second, signal.SIGKILL)
    code, _, errors = finish(process)
    assert code == 1
    assert re.search(r"error: process \d of the run was killed by SIGKILL, and the others were stopped", errors)
    assert "Traceback" not in errors
    wait_for(lambda: not is_running(first))


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end processes with the one that started them")
def test_an_agent_that_dies_leaves_no_processes(start, command, tmp_path):
    process = start("agent", sys.executable, "-m", "recbole_genrec", "--nproc=2", *command(["GenRec"], epochs=100000))
    wait_for(lambda: list((tmp_path / "agent").glob("saved/*/last/manifest.json")) or process.poll() is not None)
    children = processes_below(process.pid)
    assert len(children) >= 2
    process.kill()
    wait_for(lambda: not any(is_running(child) for child in children))


def test_a_signal_saves_and_stops_all(start, command, tmp_path):
    arguments = ["--nproc=2", *command(["GenRec"], epochs=100000)]
    process = start("stops", sys.executable, "-m", "recbole_genrec", *arguments)
    wait_for(lambda: list((tmp_path / "stops").glob("saved/*/last/manifest.json")) or process.poll() is not None)
    process.terminate()
    code, _, errors = finish(process)
    assert code == 128 + signal.SIGTERM, errors
    lines = [line for line in errors.splitlines() if line.startswith("stopped:")]
    assert len(lines) == 1 and "by SIGTERM at" in lines[0] and "--resume=auto goes on from it" in lines[0]
    last = next((tmp_path / "stops").glob("saved/*/last"))
    assert json.loads((last / "trainer.json").read_text())["step"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nproc=0"], "--nproc must be a positive whole number, not '0'"),
        (["--nproc=two"], "--nproc must be a positive whole number, not 'two'"),
        (["index", "--nproc=2"], "nproc"),
    ],
)
def test_wrong_numbers_of_processes(capsys, arguments, message):
    assert main([*arguments, "--dataset=ml-100k"]) == 2
    assert message in capsys.readouterr().err


def test_nproc_within_torchrun(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["--nproc=2"]) == 2
    assert "torchrun has done that already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["compare", "tune", "export", "convert", "index"])
def test_other_commands_take_one_process(monkeypatch, capsys, name):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main([name]) == 2
    assert f"{name} takes one process" in capsys.readouterr().err
