"""The protocol of recommenders: what each can be asked, whatever model stands behind it, and what an answer holds.

A backing is a subclass that reads histories and ranks them: :class:`~.recommender.GenRecommender` searches the trie of
a checkpoint of GenRec, :class:`~.score_recommender.ScoreRecommender` takes the scores of the whole catalogue that any
other model gives. :meth:`Recommender.load` chooses by what a path holds.

Letters: B histories, K list length, I items, S items left out of a list.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from recbole_genrec.catalogue.catalogue import Catalogue
from recbole_genrec.catalogue.new_items import NewItem
from recbole_genrec.config.registry import resolve
from recbole_genrec.errors import GenRecError, listed
from recbole_genrec.serve.conditions import Conditions, choose_items
from recbole_genrec.serve.given_context import GivenContext, Moment
from recbole_genrec.serve.history_reader import Entry, History, HistoryReader, UserHistory
from recbole_genrec.serve.user_history import UserHistories

#: what some recommenders can and others cannot.
HISTORIES, USERS = "recommend for any history of items", "recommend for users of its dataset"
FREE_TEXT, EXPLANATIONS = "read free text in a history", "explain its lists"
PROBABILITIES, NEW_ITEMS = "give probabilities", "take new items"
WHERE, REQUEST_TIME = "restrict its lists by conditions", "consider the moment of a request"


@dataclass(frozen=True)
class Recommendation:
    """One item of a list."""

    #: 1 is the best.
    rank: int
    #: raw id, as in the atomic files.
    item_id: str
    title: str
    #: probability over the whole catalogue, whichever items may be recommended. With ``normalization: vocab`` texts
    #: that are no items have probability, too.
    probability: float


@dataclass(frozen=True)
class ScoredItem:
    """One item of a list of a model that gives scores and no probabilities."""

    #: 1 is the best.
    rank: int
    #: raw id, as in the atomic files.
    item_id: str
    title: str
    #: the model's own; comparable within a list alone.
    score: float

    @property
    def probability(self) -> float:
        """There is none.

        Raises:
            GenRecError: always.
        """
        raise GenRecError("The model of this recommendation gives scores, no probabilities: read 'score'.")


@dataclass(frozen=True)
class Answer:
    """A history as it was read, and the list."""

    #: the oldest entry first.
    history: tuple[Entry, ...]
    #: the best first; fewer than K where fewer items may be recommended.
    recommendations: tuple[Recommendation | ScoredItem, ...]
    #: nodes of the trie that the search expanded; ``None`` where the model's scores of all items were sorted.
    expanded_nodes: int | None = None
    #: true where the node budget was hit: the list then comes from a beam search.
    over_budget: bool = False


@dataclass(frozen=True)
class Explanation:
    """How much each entry of a history changes the probability of each recommended item."""

    answer: Answer
    #: the L entries that the model reads.
    history: tuple[Entry, ...]
    #: by entry and recommendation: the item's probability with the entry minus that without ``[L][K]``.
    changes: tuple[tuple[float, ...], ...]
    #: for each recommendation the index in ``history`` whose removal lowers its log-probability most; ``None`` where
    #: none lowers it.
    reasons: tuple[int | None, ...]


@dataclass(frozen=True)
class Request:
    """A history with what is asked for it; see :meth:`Recommender.recommend`."""

    history: History
    topk: int = 10
    where: Conditions | None = None
    exclude_seen: bool = False
    at: Moment | None = None
    #: raw ids of items to leave out of the list.
    exclude: Sequence[str] = field(default=())


class Choice(NamedTuple):
    """What the lists of a batch may hold: their length, booleans by item ``[I]``, and item numbers ``[B, S]``.

    ``None`` for the booleans: all items; for the numbers, which are padded with 0: none is left out.
    """

    topk: int
    allowed: np.ndarray | None
    left_out: torch.Tensor | None


class Recommender(ABC):
    """Recommends with a trained model. :meth:`load` opens one.

    Attributes:
        name: of the model.
        settings: the configuration that it was trained with.
        catalogue: its items.
        reader: matches the entries of histories with items.
        batch_size: histories that are ranked at once.
        longest: newest entries of a history that the model reads at most.
        context: what the model reads of entries beside items.
        abilities: some of the constants of this module, such as :data:`FREE_TEXT`.
    """

    name: str
    settings: Mapping[str, Any]
    catalogue: Catalogue
    reader: HistoryReader
    batch_size: int
    longest: int
    context: GivenContext
    abilities: frozenset[str]
    #: the folder that holds the dataset's folder; ``None``: where it was in training.
    data_path: str | PathLike[str] | None = None

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        device: str | torch.device | None = None,
        trust_remote_code: bool = False,
        data_path: str | PathLike[str] | None = None,
    ) -> "Recommender":
        """Open a trained model.

        Args:
            path: a checkpoint folder; the JSON of a run, which names its checkpoint; or a ``.pth`` file of RecBole's.
            device: where to compute; by default a CUDA device where there is one.
            trust_remote_code: run code that comes with the checkpoint: Python files of its backbone, or a pickle,
                which every ``.pth`` file is.
            data_path: the folder that holds the dataset's folder, which all models but GenRec need; by default where it
                was in training.

        Raises:
            GenRecError: the checkpoint or the dataset is missing or damaged, or code is not trusted.
        """
        opened = resolve("recbole_genrec.serve.opening:open_recommender")(path, device, trust_remote_code, data_path)
        if not isinstance(opened, cls):
            raise GenRecError(f"{path} is of {opened.name}, and {cls.__name__} is for GenRec: open it by Recommender.")
        return opened

    # ---- what can be asked ----

    def recommend(
        self,
        histories: Iterable[History],
        topk: int = 10,
        where: Conditions | None = None,
        exclude_seen: bool = False,
        at: Moment | None = None,
        exclude: Iterable[str] = (),
    ) -> list[list[Recommendation | ScoredItem]]:
        """The best next items of some histories.

        Args:
            histories: B lists of entries, the oldest first: titles, texts, or
                :class:`~recbole_genrec.serve.history_reader.ItemId` and
                :class:`~recbole_genrec.serve.history_reader.Title`, which can carry times and values. A
                :class:`~recbole_genrec.serve.history_reader.UserHistory`, as :meth:`history_of` gives it, also says
                what is known of its user.
            topk: K.
            where: which items may be recommended, see :func:`~recbole_genrec.serve.conditions.choose_items`; ``None``:
                all. The lists are the K best of these; a probability is that among all items.
            exclude_seen: leave the items of each history out of its list.
            at: the moment that is asked for, of a model that was trained with the time of the request: a date and
                time, also as ISO text, of the local time zone unless it says another, or a number in the units of the
                training data's times. By default now; where these times are no clock, that of each history's newest
                entry.
            exclude: raw ids of items to leave out of all lists.

        Returns:
            B lists of :class:`Recommendation`, or of :class:`ScoredItem` where the model gives no probabilities.

        Raises:
            GenRecError: an entry has no meaning for this model, an argument is not accepted, or the model cannot do
                what is asked; the message says what it can.
        """
        return [
            list(answer.recommendations) for answer in self.answer(histories, topk, where, exclude_seen, at, exclude)
        ]

    def answer(
        self,
        histories: Iterable[History],
        topk: int = 10,
        where: Conditions | None = None,
        exclude_seen: bool = False,
        at: Moment | None = None,
        exclude: Iterable[str] = (),
    ) -> list[Answer]:
        """As :meth:`recommend`; returns B :class:`Answer`, which also say how the histories were read."""
        exclude = [exclude] if isinstance(exclude, str) else list(exclude)
        requests = [Request(each, topk, where, exclude_seen, at, exclude) for each in histories]
        return self._answer(requests, Request([], topk, where, exclude_seen, at, exclude))

    def answer_each(self, requests: Iterable[Request]) -> list[Answer]:
        """Answers to requests that ask for different things, in their order.

        Those that differ in history and ``exclude`` alone are ranked together; of equal conditions, only those that
        are the same object count as equal.
        """
        requests, groups = list(requests), {}  # type: ignore[var-annotated]
        for place, request in enumerate(requests):
            key = (request.topk, id(request.where), request.exclude_seen, str(request.at))
            groups.setdefault(key, []).append(place)
        answers: list[Answer | None] = [None] * len(requests)
        for places in groups.values():
            for place, answer in zip(places, self._answer([requests[place] for place in places], requests[places[0]])):
                answers[place] = answer
        return [answer for answer in answers if answer is not None]

    def check(self, request: Request) -> None:
        """Refuse a request that cannot be answered, without ranking.

        Raises:
            GenRecError: see :meth:`recommend`.
        """
        self._check(request)
        allowed = self._allowed(request.where)
        self._choice([request], self._read([request.history], self._asked(request.at)), allowed)

    def history_of(self, user: str, data_path: str | PathLike[str] | None = None) -> UserHistory:
        """The interactions of a user of the dataset, as the filters of the training leave them, oldest first.

        Args:
            user: raw user id.
            data_path: the folder that holds the dataset's folder; by default as this recommender was opened.

        Returns:
            :class:`~recbole_genrec.serve.history_reader.UserHistory`; items that the catalogue does not have are left
            out, and in its ``unknown``.

        Raises:
            GenRecError: the dataset or the user is not there.
        """
        found = self._users(data_path).of(user)
        known = [entry for entry in found if entry.item_id in self.reader.number]
        unknown = [entry.item_id for entry in found if entry.item_id not in self.reader.number]
        return UserHistory(known, found.user, str(user), unknown)

    def users(self, data_path: str | PathLike[str] | None = None) -> list[str]:
        """Raw ids of the dataset's users with interactions, in the order of the file; errors as :meth:`history_of`."""
        return self._users(data_path).tokens

    def explain(
        self,
        history: History,
        topk: int = 10,
        where: Conditions | None = None,
        exclude_seen: bool = False,
        at: Moment | None = None,
        exclude: Iterable[str] = (),
    ) -> Explanation:
        """The effect of each entry of a history on the items recommended for it; arguments as of :meth:`recommend`.

        Raises:
            GenRecError: the model cannot, or see :meth:`recommend`.
        """
        raise self.unable(EXPLANATIONS)

    def add_items(self, items: Sequence[NewItem] | str | PathLike[str]) -> None:
        """Add new items to the catalogue, without training.

        Raises:
            GenRecError: the model cannot.
        """
        raise self.unable(NEW_ITEMS)

    def save(self, folder: str | PathLike[str]) -> None:
        """Write a checkpoint with the present catalogue.

        Raises:
            GenRecError: the model cannot.
        """
        raise self.unable(NEW_ITEMS)

    def unable(self, ability: str) -> GenRecError:
        """The error of a recommender that lacks an ability; it says which ones it has."""
        return GenRecError(f"{self.name} cannot {ability}. It can: {listed(sorted(self.abilities))}.")

    # ---- what a backing does ----

    @abstractmethod
    def _read(self, histories: list[History], asked: int | None = None) -> Any:
        """Match the entries of histories; the result has them as ``entries``. ``asked`` is from :meth:`_asked`."""

    @abstractmethod
    def _rank(self, batch: Any, choice: Choice) -> list[Answer]:
        """The lists of a batch that :meth:`_read` gave."""

    @abstractmethod
    def _asked(self, at: Moment | None) -> int | None:
        """The exact time of a request; ``None`` where it plays no part or the histories tell it."""

    @abstractmethod
    def _open_users(self, data_path: str | PathLike[str] | None) -> UserHistories:
        """The interactions of the dataset's users, with what the model reads of them."""

    # ---- shared ----

    def _answer(self, requests: list[Request], like: Request) -> list[Answer]:
        """Answers to requests that differ from ``like`` in history and ``exclude`` alone.

        All are read before the first is ranked.
        """
        self._check(like)
        asked, allowed = self._asked(like.at), self._allowed(like.where)
        size, batches = self.batch_size, []
        for start in range(0, len(requests), size):
            some = requests[start : start + size]
            read = self._read([request.history for request in some], asked)
            batches.append((read, self._choice(some, read, allowed)))
        return [answer for batch, choice in batches for answer in self._rank(batch, choice)]

    def _check(self, request: Request) -> None:
        """Refuse a length and items to leave out that are none."""
        topk = request.topk
        if isinstance(topk, bool) or not isinstance(topk, int) or topk < 1:
            raise GenRecError(f"'topk' must be a whole number of at least 1, not {topk!r}.")
        for item in request.exclude:
            self.reader.number_of(item)

    def _choice(self, requests: list[Request], batch: Any, allowed: np.ndarray | None) -> Choice:
        """What the lists of requests may hold, all with the same ``topk`` and ``exclude_seen``."""
        number = self.reader.number
        left_out = [[self.reader.number_of(item) for item in request.exclude] for request in requests]
        if requests[0].exclude_seen:
            for numbers, entries in zip(left_out, batch.entries):
                numbers += [number[entry.item_id] for entry in entries if entry.item_id]
        rows = [torch.tensor(numbers, dtype=torch.long) for numbers in left_out]
        padded = pad_sequence(rows, batch_first=True) if any(left_out) else None
        return Choice(requests[0].topk, allowed, padded)

    def _allowed(self, where: Conditions | None) -> np.ndarray | None:
        """Booleans by item that meet conditions ``[I]``; ``None``: all items do."""
        if where is None:
            return None
        if WHERE not in self.abilities:
            raise self.unable(WHERE)
        return choose_items(self.catalogue, where, self.settings["ITEM_ID_FIELD"])

    @cached_property
    def _opened_users(self) -> dict[str | None, UserHistories]:
        return {}

    def _users(self, data_path: str | PathLike[str] | None) -> UserHistories:
        path = self.data_path if data_path is None else data_path
        key = None if path is None else str(path)
        if key not in self._opened_users:
            self._opened_users[key] = self._open_users(path)
        return self._opened_users[key]
