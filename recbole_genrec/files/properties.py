"""The shipped YAML files: their folder and their content."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml


def properties_folder() -> Path:
    """Return the folder that holds ``overall.yaml``, ``model/``, ``dataset/``, ``prompt/`` and others.

    An installed wheel has it inside the package (packaging maps ``recbole_genrec.properties`` to the top-level
    ``properties/``); in a source checkout and in an editable install it stands beside the package.
    """
    spec: Any = find_spec("recbole_genrec")  # never None: this file is part of it
    package = Path(spec.origin).parent
    installed = package / "properties"
    return installed if installed.is_dir() else package.parent / "properties"


def read_shipped(name: str, loader: type[yaml.SafeLoader]) -> dict[str, Any]:
    """Read a shipped YAML file with PyYAML's ``loader``; ``{}`` where there is none."""
    file = properties_folder() / name
    if not file.is_file():
        return {}
    return yaml.load(file.read_text("utf-8"), loader) or {}
