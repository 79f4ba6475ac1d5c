"""``GenRecommender``: recommends with a trained checkpoint, explains its lists, and takes new items.

Letters: B histories, K list length, L entries of a history.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp
from os import PathLike
from typing import Any

import numpy as np
import torch

from recbole_genrec.batches.layout import HistoryContext
from recbole_genrec.catalogue.new_items import NewItem, enlarge, read_new_items
from recbole_genrec.checkpoint.checkpoint import save_enlarged
from recbole_genrec.decoding.scoring import score_pairs
from recbole_genrec.decoding.search import SearchEffort
from recbole_genrec.decoding.unseen_places import search_with_unseen
from recbole_genrec.errors import GenRecError
from recbole_genrec.serve.checkpoint_ranker import CheckpointRanker
from recbole_genrec.serve.conditions import Conditions
from recbole_genrec.serve.given_context import GivenContext, Moment
from recbole_genrec.serve.history_reader import Entry, History, HistoryReader, UserHistory
from recbole_genrec.serve.protocol import (
    EXPLANATIONS,
    FREE_TEXT,
    HISTORIES,
    NEW_ITEMS,
    PROBABILITIES,
    REQUEST_TIME,
    USERS,
    WHERE,
    Answer,
    Choice,
    Explanation,
    Recommendation,
    Recommender,
    Request,
)
from recbole_genrec.serve.user_history import UserHistories, columns_of

__all__ = ["Answer", "Explanation", "GenRecommender", "Recommendation"]


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


class GenRecommender(Recommender):
    """Recommends with a checkpoint of GenRec; neither RecBole nor the dataset is needed.

    The search is exact, whichever ``decoding`` the model was evaluated with, up to ``node_budget``. As in
    evaluation, the newest ``MAX_ITEM_LIST_LENGTH`` entries of a history count, as far as they fit the prompt.

    Args:
        folder: a checkpoint folder.
        device: where to compute; by default a CUDA device where there is one.
        trust_remote_code: run Python code that comes with the checkpoint's backbone, where it was trained so.

    Attributes:
        ranker: the model.

    Raises:
        GenRecError: the checkpoint is missing, damaged, of another model, or comes with code that is not trusted.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        device: str | torch.device | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.folder, self.name = folder, "GenRec"
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
        self.catalogue = ranker.catalogue
        self.reader = HistoryReader(ranker.catalogue.item_tokens, ranker.titles(), ranker.reads_text)
        known = ranker.user_columns, ranker.user_index.columns
        self.context = GivenContext(ranker.arguments["context"], ranker.clock, known, ranker.template)
        abilities = {HISTORIES, USERS, EXPLANATIONS, PROBABILITIES, NEW_ITEMS, WHERE}
        abilities |= {FREE_TEXT} if ranker.reads_text else set()
        abilities |= {REQUEST_TIME} if "request_time" in ranker.arguments["context"].kinds else set()
        self.abilities = frozenset(abilities)

    def _asked(self, at: Moment | None) -> int | None:
        return self.context.asked(at)

    def _open_users(self, data_path: str | PathLike[str] | None) -> UserHistories:
        columns, in_words = columns_of(self.settings, self.ranker.template), self.ranker.user_index.columns
        return UserHistories(self.settings, data_path, columns, in_words=in_words)

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
            entries[place][:left_out] = list(map(self.reader.unread, entries[place][:left_out]))
        return _Histories(items, first, stop, entries, packer, vectors, context)

    def _rank(self, batch: _Histories, choice: Choice) -> list[Answer]:
        ranker, allowed = self.ranker, choice.allowed
        tree = ranker.tree(batch.packer, batch.items, batch.first, batch.stop, batch.vectors, batch.context)
        found = search_with_unseen(
            tree,
            min(choice.topk, ranker.trie.n_items),
            ranker.engine.normalization,
            SearchEffort(node_budget=ranker.engine.node_budget),
            allowed=None if allowed is None else torch.from_numpy(np.append(False, allowed)),
            left_out=choice.left_out,
        )
        rows = zip(batch.entries, found.items.tolist(), found.scores.tolist(), found.expanded.tolist())
        return [
            Answer(tuple(entries), self._list(items, scores), expanded, over_budget)
            for (entries, items, scores, expanded), over_budget in zip(rows, found.over_budget.tolist())
        ]

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
        exclude: Iterable[str] = (),
    ) -> Explanation:
        """The effect of each entry of a history on the items recommended for it.

        Every entry is left out once. These histories and the whole one form a batch, in which the K items are scored
        exactly.

        Args:
            history: a list of entries, as :meth:`recommend` takes several of.
            topk, where, exclude_seen, at, exclude: as for :meth:`recommend`.

        Returns:
            :class:`Explanation`.

        Raises:
            GenRecError: see :meth:`recommend`.
        """
        request = Request(history, topk, where, exclude_seen, at, [exclude] if isinstance(exclude, str) else [*exclude])
        batch = self._read([history], self._asked(at))
        (answer,) = self._rank(batch, self._choice([request], batch, self._allowed(where)))
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

    def add_items(self, items: Sequence[NewItem] | str | PathLike[str]) -> None:
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
        if isinstance(items, (str, PathLike)):
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
