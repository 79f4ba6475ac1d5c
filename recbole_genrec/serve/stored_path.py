"""What may stand for a trained model on the command line and in Python, told apart without anything heavy."""

from pathlib import Path

from recbole_genrec.checkpoint.folder import existing, fingerprint
from recbole_genrec.errors import GenRecError

_FORMS = "the JSON of a run, or a .pth file of RecBole's"


def check_path(path):
    """Refuse a path that holds no trained model.

    Returns:
        The path of a checkpoint folder, or of a ``.json`` or ``.pth`` file.

    Raises:
        GenRecError: there is nothing, or a folder without a checkpoint.
    """
    path = Path(path)
    if path.suffix not in (".json", ".pth") or path.is_dir():
        if path.is_file():
            raise GenRecError(f"{str(path)!r} is no trained model: give a checkpoint folder, {_FORMS}.")
        return existing(path)
    if not path.is_file():
        raise GenRecError(f"There is no file {str(path)!r}. A trained model is a checkpoint folder, {_FORMS}.")
    return path


def identity_of(path):
    """What tells a trained model from another one at the same path: its file's sum, or its manifest's."""
    path = check_path(path)
    return fingerprint(path / "manifest.json" if path.is_dir() else path)["sha256"]
