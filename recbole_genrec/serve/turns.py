"""A turn of a conversation as a small typed structure, which rules or a language model read out of its text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recbole_genrec.catalogue.attributes import Attributes, number_of

#: longest list that a turn can ask for.
MOST_ITEMS = 100
#: stands for all columns in :attr:`Turn.any_of`.
ALL_COLUMNS = "*"
_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Wanted(BaseModel):
    """A condition on one column: values, or a range of numbers."""

    model_config = _STRICT

    column: str
    #: one of which an item must have.
    values: tuple[str, ...] = ()
    #: every one of the values is needed.
    together: bool = False
    #: the ends of a range, both of them included.
    low: float | None = None
    high: float | None = None
    #: the condition must not hold.
    excluded: bool = False

    @model_validator(mode="after")
    def _either_values_or_range(self) -> Wanted:
        if bool(self.values) == (self.low is not None or self.high is not None):
            raise ValueError("a condition holds values or a range of numbers, one of the two")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("the range is empty")
        return self

    @property
    def is_range(self) -> bool:
        """Whether it is a range of numbers."""
        return not self.values

    def words(self) -> str:
        """The condition in words."""
        if self.values:
            between = " and " if self.together else " or "
            return f"{self.column} is {'not ' * self.excluded}{between.join(self.values)}"
        if self.low == self.high:
            ends = f"is {'not ' * self.excluded}{self.low:g}"
        elif self.high is None:
            ends = f"is {'not ' * self.excluded}at least {self.low:g}"
        elif self.low is None:
            ends = f"is {'not ' * self.excluded}at most {self.high:g}"
        else:
            ends = f"is {'not ' * self.excluded}from {self.low:g} to {self.high:g}"
        return f"{self.column} {ends}"


class Turn(BaseModel):
    """What a turn asks for.

    Places count from 1 in the list that was shown last; 0 stands for "that one", whichever it is.
    """

    model_config = _STRICT

    #: ``more``: other items than those that were shown last; ``why``: say what was understood.
    action: Literal["update", "more", "undo", "start_over", "why"] = "update"
    #: titles and places of items for the history.
    liked: tuple[str, ...] = ()
    liked_places: tuple[int, ...] = ()
    #: titles and places of items that must not be recommended.
    excluded: tuple[str, ...] = ()
    excluded_places: tuple[int, ...] = ()
    conditions: tuple[Wanted, ...] = ()
    #: whether the conditions hold beside earlier ones on the same column, instead of replacing them.
    also: bool = False
    #: columns whose conditions end; ``*``: all of them.
    any_of: tuple[str, ...] = ()
    topk: int | None = Field(None, ge=1, le=MOST_ITEMS)

    @model_validator(mode="after")
    def _places_are_places(self) -> Turn:
        for place in (*self.liked_places, *self.excluded_places):
            if not 0 <= place <= MOST_ITEMS:
                raise ValueError(f"there is no place {place}")
        if any(not title.strip() for title in (*self.liked, *self.excluded)):
            raise ValueError("a title is empty")
        return self

    @property
    def is_command(self) -> bool:
        """Whether it changes nothing by itself: ``undo``, ``start_over`` and ``why`` stand alone."""
        return self.action in ("undo", "start_over", "why")


def merged(turns: Iterable[Turn]) -> Turn | None:
    """One turn that asks for all that several ask for; ``None`` where one of them is a command, which stands alone."""
    turns = list(turns)
    if len(turns) > 1 and any(turn.is_command for turn in turns):
        return None

    def of_all(name: str) -> tuple:
        return tuple(dict.fromkeys(each for turn in turns for each in getattr(turn, name)))

    names = ("liked", "liked_places", "excluded", "excluded_places", "conditions", "any_of")
    return Turn(
        action=next((turn.action for turn in turns if turn.action != "update"), "update"),
        also=any(turn.also for turn in turns),
        topk=next((turn.topk for turn in reversed(turns) if turn.topk is not None), None),
        **{name: of_all(name) for name in names},
    )


def in_catalogue(turn: Turn, attributes: Attributes) -> Turn:
    """The turn with columns and values as the catalogue spells them.

    Raises:
        ValueError: it names a column or a value that the catalogue does not have.
    """
    conditions = tuple(_known(wanted, attributes) for wanted in turn.conditions)
    any_of = []
    for name in turn.any_of:
        column = name if name == ALL_COLUMNS else attributes.column(name)
        if column is None:
            raise ValueError(f"no column {name!r}")
        any_of.append(column)
    return turn.model_copy(update={"conditions": conditions, "any_of": tuple(any_of)})


def _known(wanted: Wanted, attributes: Attributes) -> Wanted:
    column = attributes.column(wanted.column)
    if column is None:
        raise ValueError(f"no column {wanted.column!r}")
    if wanted.is_range:
        if column not in attributes.numbers:
            raise ValueError(f"column {column!r} holds no numbers")
        return wanted.model_copy(update={"column": column})
    if column in attributes.numbers:
        numbers = [number_of(value) for value in wanted.values]
        if len(numbers) != 1 or numbers[0] not in attributes.numbers[column]:
            raise ValueError(f"column {column!r} has no {', '.join(wanted.values)}")
        return Wanted(column=column, low=numbers[0], high=numbers[0], excluded=wanted.excluded)
    values = [attributes.value(column, value) for value in wanted.values]
    if None in values:
        raise ValueError(f"column {column!r} has no {wanted.values[values.index(None)]!r}")
    together = wanted.together and column in attributes.several
    return wanted.model_copy(update={"column": column, "values": tuple(values), "together": together})
