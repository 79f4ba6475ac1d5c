"""Conditions on the columns of ``.item``: which items may be recommended.

A condition is a column and what its value must be: a value; a set of values, one of which an item must have; or a
range, a pair of numbers with ``None`` for an open end. An item whose column holds several values, such as genres, meets
a condition with one of them.

Letters: I items.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, TypeAlias

import numpy as np

from recbole_genrec.catalogue.item_text import ItemColumn
from recbole_genrec.errors import GenRecError, unknown_name

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})?\.\.({_NUMBER})?")
#: most values that an error lists.
SHOWN = 8
#: what :func:`choose_items` takes.
Conditions: TypeAlias = (
    Mapping[str, Any] | Iterable[tuple[str, Any]] | Callable[[Mapping[str, list[str]]], bool] | np.ndarray
)


def parse_where(texts):
    """Read conditions as the command line writes them; all of them must hold.

    Args:
        texts: each ``column=value``, ``column=one|other``, ``column=low..high`` with either end open, or several of
            these with ``;`` between them.

    Returns:
        List of pairs of a column and its condition, for :func:`choose_items`.

    Raises:
        GenRecError: a text is not of this form.
    """
    conditions = []
    for text in texts:
        for part in text.split(";"):
            column, equals, wanted = (piece.strip() for piece in part.partition("="))
            if not (column and equals and wanted):
                raise GenRecError(
                    f"--where: {part.strip()!r} is not 'column=value', 'column=one|other' or 'column=low..high'."
                )
            conditions.append((column, _parse_wanted(wanted)))
    return conditions


def _parse_wanted(text):
    bounds = _RANGE.fullmatch(text)
    if bounds and any(bounds.groups()):
        return tuple(None if bound is None else float(bound) for bound in bounds.groups())
    values = {value.strip() for value in text.split("|")}
    return values if len(values) > 1 else values.pop()


def choose_items(catalogue, where, id_column):
    """Which items of a catalogue may be recommended.

    Args:
        catalogue: :class:`~recbole_genrec.catalogue.catalogue.Catalogue`.
        where: a mapping from columns to conditions, or pairs of these; a function of an item's values, a mapping from
            columns to lists of texts, that returns whether the item may be recommended; or an array of I booleans in
            the catalogue's order.
        id_column: name of the column of item ids.

    Returns:
        ``[I]`` booleans, at least one of them true.

    Raises:
        GenRecError: the catalogue has no columns or not this one; a value is not in the column; no item is left.
    """
    if hasattr(where, "dtype"):
        chosen = np.asarray(where)
        if chosen.shape != (len(catalogue.item_tokens),) or chosen.dtype != bool:
            raise GenRecError(f"'where' as an array must hold {len(catalogue.item_tokens)} booleans, one an item.")
    else:
        chosen = _meeting(catalogue, where, id_column)
    if not chosen.any():
        raise GenRecError("'where' leaves no item of the catalogue.")
    return chosen


def _meeting(catalogue, where, id_column):
    if catalogue.columns is None:
        raise GenRecError(
            "'where': this checkpoint was written by a version that kept no item columns. Train once more to have them."
        )
    tokens = catalogue.item_tokens
    columns = {**catalogue.columns, id_column: ItemColumn("token", {token: [token] for token in tokens})}
    if callable(where):
        item_values = ({name: column.values.get(token, []) for name, column in columns.items()} for token in tokens)
        return np.fromiter((bool(where(values)) for values in item_values), bool, len(tokens))
    chosen = np.ones(len(tokens), bool)
    for name, wanted in where.items() if isinstance(where, Mapping) else where:
        if name not in columns:
            raise unknown_name("column of 'where'", name, columns)
        values = [columns[name].values.get(token, []) for token in tokens]
        chosen &= _holds(name, columns[name].kind, values, wanted)
    return chosen


def _holds(name, kind, values, wanted):
    """Whether each item's values meet a condition ``[I]``."""
    if isinstance(wanted, tuple):
        return _in_range(name, values, wanted)
    numeric = kind.startswith("float")
    if numeric:
        values = [[_number(value) for value in item] for item in values]
    known = {value for item in values for value in item}
    wanted = wanted if isinstance(wanted, (set, frozenset, list)) else [wanted]
    accepted = {_number(value) if numeric else str(value): value for value in wanted}
    for value in accepted.keys() - known:
        raise _unknown_value(name, accepted[value], known)
    return np.array([not accepted.keys().isdisjoint(item) for item in values])


def _in_range(name, values, wanted):
    if len(wanted) != 2 or all(bound is None for bound in wanted):
        raise GenRecError(
            f"'where': a range of {name!r} is a pair of numbers, one of them may be None, not {wanted!r}."
        )
    low, high = (infinite if bound is None else _number(bound) for bound, infinite in zip(wanted, (-inf, inf)))
    numbers = [[_number(value) for value in item] for item in values]
    known = [number for item in numbers for number in item if number == number]
    if not known:
        raise GenRecError(f"'where': column {name!r} holds no numbers; it cannot have a range.")
    inside = np.array([any(low <= number <= high for number in item) for item in numbers])
    if not inside.any():
        raise GenRecError(
            f"'where': no item has {name!r} in that range; its numbers go from {min(known):g} to {max(known):g}."
        )
    return inside


def _number(value):
    """The number that a text spells; else NaN, which equals nothing and is in no range."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _unknown_value(name, value, known):
    texts = sorted({f"{each:g}" if isinstance(each, float) else each for each in known})
    nearest = difflib.get_close_matches(str(value), texts, n=SHOWN, cutoff=0.6) or texts[:SHOWN]
    more = ", ..." if len(texts) > len(nearest) else ""
    return GenRecError(f"'where': no item has {value!r} in column {name!r}. It has {', '.join(nearest)}{more}.")
