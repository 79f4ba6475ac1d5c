"""The shipped YAML files: where they are, and what they hold."""

from importlib.util import find_spec
from pathlib import Path

import yaml


def properties_folder() -> Path:
    """Return the folder that holds ``overall.yaml``, ``model/``, ``prompt/`` and ``dataset/``.

    An installed wheel has it inside the package (packaging maps ``recbole_genrec.properties`` to the top-level
    ``properties/``); in a source checkout and in an editable install it stands beside the package.
    """
    package = Path(find_spec("recbole_genrec").origin).parent
    installed = package / "properties"
    return installed if installed.is_dir() else package.parent / "properties"


def read_shipped(name, loader):
    """Read a shipped YAML file with PyYAML's ``loader``; ``{}`` where there is none."""
    file = properties_folder() / name
    if not file.is_file():
        return {}
    return yaml.load(file.read_text("utf-8"), loader) or {}
