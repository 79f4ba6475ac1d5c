"""How OpenMP threads wait for work: they spin for a short time, then sleep.

torch computes on a CPU with a pool of OpenMP threads. Between two pieces of work they spin, so that the next one starts
at once. Spun for long, they fight for the cores with every other process, and with the one thread they wait for: GNU's
libgomp, which torch's Linux wheels carry, with CUDA and without, turns 300,000 times, milliseconds; LLVM's libomp, on
macOS, and Intel's spin for 200 ms. A short spin bridges the gaps within a training step and gives the core back soon.

The libraries read their environment once, when they are loaded, which ``import torch`` does. So this module imports no
torch, and the package's ``__init__`` calls :func:`choose_waiting` before all else. Processes started from this one
inherit the choice.
"""

import os
import sys

#: variables that say how threads wait. One that is set already is the user's word.
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
#: libgomp's turns, each a processor's ``pause``, together some tenths of a millisecond; libomp's milliseconds.
CHOSEN = {"GOMP_SPINCOUNT": "5000", "KMP_BLOCKTIME": "1"}


def choose_waiting() -> None:
    """Let threads spin for a short time, unless the environment says how they wait, or torch is already loaded."""
    if "torch" not in sys.modules and not any(name in os.environ for name in WAITING):
        os.environ.update(CHOSEN)


def waiting() -> str:
    """The environment variables that say how threads wait, with their values; empty for the library's default."""
    return " ".join(f"{name}={os.environ[name]}" for name in WAITING if name in os.environ)


def described() -> str:
    """A line for the log: how many threads compute, and how they wait."""
    import torch

    said = waiting() or "as the OpenMP library does by itself: torch was loaded before recbole_genrec"
    return f"CPU threads: {torch.get_num_threads()} of {os.cpu_count()} cores, waiting: {said}"
