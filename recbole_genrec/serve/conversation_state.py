"""What a conversation has come to: the history, conditions and exclusions, and the items that they leave.

Letters: I items.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from recbole_genrec.catalogue.catalogue import Catalogue
from recbole_genrec.errors import GenRecError
from recbole_genrec.serve.conditions import choose_items
from recbole_genrec.serve.history_reader import ItemId, Title
from recbole_genrec.serve.turns import ALL_COLUMNS, Wanted

#: most titles of the history, and of the items that are left out, that the state in words names.
MOST_NAMED = 12


@dataclass(frozen=True)
class ConversationState:
    """The state after a turn; a turn makes a new one."""

    #: the oldest entry first.
    history: tuple[str | ItemId | Title, ...] = ()
    #: all of which must hold.
    conditions: tuple[Wanted, ...] = ()
    #: raw ids of items that must not be recommended, in the order in which they were named.
    excluded: tuple[str, ...] = ()
    topk: int = 10

    def liking(self, entries: Iterable[str | ItemId | Title]) -> ConversationState:
        """With entries at the end of the history; one that is there already moves to the end."""
        entries = tuple(dict.fromkeys(entries))
        return replace(self, history=tuple(e for e in self.history if e not in entries) + entries)

    def excluding(self, items: Iterable[str]) -> ConversationState:
        """Without items, given by their raw ids, neither in lists nor in the history."""
        items = tuple(dict.fromkeys(items))
        history = tuple(e for e in self.history if not (isinstance(e, ItemId) and e.item_id in items))
        return replace(self, history=history, excluded=tuple(dict.fromkeys(self.excluded + items)))

    def without_conditions(self, columns: Iterable[str]) -> ConversationState:
        """Without the conditions on some columns."""
        columns = set(columns)
        kept = tuple(w for w in self.conditions if not columns & {w.column, ALL_COLUMNS})
        return replace(self, conditions=kept)

    def wanting(self, wanted: Wanted, also: bool) -> ConversationState:
        """With one more condition.

        Values that are wanted replace those that were wanted before, unless ``also``, and end their exclusion; values
        that are excluded end their being wanted. A new end of a range replaces the former one; where nothing is left
        between the two, the new range stands alone.
        """
        if wanted.is_range and not wanted.excluded:
            return replace(self, conditions=_with_range(self.conditions, wanted))
        kept = []
        for old in self.conditions:
            contrary = old.column == wanted.column and old.excluded != wanted.excluded and not old.is_range
            replaced = old.column == wanted.column and not (old.excluded or wanted.excluded or old.is_range or also)
            if contrary and not wanted.is_range:
                left = tuple(value for value in old.values if value not in wanted.values)
                kept += [old.model_copy(update={"values": left})] if left else []
            elif not replaced and old != wanted:
                kept.append(old)
        return replace(self, conditions=(*kept, wanted))

    def keeps(self, wanted: Wanted) -> bool:
        """Whether the conditions include one, as they do unless a contrary one came after it."""
        own = [each for each in self.conditions if (each.column, each.excluded) == (wanted.column, wanted.excluded)]
        if not wanted.is_range:
            return any(set(wanted.values) <= set(each.values) for each in own)
        ends = [(-inf if each.low is None else each.low, inf if each.high is None else each.high) for each in own]
        low, high = (-inf if wanted.low is None else wanted.low), (inf if wanted.high is None else wanted.high)
        return wanted in own or any(each.is_range and low <= a and b <= high for each, (a, b) in zip(own, ends))

    def allowed(self, catalogue: Catalogue, id_column: str, history_items: Iterable[int]) -> np.ndarray:
        """Which items may be recommended ``[I]``.

        Args:
            catalogue: of the checkpoint.
            id_column: name of the column of item ids.
            history_items: numbers of the history's items, from 1.

        Returns:
            Booleans; perhaps none is true.
        """
        allowed = np.ones(len(catalogue.item_tokens), bool)
        for wanted in self.conditions:
            holds = _holds(wanted, catalogue, id_column)
            allowed &= ~holds if wanted.excluded else holds
        place = {token: number for number, token in enumerate(catalogue.item_tokens)}
        allowed[[place[token] for token in self.excluded]] = False
        allowed[[item - 1 for item in history_items]] = False
        return allowed

    def words(self, titles: dict[str, str]) -> str:
        """The state in words; ``titles`` by raw id."""
        history = [titles[e.item_id] if isinstance(e, ItemId) else _free_text(e) for e in self.history]
        parts = [f"history: {_newest(history) or 'empty'}"]
        parts.append(f"conditions: {'; '.join(wanted.words() for wanted in self.conditions) or 'none'}")
        parts.append(f"left out: {_newest([titles[token] for token in self.excluded]) or 'nothing'}")
        return f"{'. '.join(part[0].upper() + part[1:] for part in parts)}. Length of the list: {self.topk}."


def _newest(titles: list[str]) -> str:
    """Titles, the newest :data:`MOST_NAMED` of them."""
    older = len(titles) - MOST_NAMED
    return "; ".join([f"{older} older ones"] * (older > 0) + titles[-MOST_NAMED:])


def _free_text(entry: str | Title) -> str:
    return f'"{entry.title if isinstance(entry, Title) else entry}" (free text)'


def _with_range(conditions: tuple[Wanted, ...], wanted: Wanted) -> tuple[Wanted, ...]:
    old = next((w for w in conditions if w.column == wanted.column and w.is_range and not w.excluded), None)
    if old is None:
        return (*conditions, wanted)
    low = old.low if wanted.low is None else wanted.low
    high = old.high if wanted.high is None else wanted.high
    fits = low is None or high is None or low <= high
    new = Wanted(column=wanted.column, low=low, high=high) if fits else wanted
    return (*(w for w in conditions if w is not old), new)


def _holds(wanted: Wanted, catalogue: Catalogue, id_column: str) -> np.ndarray:
    """Whether each item meets a condition, its exclusion aside ``[I]``."""
    condition: list[tuple[str, Any]]
    if wanted.is_range:
        condition = [(wanted.column, (wanted.low, wanted.high))]
    elif wanted.together:
        condition = [(wanted.column, value) for value in wanted.values]
    else:
        condition = [(wanted.column, set(wanted.values))]
    try:
        return choose_items(catalogue, condition, id_column)
    except GenRecError:  # the column and its values are known: no item meets it
        return np.zeros(len(catalogue.item_tokens), bool)
