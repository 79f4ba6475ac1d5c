"""What a run leaves behind: one JSON a model, and one table."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from recbole_genrec import __version__
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.json_shape import check_shape
from recbole_genrec.files.plain import plain
from recbole_genrec.files.write import write_text

LIBRARIES = ("numpy", "pandas", "torch", "transformers", "peft", "recbole")


_METRICS = {"*": float}
#: what a report takes for granted of the JSON of a run; files of earlier versions lack what ends with "?".
RUN_SHAPE = {
    "model": str,
    "dataset": str,
    "seed": int,
    "test_result": _METRICS,
    "best_valid_result": (_METRICS, None),
    "valid_metric": str,
    "epochs": int,
    "seconds": {"train": float, "total": float},
    "users_per_second": float,
    "parameters": {"total": int},
    "config": {"eval_args": {"mode": (str, {"*": str}), "split": {}}, "epochs": int, "topk": (int, [int])},
    "versions": {"*": (str, None)},
    "hardware": {"device": str, "name": str, "cpu_count": (int, None), "threads": int},
    "users?": ({"evaluated": int, "of": int}, None),
    "outcomes?": (bool, None),
    "generation?": ({"valid_share?": float, "grounding?": {}}, None),
    "curve?": [{"epoch": int, "valid_result?": _METRICS}],
}
#: of the JSON of a run that failed.
FAILED_SHAPE = {"model": str, "dataset": str, "seed": int, "error": str, "config?": {}}


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that decide a result."""
    libraries = {name: version(name) for name in LIBRARIES}
    libraries["torch"] = torch.__version__  # names the build too, such as +cpu
    return {"python": platform.python_version(), "recbole_genrec": __version__, **libraries}


def hardware(device) -> dict:
    """The device of a run, and how many CPU cores and threads stood behind it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": str(device), "name": name, "cpu_count": os.cpu_count(), "threads": torch.get_num_threads()}


def write_result(folder, result):
    """Write ``<model>-<dataset>-<seed>.json``; an earlier one of the same name is replaced."""
    write_text(result_file(folder, result["model"], result, "json"), json.dumps(plain(result), indent=2) + "\n")


def result_file(folder, models, result, ending):
    """Path of a run's file, ``<model>-<dataset>-<seed>.<ending>``; ``result`` names dataset and seed."""
    return Path(folder) / f"{models}-{result['dataset']}-{result['seed']}.{ending}"


def read_json(path):
    """Read a JSON file.

    Raises:
        GenRecError: it is none.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # wrong JSON or no UTF-8; a number or a depth beyond Python's limit
        raise GenRecError(f"{path} is not JSON: {error}.") from error


def check_run(path, content):
    """Compare what a run has left, or one that failed, with what reports and comparisons take for granted.

    Raises:
        GenRecError: it looks different; the message names the file and the place in it.
    """
    check_shape(content, FAILED_SHAPE if is_failed(path) else RUN_SHAPE, str(path))


def is_failed(path):
    """Whether a file tells of a run that failed."""
    return path.name.endswith(".failed.json")
