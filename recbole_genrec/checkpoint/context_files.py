"""The context of histories in a checkpoint: the clock of its times, its users, and columns of users and items."""

from pathlib import Path

from recbole_genrec.catalogue.user_index import UserIndex
from recbole_genrec.checkpoint.folder import damage_of, read_json
from recbole_genrec.files.moments import Clock
from recbole_genrec.files.user_table import ValueColumn


def read_clock(folder):
    """The :class:`~recbole_genrec.files.moments.Clock` of the data that a model with times was trained on, or ``None``.

    Raises:
        GenRecError: the file is damaged; the message names the checkpoint.
    """
    return _read(folder, "clock.json", Clock.from_json)


def read_value_columns(folder, name):
    """The :class:`~recbole_genrec.files.user_table.ValueColumn` by name of a model that reads some; else none.

    Args:
        folder: the checkpoint.
        name: of the file: ``user_columns.json`` or ``item_values.json``.

    Raises:
        GenRecError: the file is damaged; the message names the checkpoint.
    """

    def columns(stored):
        return {column: ValueColumn.from_json(described) for column, described in stored.items()}

    return _read(folder, name, columns) or {}


def read_user_index(folder):
    """The :class:`~recbole_genrec.catalogue.user_index.UserIndex` of a checkpoint, or ``None`` where it has none.

    Raises:
        GenRecError: the file is damaged; the message names the checkpoint.
    """
    return _read(folder, "users.json", UserIndex.from_json)


def _read(folder, name, from_json):
    """What ``from_json`` makes of a file of a checkpoint, or ``None`` where there is no such file."""
    folder = Path(folder)
    if not (folder / name).is_file():
        return None
    with damage_of(folder):
        return from_json(read_json(folder / name))
