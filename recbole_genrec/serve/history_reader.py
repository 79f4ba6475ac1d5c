"""Histories given as titles, item ids and free text, matched with a catalogue.

A title is looked up literally, then by :class:`~recbole_genrec.chat.grounding.Grounder`. A text without a match is read
as free text, as if it were the title of an item.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TypeAlias

from recbole_genrec.chat.grounding import Grounder
from recbole_genrec.config.arguments import PromptLLMArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.text import clean_text


@dataclass(frozen=True, kw_only=True)
class GivenEntry:
    """What an entry of a history may carry, for a model that was trained with ``context``."""

    #: when it was chosen: a date and time, also as ISO text, or a number in the units of the training data's times.
    time: datetime | str | float | None = None
    #: numbers by column, such as ``{"rating": 5}``.
    values: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def given(self) -> str:
        """The id or title."""
        raise NotImplementedError


@dataclass(frozen=True)
class ItemId(GivenEntry):
    """An entry of a history that is the raw id of an item; an entry that is a ``str`` is a title."""

    item_id: str

    @property
    def given(self) -> str:
        """The id."""
        return str(self.item_id)


@dataclass(frozen=True)
class Title(GivenEntry):
    """A title or text as an entry that carries a time or values; without these a ``str`` does as well."""

    title: str

    @property
    def given(self) -> str:
        """The title."""
        return self.title


#: a history as it is given, the oldest entry first: titles, texts, item ids.
History: TypeAlias = Sequence[str | ItemId | Title]


class UserHistory(list[str | ItemId | Title]):
    """A history with what is known of its user, for a model with ``user_columns`` or ``user_indexing``.

    Args:
        entries: the oldest first.
        user: values by column, such as ``{"age": 24, "occupation": "writer"}``.
        user_id: raw id of a user of the dataset, for a model that knows users by their ids; ``None``: nobody.
        unknown: raw ids of items of the user's that are left out of the entries: the catalogue does not have them.
    """

    def __init__(
        self,
        entries: Iterable[str | ItemId | Title],
        user: Mapping[str, str | float] | None = None,
        user_id: str | None = None,
        unknown: Iterable[str] = (),
    ) -> None:
        super().__init__(entries)
        self.user, self.user_id, self.unknown = dict(user or {}), user_id, tuple(unknown)


@dataclass(frozen=True)
class Entry:
    """An entry of a history and the item or text it was matched with."""

    #: the entry as given.
    given: str
    #: ``id``; ``exact`` or ``fuzzy``: a title of the catalogue; ``text``: free text.
    kind: str
    #: raw id of the item, ``None`` for free text.
    item_id: str | None
    #: the item's title, or the text.
    title: str
    #: whether the model reads it: the oldest entries of a long history are left out.
    read: bool = True


class HistoryReader:
    """Matches entries with the items of a catalogue.

    Args:
        item_tokens: raw ids of items 1 to I.
        titles: their titles.
        reads_text: whether the model reads items as their texts, and so can read free text.
        without_text: why it cannot, for the error; a sentence without a full stop.
    """

    def __init__(
        self,
        item_tokens: Sequence[str],
        titles: Sequence[str],
        reads_text: bool,
        without_text: str = "free text is for 'item_indexing: title' only: this model reads items by codes, which a "
        "text has not",
    ) -> None:
        self.item_tokens, self.titles, self.reads_text = item_tokens, titles, reads_text
        self.without_text = without_text
        self.number = {token: item for item, token in enumerate(item_tokens, 1)}
        self._by_id: dict[str, Entry] = {}  # entries are the same for all histories
        self._unread: dict[str, Entry] = {}
        self._literal = {title: item for item, title in reversed(list(enumerate(titles, 1)))}

    @cached_property
    def _grounder(self) -> Grounder:
        return Grounder(self.titles, PromptLLMArguments.fuzzy_threshold)

    def number_of(self, item_id: object) -> int:
        """The number of an item, from 1, by its raw id.

        Raises:
            GenRecError: there is none.
        """
        if str(item_id) not in self.number:
            raise GenRecError(f"The catalogue has no item with the id {str(item_id)!r}.")
        return self.number[str(item_id)]

    def unread(self, entry: Entry) -> Entry:
        """The same entry where a model does not read it."""
        if entry.kind != "id":
            return replace(entry, read=False)
        if entry.given not in self._unread:
            self._unread[entry.given] = replace(entry, read=False)
        return self._unread[entry.given]

    def read(self, given: str | ItemId | Title) -> tuple[Entry, int | None]:
        """Match one entry.

        Args:
            given: a title, a :class:`Title` or an :class:`ItemId`.

        Returns:
            :class:`Entry`, and the item's number, ``None`` for free text.

        Raises:
            GenRecError: no such item id; or free text, which this model cannot read.
        """
        if isinstance(given, ItemId):
            token = str(given.item_id)
            if token not in self._by_id:
                self._by_id[token] = Entry(token, "id", token, self.titles[self.number_of(token) - 1])
            return self._by_id[token], self.number[token]
        if isinstance(given, Title):
            given = given.title
        title = clean_text(given) if isinstance(given, str) else ""
        if not title:
            raise GenRecError(f"An entry of a history is a title or an ItemId, not {given!r}.")
        item, kind = self._literal.get(title), "exact"
        if item is None:
            item, kind = self._grounder.find(title)
        if item is not None:
            return Entry(given, kind, self.item_tokens[item - 1], self.titles[item - 1]), item
        if not self.reads_text:
            raise GenRecError(f"The catalogue has no item {given!r}, and {self.without_text}.")
        return Entry(given, "text", None, title), None
