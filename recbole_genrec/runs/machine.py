"""What a run was made with: versions of the software, and the hardware."""

import os
import platform
from importlib.metadata import version

import torch

from recbole_genrec import __version__

LIBRARIES = ("numpy", "pandas", "torch", "transformers", "peft", "recbole")


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that decide a result."""
    libraries = {name: version(name) for name in LIBRARIES}
    libraries["torch"] = torch.__version__  # names the build too, such as +cpu
    return {"python": platform.python_version(), "recbole_genrec": __version__, **libraries}


def hardware(device) -> dict:
    """The device of a run, and how many CPU cores and threads stood behind it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": str(device), "name": name, "cpu_count": os.cpu_count(), "threads": torch.get_num_threads()}
