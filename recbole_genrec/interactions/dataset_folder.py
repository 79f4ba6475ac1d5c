"""The folder of a dataset: whether it is there, and where its files come from; without RecBole and pandas."""

from pathlib import Path

import yaml

from recbole_genrec.config.registry import recbole_folder
from recbole_genrec.errors import GenRecError


def check_folder(name, folder):
    """Whether the folder of a dataset is there; ``False``: RecBole will download it.

    Raises:
        GenRecError: it is not, and RecBole has no address to download it from.
    """
    if not folder.is_dir():
        if name in _downloadable():
            return False
        if fetch := how_to_make(name, folder):
            raise GenRecError(f"Dataset {name!r}: there is no folder {str(folder)!r}.{fetch}")
        raise GenRecError(
            f"Unknown dataset {name!r}: there is no folder {str(folder)!r}, and RecBole has no address to download "
            f"it from. Set 'data_path' to the folder that holds {name!r}.{_others(folder.parent)}"
        )
    return True


def check_before_run(name, data_path):
    """Refuse a dataset that a run would not find; RecBole itself has ml-100k, and a raw dump will be converted.

    Raises:
        GenRecError: see :func:`check_folder`.
    """
    folder = Path(data_path) / name
    if name == "ml-100k" or folder.is_dir():
        return
    from recbole_genrec.interactions.converter import find_dump, find_in_data_path

    dump = find_dump(name)
    if dump is None or not find_in_data_path(dump, folder.parent):
        check_folder(name, folder)


def how_to_make(name, folder):
    """How to make a dataset that a converter knows, as a sentence to append; else ``""``."""
    from recbole_genrec.interactions.converter import how_to_get

    fetch = how_to_get(name, folder.parent)
    command = f"python -m recbole_genrec convert {name} --download --output={folder.parent}"
    return f" {fetch}: it will be converted. Or run: {command}" if fetch else ""


def _downloadable():
    return yaml.safe_load((recbole_folder() / "properties" / "dataset" / "url.yaml").read_text("utf-8"))


def _others(parent):
    names = sorted(path.name for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []
    return f" Folders there: {', '.join(names)}." if names else ""
