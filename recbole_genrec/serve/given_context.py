"""The context of histories that are given to a recommender: times, values, and the moment that is asked for."""

from collections.abc import Mapping
from datetime import datetime, timezone
from itertools import chain
from typing import TypeAlias

import numpy as np

from recbole_genrec.backbone.time_bias import NO_TIME
from recbole_genrec.batches.layout import HistoryContext
from recbole_genrec.config.arguments import ContextArguments
from recbole_genrec.errors import GenRecError, shown, unknown_name
from recbole_genrec.files.moments import Clock
from recbole_genrec.files.user_table import LARGEST, ValueColumn
from recbole_genrec.model.user_values import key_of
from recbole_genrec.prompt.template import PromptTemplate
from recbole_genrec.serve.history_reader import GivenEntry, History, UserHistory

#: a moment: a date and time, also as ISO text, or a number in the units of the training data's times.
Moment: TypeAlias = datetime | str | float


class GivenContext:
    """Reads what entries of histories carry beside their items.

    Args:
        settings: which times and columns the model reads.
        clock: of the training data; ``None``: not known.
        user_columns: what the model reads of users, by name, and names of columns that it has in words.
        template: of its prompts, which may hold times and columns, too; ``None``: it has none.
    """

    def __init__(
        self,
        settings: ContextArguments,
        clock: Clock | None,
        user_columns: tuple[Mapping[str, ValueColumn], tuple[str, ...]],
        template: PromptTemplate | None,
    ) -> None:
        self.settings, self.clock = settings, clock
        self.user_columns, in_words = user_columns
        self._known_of_users = [*self.user_columns, *in_words]
        self.reads_times = bool(settings.kinds) or (template is not None and template.tells_gap)
        in_text = () if template is None else template.value_columns
        self.columns = tuple(dict.fromkeys([*settings.columns, *in_text]))

    @property
    def reads_now(self) -> bool:
        """Whether the present moment is what is asked for, where nothing else is said."""
        return "request_time" in self.settings.kinds and self.clock is not None and self.clock.has_calendar

    def asked(self, at: Moment | None) -> int | None:
        """The exact time that recommendations are asked for.

        Args:
            at: the moment; ``None``: now.

        Returns:
            ``None`` where it plays no part, and where only a history tells it: see :meth:`of`.

        Raises:
            GenRecError: ``at`` is no moment, or the model does not read it.
        """
        if "request_time" not in self.settings.kinds:
            if at is not None:
                raise GenRecError(
                    "'at': this model does not know the moment of a request. It was trained without "
                    "'context: [request_time]'."
                )
            return None
        if at is not None:
            return self._exact(at, "'at'")
        if self.clock is None or not self.reads_now:
            return None
        return self.clock.since_first(datetime.now(timezone.utc), "now")

    def of(self, histories: list[History], asked: int | None) -> HistoryContext:
        """The context of histories, end to end.

        Args:
            histories: as given, B lists.
            asked: from :meth:`asked`; ``None``: each is asked for at the time of its newest entry that has one.

        Returns:
            :class:`~recbole_genrec.batches.layout.HistoryContext`; what an entry lacks is ``NO_TIME`` or NaN.

        Raises:
            GenRecError: an entry or a user has a time or values that the model does not read, or that are none.
        """
        if not self.reads_times and not self.columns and not any(map(_carries_more, chain(*histories))):
            return HistoryContext(None, self._of_users(histories))
        entries = [entry for history in histories for entry in history]
        given = [entry if isinstance(entry, GivenEntry) else None for entry in entries]
        times = np.array([self._time_of(entry) for entry in given], np.int64)
        values = [self._values_of(entry) for entry in given]
        columns = {name: np.array([each.get(name, np.nan) for each in values], np.float32) for name in self.columns}
        columns |= self._of_users(histories)
        if not self.reads_times:
            return HistoryContext(None, columns)
        if "request_time" not in self.settings.kinds:
            return HistoryContext(times, columns)
        if asked is not None:
            return HistoryContext(times, columns, np.full(len(histories), asked, np.int64))
        bounds = np.cumsum([0, *map(len, histories)])
        newest = [times[begin:end].max(initial=NO_TIME) for begin, end in zip(bounds, bounds[1:])]
        return HistoryContext(times, columns, np.array(newest, np.int64))

    def _of_users(self, histories: list[History]) -> dict[str, np.ndarray]:
        """Numbers of the user columns for each entry, by key."""
        users = [history.user if isinstance(history, UserHistory) else {} for history in histories]
        for column in dict.fromkeys(name for user in users for name in user):
            if not self._known_of_users:
                raise GenRecError(f"The user has {shown(column)}, but this model reads none ('user_columns').")
            if column not in self._known_of_users:
                raise unknown_name("column of a user:", column, self._known_of_users)
        lengths = [len(history) for history in histories]
        return {
            key_of(name): np.repeat(np.array([column.number(user.get(name)) for user in users], np.float32), lengths)
            for name, column in self.user_columns.items()
        }

    def _exact(self, moment: Moment, what: str) -> int:
        if self.clock is None:
            raise GenRecError(
                f"{what}: this checkpoint was written by a version that kept no origin of times. Train once more."
            )
        return self.clock.since_first(moment, what)

    def _time_of(self, entry: GivenEntry | None) -> int:
        if entry is None or entry.time is None:
            return NO_TIME
        if not self.reads_times:
            raise GenRecError(
                f"The time of the entry {shown(entry.given)}: this model reads no times. It was trained without "
                "'context: [gap, request_time]', and without {gap} in its prompt."
            )
        return self._exact(entry.time, f"The time of the entry {shown(entry.given)}")

    def _values_of(self, entry: GivenEntry | None) -> dict[str, float]:
        values = {} if entry is None else entry.values
        for column, value in values.items():
            if column not in self.columns:
                if self.columns:
                    raise unknown_name("value of an entry:", column, self.columns)
                raise GenRecError(
                    f"The entry {shown(entry.given)} has values, but this model reads none ('context', 'prompt')."
                )
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= LARGEST:
                raise GenRecError(
                    f"The value {column!r} of the entry {shown(entry.given)} must be a number, not {shown(value)}."
                )
        return values


def _carries_more(entry: object) -> bool:
    """Whether an entry of a history has a time or values."""
    return isinstance(entry, GivenEntry) and (entry.time is not None or bool(entry.values))
