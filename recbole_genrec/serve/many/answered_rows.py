"""Answers to rows: what a recommender gives for a block of them, as plain values that JSON can hold."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from recbole_genrec.errors import GenRecError
from recbole_genrec.serve.conditions import Conditions, parse_where
from recbole_genrec.serve.history_reader import ItemId, Title, UserHistory
from recbole_genrec.serve.many.asked_rows import AskedRow
from recbole_genrec.serve.many.manner import STOP, Manner
from recbole_genrec.serve.protocol import Answer, Recommender, Request


@dataclass
class _Asked:
    """A row with its request; or with its error."""

    row: AskedRow
    content: Any = field(default_factory=dict)
    request: Request | None = None
    error: str | None = None


class RowAnswers:
    """Answers blocks of rows.

    Args:
        recommender: :class:`~recbole_genrec.serve.protocol.Recommender`.
        manner: :class:`Manner`.
    """

    def __init__(self, recommender: Recommender, manner: Manner | None = None) -> None:
        self.recommender, self.manner = recommender, manner or Manner()
        self._conditions: dict[tuple[str, ...], Conditions | None] = {}

    def __call__(self, rows: Sequence[AskedRow]) -> list[dict[str, Any]]:
        """Answers to some rows, in their order.

        Returns:
            For each row ``row``, its number from 1; ``id`` and ``user`` as given; ``recommendations``; and
            ``unknown_items``, where the catalogue lacks some of the user's. Or ``error`` in place of the last two.

        Raises:
            GenRecError: a row is not accepted and ``on_error`` is ``stop``; the message names its place.
        """
        asked = [self._read(row) for row in rows]
        good = [one for one in asked if one.request is not None]
        try:
            answers = self.recommender.answer_each([one.request for one in good if one.request])
        except GenRecError as error:
            if not any([self._fails(one) for one in good]):
                raise  # no row is to blame
            if self.manner.on_error == STOP:
                raise self._named(next(one for one in asked if one.error)) from error
            good = [one for one in good if one.error is None]
            answers = self.recommender.answer_each([one.request for one in good if one.request])
        found = {id(one): answer for one, answer in zip(good, answers)}
        return [_as_json(one, found.get(id(one))) for one in asked]

    def _fails(self, asked: _Asked) -> bool:
        """Whether a row cannot be answered; its error is noted."""
        try:
            self.recommender.check(asked.request)  # type: ignore[arg-type]
        except GenRecError as error:
            asked.error, asked.request = str(error), None
        return asked.error is not None

    def _read(self, row: AskedRow) -> _Asked:
        asked = _Asked(row)
        self._note(asked, self._read_content)
        if asked.content.get("user") is not None:
            self.recommender.users()  # no row is to blame for a dataset that cannot be read
        if asked.error is None:
            self._note(asked, self._read_request)
        return asked

    def _note(self, asked: _Asked, read: Callable[[_Asked], None]) -> None:
        """Read something of a row; an error is noted, or stops the run."""
        try:
            read(asked)
        except GenRecError as error:
            asked.error = str(error)
            if self.manner.on_error == STOP:
                raise self._named(asked) from error

    def _read_content(self, asked: _Asked) -> None:
        asked.content = asked.row.content()

    def _read_request(self, asked: _Asked) -> None:
        asked.request = self._request(asked.content)

    @staticmethod
    def _named(asked: _Asked) -> GenRecError:
        end = "" if str(asked.error).endswith(".") else "."
        return GenRecError(f"{asked.row.place}: {asked.error}{end}")

    def _request(self, content: Any) -> Request:
        manner, user = self.manner, content.get("user")
        entries, history = [_entry(entry) for entry in content.get("history", ())], UserHistory([])
        if user is not None:
            history = self.recommender.history_of(str(user))
        where = content.get("where")
        texts = manner.where if where is None else (where,) if isinstance(where, str) else tuple(where)
        at = content.get("at")
        return Request(
            UserHistory([*history, *entries], history.user, history.user_id, history.unknown),
            manner.topk if content.get("k") is None else content["k"],
            self._where(texts),
            manner.exclude_seen,
            manner.at if at is None else at,
            [*manner.exclude, *map(str, content.get("exclude", ()))],
        )

    def _where(self, texts: tuple[str, ...]) -> Conditions | None:
        """The conditions of some texts, the same object for the same texts."""
        if texts not in self._conditions:
            if len(self._conditions) > 1000:  # a row each, for ever
                self._conditions.clear()
            self._conditions[texts] = parse_where(texts) or None
        return self._conditions[texts]


def _entry(given: Any) -> str | ItemId | Title:
    if isinstance(given, str):
        return given
    more = {"time": given.get("time"), "values": given.get("values", {})}
    return ItemId(str(given["item"]), **more) if "item" in given else Title(given["title"], **more)


def _as_json(asked: _Asked, answer: Answer | None) -> dict[str, Any]:
    content = asked.content
    head = {"row": asked.row.number + 1, "id": content.get("id"), "user": content.get("user")}
    if answer is None:
        return {**head, "error": asked.error}
    answered = {**head, "recommendations": [asdict(each) for each in answer.recommendations]}
    history = asked.request.history if asked.request else []
    unknown = list(history.unknown) if isinstance(history, UserHistory) else []
    return answered | ({"unknown_items": unknown} if unknown else {})


def rows_of(contents: Sequence[str]) -> list[AskedRow]:
    """JSON texts as rows, for a program that has them elsewhere than in a file."""
    return [AskedRow(number, f"row {number + 1}", text, False) for number, text in enumerate(contents)]
