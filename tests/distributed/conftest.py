"""Several processes on this machine, forked so that they have imported everything already, talking by gloo."""

import os
import pickle
import signal
import socket
import time
import traceback
from pathlib import Path

import pytest
import torch

from benchmarks.kills import SETTINGS, outcome, write_dataset
from recbole_genrec import run_recbole_genrec
from recbole_genrec.config.keys import model_kind

#: settings of every model, RecBole's too.
KNOWN = ("topk", "valid_metric", "epochs", "data_path", "show_progress")
#: seconds after which a test's processes are taken to hang.
PATIENCE = 240

if not hasattr(os, "fork"):
    collect_ignore_glob = ["test_*.py"]


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def _run(function, folder, rank, environment):
    """The life of a forked process: it leaves ``function``'s result in a file, and never returns."""
    code = 1
    try:
        torch.set_num_threads(1)
        os.environ.update(environment)
        folder.mkdir(exist_ok=True)
        os.chdir(folder)
        output = os.open(f"output {rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        result = function()
        Path(f"result {rank}.pickle").write_bytes(pickle.dumps(result))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


@pytest.fixture
def in_processes(tmp_path):
    """Call ``function()`` in ``size`` processes that the environment makes a world; returns their results in order.

    They run in ``folder`` below ``tmp_path``. One that fails ends the others, and the test with what it printed.
    """

    def call(size, function, folder="run"):
        folder, port, children = tmp_path / folder, str(free_port()), {}
        for rank in range(size):
            own = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
            own = {key: str(value) for key, value in own.items()} | {"MASTER_ADDR": "localhost"}
            child = os.fork()
            if child == 0:
                _run(function, folder, rank, own if size > 1 else {})
            children[child] = rank
        failed = _wait(children)
        if failed:
            pytest.fail("\n".join((folder / f"output {rank}.txt").read_text("utf-8")[-3000:] for rank in failed))
        return [pickle.loads((folder / f"result {rank}.pickle").read_bytes()) for rank in range(size)]

    return call


def _of_recbole(settings):
    """The settings that RecBole's own models know."""
    return {key: value for key, value in settings.items() if key in KNOWN}


def _wait(children):
    """Ranks of the processes that failed, or that never ended."""
    deadline, running, failed = time.monotonic() + PATIENCE, dict(children), []
    while running and not failed and time.monotonic() < deadline:
        for child in list(running):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                rank = running.pop(child)
                failed += [rank] if status else []
        time.sleep(0.02)
    for child, rank in running.items():
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        failed += [] if failed else [rank]
    return failed


@pytest.fixture
def settings(tmp_path):
    """Of a run that ends in a second, without dropout, which every process draws by itself."""
    still = {key: 0.0 for key in ("embedding_dropout", "hidden_dropout", "item_embedding_dropout")}
    return SETTINGS | still | {"data_path": write_dataset(tmp_path / "data"), "resume": "", "save_steps": 0}


@pytest.fixture
def train(in_processes, settings, tmp_path):
    """Train and test a model in ``size`` processes; returns its result file without times and place."""

    def run(size, model="GenRec", folder=None, **more):
        folder = folder or f"{model} {size}"
        own = settings if model_kind(model).generative else _of_recbole(settings)
        given = own | more
        in_processes(size, lambda: run_recbole_genrec(model, "tiny", config_dict=given) and None, folder)
        return outcome(tmp_path / folder, model)

    return run
