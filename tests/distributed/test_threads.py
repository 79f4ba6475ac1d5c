"""How the threads of OpenMP wait: chosen before torch is loaded, the user's own word respected, and logged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recbole_genrec.distributed import threads

ROOT = str(Path(__file__).parents[2])


def in_new_process(code, **variables):
    """Run Python code in a process whose environment says nothing of waiting but ``variables``; gives both outputs."""
    environment = {key: value for key, value in os.environ.items() if key not in threads.WAITING}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=environment | variables, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout, run.stderr


WAITING = "from recbole_genrec.distributed import threads\nprint(threads.waiting())"


def test_a_short_spin_is_chosen_before_torch_is_loaded():
    shown, said = in_new_process(WAITING, OMP_DISPLAY_ENV="VERBOSE")
    assert shown.split() == [f"{name}={value}" for name, value in threads.CHOSEN.items()]
    if sys.platform == "linux" and "GOMP_SPINCOUNT" in said:  # torch's own library tells what it has read
        assert f"GOMP_SPINCOUNT = '{threads.CHOSEN['GOMP_SPINCOUNT']}'" in said


@pytest.mark.parametrize(
    ("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "0"), ("KMP_BLOCKTIME", "0")]
)
def test_the_users_word_stands_alone(name, value):
    assert in_new_process(WAITING, **{name: value})[0].split() == [f"{name}={value}"]


def test_after_torch_nothing_is_set_and_the_log_says_so():
    code = "import os, torch\nbefore = dict(os.environ)\nfrom recbole_genrec.distributed import threads\n"
    shown, _ = in_new_process(code + "assert os.environ == before\nprint(threads.described())", OMP_NUM_THREADS="1")
    assert shown.startswith(f"CPU threads: 1 of {os.cpu_count()} cores, waiting: as the OpenMP library does by itself")


def test_the_line_names_threads_and_variables(monkeypatch):
    for name in threads.WAITING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    expected = f"CPU threads: {torch.get_num_threads()} of {os.cpu_count()} cores, waiting: OMP_WAIT_POLICY=PASSIVE"
    assert threads.described() == expected
