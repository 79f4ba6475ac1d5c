"""Does memory stay flat over a long run? A small model is trained, validated and saved, epoch after epoch.

What the process holds is taken at the start of every epoch: resident memory, live tensors with their bytes, and
Python's own memory. The first tenth of the epochs, in which caches fill and the allocator finds its size, is the start.

    python -m benchmarks.soak --epochs 2000
"""

import gc
import os
import resource
import sys
import tempfile
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import Results, parser, report
from benchmarks.kills import SETTINGS, write_dataset
from recbole_genrec import run_recbole_genrec
from recbole_genrec.training.trainer import GenRecTrainer

MODELS = {"GenRec": {}, "P5": {"n_candidates": 5, "examples_per_user": 1}, "GenRecSeq2Seq": {"train_stage": "finetune"}}
COLUMNS = {"model": "", "epochs": "", "start_mib": ".1f", "end_mib": ".1f", "kib_an_epoch": ".2f"}
COLUMNS |= {"tensors": "+d", "tensor_kib": "+.1f", "python_kib_an_epoch": ".2f"}


def resident():
    """Resident memory in bytes; the highest so far where ``/proc`` is missing."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def tensors():
    """Live tensors: how many, and their bytes."""
    alive = [value for value in gc.get_objects() if issubclass(type(value), torch.Tensor)]  # wakes no lazy object
    return len(alive), sum(value.untyped_storage().nbytes() for value in alive)


@contextmanager
def watched(every):
    """Take what the process holds at the start of every so many epochs; gives the list of it."""
    taken, train = [], GenRecTrainer._train_epoch

    def train_epoch(trainer, train_data, epoch_idx, *args, **kwargs):
        if epoch_idx % every == 0:
            gc.collect()
            traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
            taken.append((epoch_idx, resident(), *tensors(), traced))
        return train(trainer, train_data, epoch_idx, *args, **kwargs)

    GenRecTrainer._train_epoch = train_epoch
    try:
        yield taken
    finally:
        GenRecTrainer._train_epoch = train


def soak(folder, model, epochs, trace=False):
    """Train ``model`` for so many epochs in ``folder``, the working one, and say what grew.

    Args:
        folder: receives the data; the run writes below the working folder.
        model: a name.
        epochs: how many; a tenth of them is the start.
        trace: follow Python's memory, too, which takes time.

    Returns:
        A row for the table.
    """
    settings = SETTINGS | MODELS[model] | {"epochs": epochs, "stopping_step": epochs, "resume": "", "save_steps": 0}
    settings["data_path"] = str(folder) if (folder / "tiny").is_dir() else write_dataset(folder)
    if trace:
        tracemalloc.start()
    try:
        with watched(max(1, epochs // 50)) as taken:
            run_recbole_genrec(model, "tiny", config_dict=settings)
    finally:
        tracemalloc.stop()
    epoch, memory, count, size, traced = map(np.array, zip(*taken))
    late = epoch >= epochs / 10
    slope = np.polyfit(epoch[late], memory[late], 1)[0]
    return {
        "model": model,
        "epochs": epochs,
        "start_mib": memory[late][0] / 2**20,
        "end_mib": memory[-1] / 2**20,
        "kib_an_epoch": slope / 2**10,
        "tensors": int(count[-1] - count[late][0]),
        "tensor_kib": float(size[-1] - size[late][0]) / 2**10,
        "python_kib_an_epoch": float(traced[-1] - traced[late][0]) / 2**10 / (epoch[-1] - epoch[late][0]),
    }


def main(arguments=None):
    """Train each model for many epochs and report the memory."""
    options = parser("soak", __doc__)
    options.add_argument("--epochs", type=int, default=2000)
    options.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    options = options.parse_args(arguments)
    epochs, rows, place = 20 if options.quick else options.epochs, [], Path.cwd()
    options.output = options.output.absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for model in options.models:
                rows.append(soak(Path(folder) / "data", model, epochs, trace=True))
        finally:
            os.chdir(place)
    report(options, {"rows": Results("Memory over a long run", COLUMNS, rows)})


if __name__ == "__main__":
    main()
