"""Columns of a ``.user`` file, such as age and occupation, and the numbers that encode their values."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import nan
from typing import Any

from recbole_genrec.errors import GenRecError, listed, shown
from recbole_genrec.files.atomic_file import AtomicFile

#: the types of columns that are read: categories and numbers.
KINDS = ("token", "float")
#: the largest number of a column, as float32 holds it.
LARGEST = 3e38


@dataclass(frozen=True)
class ValueColumn:
    """A column of users or items: its type and its values.

    Attributes:
        kind: ``token`` or ``float``.
        values: of a column of tokens, its distinct texts, sorted; a text's number is its place here.
    """

    kind: str
    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, kind: str, texts: Iterable[str]) -> "ValueColumn":
        """The column with some texts."""
        return cls(kind, tuple(sorted(set(texts))) if kind == "token" else ())

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ValueColumn":
        """Read what :meth:`as_json` gave.

        Raises:
            GenRecError: the kind is none, or a text comes twice.
        """
        kind, values = content["kind"], tuple(content["values"])
        if kind not in KINDS or len(set(values)) < len(values):
            raise GenRecError(f"a column is of kind {shown(kind)}, or has a value twice.")
        return cls(kind, values)

    def as_json(self) -> dict[str, Any]:
        """Kind and values by name."""
        return asdict(self)

    @cached_property
    def _number(self) -> dict[str, float]:
        return {text: float(place) for place, text in enumerate(self.values)}

    def number(self, value: object) -> float:
        """The number of a value; NaN for a text that the column does not hold, and for what is no number."""
        if self.kind == "token":
            return self._number.get(str(value), nan)
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            return nan
        return number if abs(number) <= LARGEST else nan


@dataclass(frozen=True, eq=False)
class UserTable:
    """Columns of a ``.user`` file.

    Attributes:
        kinds: types of the columns by name.
        texts: by column, the cells by raw user id, of a user's rows the first; an empty cell is absent.
    """

    kinds: dict[str, str]
    texts: dict[str, dict[str, str]]


def read_users(file: AtomicFile, user_field: str, columns: Iterable[str], asking: str = "'user_columns'") -> UserTable:
    """Read columns of a ``.user`` file.

    Args:
        file: :class:`~recbole_genrec.files.atomic_file.AtomicFile`.
        user_field: name of its column of user ids.
        columns: names of the columns to read.
        asking: the setting or option that asks for them, as an error names it.

    Returns:
        :class:`UserTable`.

    Raises:
        GenRecError: there is no such file or column, a column is of another type, or a row is malformed.
    """
    if not file.path.is_file():
        raise GenRecError(f"{asking} needs {file.path}, which does not exist.")
    kinds = file.columns()
    for column in (user_field, *columns):
        if column not in kinds:
            raise GenRecError(f"{asking} needs the column {shown(column)} of {file.path}, which has: {listed(kinds)}.")
        if column != user_field and kinds[column] not in KINDS:
            raise GenRecError(
                f"{asking}: the column {shown(column)} of {file.path} must be of type {' or '.join(KINDS)}, not "
                f"{kinds[column]!r}."
            )
    place = {column: list(kinds).index(column) for column in (user_field, *columns)}
    rows: dict[str, list[str]] = {}
    for _, cells in file.rows():
        rows.setdefault(cells[place[user_field]], cells)
    texts = {
        column: {user: cells[place[column]] for user, cells in rows.items() if cells[place[column]]}
        for column in columns
    }
    return UserTable({column: kinds[column] for column in columns}, texts)
