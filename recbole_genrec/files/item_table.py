"""The items of an ``.item`` file, unconverted: every cell is text, and the first row of an item counts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recbole_genrec.errors import GenRecError, listed
from recbole_genrec.files.atomic_file import AtomicFile


@dataclass(frozen=True, eq=False)
class ItemTable:
    """The first row of every item of an ``.item`` file."""

    #: where the file is.
    path: Path
    #: name of the column of item tokens.
    item_field: str
    #: types of the columns by name, in the order of the file.
    kinds: dict[str, str]
    #: by column, the cells of the items, in the order of the file ``[I]``.
    cells: dict[str, list[str]]


def read_items(file: AtomicFile, item_field: str) -> ItemTable:
    """Read an ``.item`` file, also where there is no pandas.

    Args:
        file: :class:`~recbole_genrec.files.atomic_file.AtomicFile`.
        item_field: name of its column of item tokens.

    Returns:
        :class:`ItemTable`.

    Raises:
        GenRecError: there is no such file or column, or a row is malformed or names no item.
    """
    check_there(file.path)
    kinds = file.columns()
    check_item_field(file.path, kinds, item_field)
    place = list(kinds).index(item_field)
    rows: dict[str, list[str]] = {}
    for number, cells in file.rows():
        if not cells[place]:
            raise no_item(file.path, number, item_field)
        rows.setdefault(cells[place], cells)
    columns: Iterable[tuple[str, ...]] = zip(*rows.values()) if rows else [()] * len(kinds)
    return ItemTable(file.path, item_field, kinds, dict(zip(kinds, map(list, columns))))


def check_there(path: Path) -> None:
    """Refuse a missing ``.item`` file."""
    if not path.is_file():
        raise GenRecError(f"No item text: the file {path} does not exist.")


def check_item_field(path: Path, kinds: Mapping[str, str], item_field: str) -> None:
    """Refuse an ``.item`` file without a column of item tokens."""
    if item_field not in kinds:
        raise GenRecError(f"{path} has no column {item_field!r}. Columns: {listed(kinds)}.")


def no_item(path: Path, line: int, item_field: str) -> GenRecError:
    """The error of a line that names no item."""
    return GenRecError(f"{path}, line {line}: the row has no value in column {item_field!r}.")
