"""``GenRecommender``: recommends with a trained checkpoint, explains its lists, and takes new items.

Letters: B histories, K list length, L entries of a history, I items.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import exp
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from recbole_genrec.batches.layout import HistoryContext
from recbole_genrec.catalogue.new_items import NewItem, enlarge, read_new_items
from recbole_genrec.checkpoint.checkpoint import save_enlarged
from recbole_genrec.decoding.scoring import score_pairs
from recbole_genrec.decoding.search import SearchEffort
from recbole_genrec.decoding.unseen_places import search_with_unseen
from recbole_genrec.errors import GenRecError
from recbole_genrec.serve.checkpoint_ranker import CheckpointRanker
from recbole_genrec.serve.conditions import Conditions, choose_items
from recbole_genrec.serve.given_context import GivenContext, Moment
from recbole_genrec.serve.history_reader import Entry, History, HistoryReader, UserHistory


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
class Answer:
    """A history as it was read, and the list."""

    #: the oldest entry first.
    history: tuple[Entry, ...]
    #: the best first; fewer than K where fewer items may be recommended.
    recommendations: tuple[Recommendation, ...]
    #: nodes of the trie that the search expanded.
    expanded_nodes: int
    #: true where the node budget was hit: the list then comes from a beam search.
    over_budget: bool


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


@dataclass
class _Histories:
    """Histories as item numbers: ``items`` flat, bounds ``[B]``, entries of each, the packer with their texts."""

    items: np.ndarray
    first: np.ndarray
    stop: np.ndarray
    entries: list[list[Entry]]
    packer: Any
    #: vectors of these texts ``[F, D]``, or ``None``.
    vectors: Any
    #: of ``items``, and when each history is asked for.
    context: HistoryContext


class GenRecommender:
    """Recommends with a checkpoint of GenRec; neither RecBole nor the dataset is needed.

    The search is exact, whichever ``decoding`` the model was evaluated with, up to ``node_budget``. As in
    evaluation, the newest ``MAX_ITEM_LIST_LENGTH`` entries of a history count, as far as they fit the prompt.

    Args:
        folder: a checkpoint folder.
        device: where to compute; by default a CUDA device where there is one.
        trust_remote_code: run Python code that comes with the checkpoint's backbone, where it was trained so.

    Attributes:
        settings: the configuration that the checkpoint was trained with.

    Raises:
        GenRecError: the checkpoint is missing, damaged, of another model, or comes with code that is not trusted.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        device: str | torch.device | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.folder = folder
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.ranker = CheckpointRanker(folder, trust_remote_code).to(device)
        self.settings: Mapping[str, Any] = self.ranker.settings
        self.longest, self.batch_size = self.settings["MAX_ITEM_LIST_LENGTH"], self.settings["eval_batch_size"]
        self._prepare()

    @classmethod
    def from_checkpoint(
        cls,
        folder: str | PathLike[str],
        device: str | torch.device | None = None,
        trust_remote_code: bool = False,
    ) -> "GenRecommender":
        """The recommender of a checkpoint folder; see the class."""
        return cls(folder, device, trust_remote_code)

    def _prepare(self) -> None:
        ranker = self.ranker
        self.reader = HistoryReader(ranker.catalogue.item_tokens, ranker.titles(), ranker.reads_text)
        known = ranker.user_columns, ranker.user_index.columns
        self.context = GivenContext(ranker.arguments["context"], ranker.clock, known, ranker.template)

    def recommend(
        self,
        histories: Iterable[History],
        topk: int = 10,
        where: Conditions | None = None,
        exclude_seen: bool = False,
        at: Moment | None = None,
    ) -> list[list[Recommendation]]:
        """The most probable next items of some histories.

        Args:
            histories: B lists of entries, the oldest first: titles, texts, or
                :class:`~recbole_genrec.serve.history_reader.ItemId` and
                :class:`~recbole_genrec.serve.history_reader.Title`, which can carry times and values. A
                :class:`~recbole_genrec.serve.history_reader.UserHistory` also says what is known of its user.
            topk: K.
            where: which items may be recommended, see :func:`~recbole_genrec.serve.conditions.choose_items`; ``None``:
                all. The lists are the K best of these, each with the probability that it has among all.
            exclude_seen: leave the items of each history out of its list.
            at: the moment that is asked for, of a model with ``context: [request_time]``: a date and time, also as ISO
                text, of the local time zone unless it says another, or a number in the units of the training data's
                times. By default now; where these times are no clock, that of each history's newest entry.

        Returns:
            B lists of :class:`Recommendation`.

        Raises:
            GenRecError: an entry has no meaning for this model, or ``where`` or ``at`` is not accepted.
        """
        return [list(answer.recommendations) for answer in self.answer(histories, topk, where, exclude_seen, at)]

    def answer(
        self,
        histories: Iterable[History],
        topk: int = 10,
        where: Conditions | None = None,
        exclude_seen: bool = False,
        at: Moment | None = None,
    ) -> list[Answer]:
        """As :meth:`recommend`; returns B :class:`Answer`, which also say how the histories were read."""
        self._check_topk(topk)
        chosen = self._chosen(where)
        histories, size, asked = list(histories), self.batch_size, self.context.asked(at)
        read = [self._read(histories[start : start + size], asked) for start in range(0, len(histories), size)]
        return [answer for batch in read for answer in self._rank(batch, topk, chosen, exclude_seen)]

    @staticmethod
    def _check_topk(topk: Any) -> None:
        if isinstance(topk, bool) or not isinstance(topk, int) or topk < 1:
            raise GenRecError(f"'topk' must be a whole number of at least 1, not {topk!r}.")

    def _chosen(self, where: Conditions | None) -> np.ndarray | None:
        """Which items may be recommended ``[I]``; ``None``: all."""
        if where is None:
            return None
        return choose_items(self.ranker.catalogue, where, self.settings["ITEM_ID_FIELD"])

    def _read(self, histories: list[History], asked: int | None = None) -> _Histories:
        """Match the entries of histories, and concatenate them; ``asked`` is from :class:`GivenContext`."""
        texts: dict[str, int] = {}
        entries, numbers = [], []
        for history in histories:
            if isinstance(history, str):
                raise GenRecError(f"A history is a list of entries, not a text: {history!r}.")
            matched = [self.reader.read(given) for given in history]
            entries.append([entry for entry, _ in matched])
            for entry, _ in matched:
                if entry.kind == "text":
                    texts.setdefault(entry.title, len(self.reader.titles) + 1 + len(texts))
            numbers.append([texts[entry.title] if item is None else item for entry, item in matched])
        packer, vectors = self.ranker.packer_with(list(texts)), self.ranker.vectors_of_texts(list(texts))
        context = self.context.of(histories, asked)
        who = [(each.user_id, each.user) if isinstance(each, UserHistory) else (None, {}) for each in histories]
        user, packer = self.ranker.users_of(who, packer)
        context = replace(context, user=user)
        stop = np.cumsum([len(history) for history in numbers], dtype=np.int64)
        begin = np.append(0, stop[:-1])
        items = np.array([item for history in numbers for item in history], np.int64)
        context = packer.describe(items, context)
        first = packer.history_start(items, np.maximum(begin, stop - self.longest), stop, context)
        for place, (start, unread) in enumerate(zip(begin, first)):
            left_out = int(unread - start)
            entries[place][:left_out] = [replace(entry, read=False) for entry in entries[place][:left_out]]
        return _Histories(items, first, stop, entries, packer, vectors, context)

    def _rank(self, batch: _Histories, topk: int, chosen: np.ndarray | None, exclude_seen: bool) -> list[Answer]:
        ranker = self.ranker
        tree = ranker.tree(batch.packer, batch.items, batch.first, batch.stop, batch.vectors, batch.context)
        found = search_with_unseen(
            tree,
            min(topk, ranker.trie.n_items),
            ranker.engine.normalization,
            SearchEffort(node_budget=ranker.engine.node_budget),
            allowed=None if chosen is None else torch.from_numpy(np.append(False, chosen)),
            left_out=self._seen(batch.entries) if exclude_seen else None,
        )
        rows = zip(batch.entries, found.items.tolist(), found.scores.tolist(), found.expanded.tolist())
        return [
            Answer(tuple(entries), self._list(items, scores), expanded, over_budget)
            for (entries, items, scores, expanded), over_budget in zip(rows, found.over_budget.tolist())
        ]

    def _seen(self, entries: list[list[Entry]]) -> torch.Tensor:
        """Numbers of the items that each history holds, padded with 0 ``[B, S]``."""
        rows = [[self.reader.number[entry.item_id] for entry in history if entry.item_id] for history in entries]
        return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True)

    def _list(self, items: list[int], scores: list[float]) -> tuple[Recommendation, ...]:
        tokens, titles = self.reader.item_tokens, self.reader.titles
        listed = [(item - 1, score) for item, score in zip(items, scores) if item]
        return tuple(
            Recommendation(rank, tokens[place], titles[place], exp(score))
            for rank, (place, score) in enumerate(listed, 1)
        )

    def explain(
        self,
        history: History,
        topk: int = 10,
        where: Conditions | None = None,
        exclude_seen: bool = False,
        at: Moment | None = None,
    ) -> Explanation:
        """The effect of each entry of a history on the items recommended for it.

        Every entry is left out once. These histories and the whole one form a batch, in which the K items are scored
        exactly.

        Args:
            history: a list of entries, as :meth:`recommend` takes several of.
            topk, where, exclude_seen, at: as for :meth:`recommend`.

        Returns:
            :class:`Explanation`.

        Raises:
            GenRecError: see :meth:`recommend`.
        """
        self._check_topk(topk)
        batch = self._read([history], self.context.asked(at))
        (answer,) = self._rank(batch, topk, self._chosen(where), exclude_seen)
        places = np.arange(batch.first[0], batch.stop[0])
        count = len(places)
        left_out = [np.delete(places, place) for place in range(count)]
        stop = np.cumsum([count, *map(len, left_out)])
        several, first = np.concatenate([places, *left_out]), np.append(0, stop[:-1]).astype(np.int64)
        # an entry that is left out does not change who asks, and when
        asked = {name: getattr(batch.context, name) for name in ("asked", "user")}
        asked = {name: column.repeat(count + 1) for name, column in asked.items() if column is not None}
        context = replace(batch.context.kept(several), **asked)
        tree = self.ranker.tree(batch.packer, batch.items[several], first, stop, batch.vectors, context)
        items = torch.tensor([self.reader.number[r.item_id] for r in answer.recommendations], dtype=torch.long)
        prompt = torch.arange(count + 1).repeat_interleave(len(items)).to(self.ranker.compute_device)
        pairs = items.repeat(count + 1).to(prompt.device)
        scores = score_pairs(tree, prompt, pairs, self.ranker.engine.normalization).view(count + 1, len(items))
        changes = (scores[:1].exp() - scores[1:].exp()).tolist()
        read = tuple(entry for entry in answer.history if entry.read)
        return Explanation(answer, read, tuple(map(tuple, changes)), _reasons(scores))

    def add_items(self, items: list[NewItem] | tuple[NewItem, ...] | str | PathLike[str]) -> None:
        """Add new items to the catalogue, without training.

        They get identifiers from the indexing scheme, the vector of their text where the model has such, and no learned
        one; present items keep their identifiers. With
        ``normalization: trie``, probabilities are then over old and new items together.

        Args:
            items: list of :class:`~recbole_genrec.catalogue.new_items.NewItem`, or the path of an atomic ``.item``
                file with the columns of the training's.

        Raises:
            GenRecError: see :func:`~recbole_genrec.catalogue.new_items.enlarge`; nothing has been changed then.
        """
        if not isinstance(items, (list, tuple)):
            items = read_new_items(items, self.settings, self.ranker.catalogue.columns)
        self.ranker.take_catalogue(enlarge(self.ranker, items))
        self._prepare()

    def save(self, folder: str | PathLike[str]) -> None:
        """Write a checkpoint with the present catalogue, for recommending only: it cannot be trained on.

        Args:
            folder: the folder to write; an existing one is replaced.
        """
        save_enlarged(self.folder, folder, self.ranker)


def _reasons(scores: torch.Tensor) -> tuple[int | None, ...]:
    """For each item the index of the entry whose removal lowers its score most.

    Args:
        scores: of the whole history, then without each of its entries ``[L + 1, K]``.
    """
    if len(scores) == 1:
        return (None,) * scores.shape[1]
    drop, entry = (scores[:1] - scores[1:]).max(0)
    return tuple(best if lowered > 0 else None for lowered, best in zip(drop.tolist(), entry.tolist()))
