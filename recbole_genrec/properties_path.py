"""Where the shipped YAML files are."""

from importlib.util import find_spec
from pathlib import Path


def properties_folder() -> Path:
    """Return the folder that holds ``overall.yaml``, ``model/``, ``prompt/`` and ``dataset/``.

    An installed wheel has it inside the package (``setup.py`` maps ``recbole_genrec.properties`` to the top-level
    ``properties/``); in a source checkout and in an editable install it stands beside the package.
    """
    package = Path(find_spec("recbole_genrec").origin).parent
    installed = package / "properties"
    return installed if installed.is_dir() else package.parent / "properties"
