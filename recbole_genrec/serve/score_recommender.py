"""``ScoreRecommender``: recommends by the scores ``[B, n_items]`` of any model that is opened with its dataset.

The scores are those of the model's ``full_sort_predict``, as in an evaluation; of a model of RecBole's that has none,
those of ``predict`` for every item. So a list is that of the run's own test, where history and user are the same.

Letters: B histories, L history length, K list length, I items.
"""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender

from recbole_genrec.backbone.time_bias import NO_TIME
from recbole_genrec.batches.layout import HistoryContext
from recbole_genrec.catalogue.catalogue import Catalogue
from recbole_genrec.catalogue.item_text import item_columns, item_text
from recbole_genrec.config.arguments import ContextArguments
from recbole_genrec.config.registry import MODELS, is_general
from recbole_genrec.errors import GenRecError, listed
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.item_table import read_items
from recbole_genrec.interactions.context_columns import EXACT_TIME
from recbole_genrec.interactions.unseen import SEEN
from recbole_genrec.serve.given_context import GivenContext
from recbole_genrec.serve.history_reader import Entry, HistoryReader, UserHistory
from recbole_genrec.serve.protocol import (
    HISTORIES,
    PROBABILITIES,
    REQUEST_TIME,
    USERS,
    WHERE,
    Answer,
    Recommendation,
    Recommender,
    ScoredItem,
)
from recbole_genrec.serve.user_history import UserHistories


@dataclass
class _Histories:
    """Histories as item numbers, of each the newest L; RecBole's numbers of the users, 0: nobody ``[B]``."""

    numbers: list[np.ndarray]
    entries: list[list[Entry]]
    users: list[int]
    #: of all entries of all histories, end to end, and the length of each ``[B]``.
    context: HistoryContext
    lengths: list[int]


class _Watched(Interaction):
    """A batch that notes which of its columns are read."""

    def __init__(self, interaction):
        self.read = set()
        super().__init__(interaction.interaction)

    def __getitem__(self, index):
        if isinstance(index, str):
            self.read.add(index)
        return super().__getitem__(index)


class ScoreRecommender(Recommender):
    """Recommends by a model's scores of all items.

    Args:
        opened: :class:`~recbole_genrec.runs.open_model.OpenedModel`.

    Raises:
        GenRecError: the model reads columns of interactions that a history of items does not tell.
    """

    def __init__(self, opened):
        self.config, self.dataset, self.model, self._transform = opened
        self.name, config = self.config["model"], self.config
        self.settings: Mapping = defaultdict(lambda: None, config.final_config_dict)
        self.longest, self.batch_size = config["MAX_ITEM_LIST_LENGTH"], config["eval_batch_size"]
        self.is_general, self._is_own = is_general(self.model), self.name in MODELS
        self._by_pairs = type(self.model).full_sort_predict is AbstractRecommender.full_sort_predict
        if self._by_pairs:
            self.batch_size = max(self.batch_size // self.dataset.item_num, 1)
        self._chat = getattr(self.model, "chat", None)
        self._list_suffix = config["LIST_SUFFIX"]
        self._label = self.model.names.label if hasattr(self.model, "names") else None
        clock = getattr(self.dataset, "clock", None)
        self.context = GivenContext(self._context_settings(), clock, ({}, ()), None)
        self.catalogue = self._read_catalogue()
        self._needs_user = self.is_general or (not self._is_own and self._reads_user())
        self.abilities = frozenset(self._find_abilities())
        titles = [text or f"item {token}" for token, text in zip(self.catalogue.item_tokens, self.catalogue.item_texts)]
        reason = f"{self.name} reads items, not text; it can: {listed(sorted(self.abilities))}"
        self.reader = HistoryReader(self.catalogue.item_tokens, titles, False, reason)

    # ---- what the model reads ----

    def _find_abilities(self):
        yield USERS
        if not self._needs_user:
            yield HISTORIES
        if self._chat is None:
            yield WHERE
        if self._gives_probabilities:
            yield PROBABILITIES
        if "request_time" in self.context.settings.kinds:
            yield REQUEST_TIME

    @property
    def _gives_probabilities(self):
        # a list with places for unseen items has the scores of the places
        places = getattr(getattr(self.model, "trie", None), "unseen_every", 0)
        return getattr(self.model, "scores_are_log_probabilities", False) and not places

    def _context_settings(self):
        """The context of the model, its time bias and its labels among it."""
        if not self._is_own:
            return ContextArguments()
        context = ContextArguments.from_config(self.settings) if self.name in ContextArguments.models else None
        context = context or ContextArguments()
        more = [self._label] if self._label else []
        if self.name == "HSTU" and self.config["time_bias"] not in (None, "none"):
            more.append(self.config["time_bias"])
        return replace(context, context=(*context.context, *more))

    def _read_catalogue(self):
        """Items with their texts and columns, as far as there is an ``.item`` file."""
        tokens, config = self.dataset.field2id_token[self.dataset.iid_field][1:].tolist(), self.config
        path = Path(self.dataset.dataset_path) / f"{self.dataset.dataset_name}.item"
        texts, columns = {}, {}
        if path.is_file():
            items = read_items(AtomicFile.of(path, config), self.dataset.iid_field)
            columns = item_columns(items)
            try:
                texts = item_text(items, config["item_text"] or "").texts
            except GenRecError:
                if config["item_text"]:
                    raise  # without it, a file without a title has none
        return Catalogue(tokens, [texts.get(token) for token in tokens], [], None, columns)

    def _reads_user(self):
        """Whether a sequential model of RecBole's reads who asks, by watching it answer once.

        Raises:
            GenRecError: it reads more than histories of items and who asks.
        """
        batch = _Histories([np.array([1])], [[]], [1], HistoryContext(None, {}), [1])
        watched = []

        def watch(interaction):
            watched.append(_Watched(interaction))
            return watched[0]

        interaction = self._interaction(batch)
        try:
            self._scores(interaction, watch)
        except KeyError:
            unknown = watched[0].read - set(watched[0].columns) if watched else ()
            if not unknown:
                raise
            raise GenRecError(
                f"{self.name} reads {listed(sorted(unknown))} beside the items of a history. It can be tested, but not "
                "asked for recommendations."
            ) from None
        return self.dataset.uid_field in watched[0].read

    # ---- histories ----

    def _asked(self, at):
        if at is not None and REQUEST_TIME not in self.abilities:
            raise self.unable(REQUEST_TIME)
        return self.context.asked(at)

    def _open_users(self, data_path):
        columns = self.config.model_class.context_columns(self.config) if self._has_context else {}
        made = [self._label] if self._label else []
        return UserHistories(self.config.final_config_dict, data_path, columns, made)

    @property
    def _has_context(self):
        return hasattr(self.config.model_class, "context_columns")

    def _read(self, histories, asked=None):
        numbers, entries, users = [], [], []
        for history in histories:
            if isinstance(history, str):
                raise GenRecError(f"A history is a list of entries, not a text: {history!r}.")
            matched = [self.reader.read(given) for given in history]
            items = [item for _, item in matched]
            if not items and not self.is_general:
                raise GenRecError(f"{self.name} needs a history of at least one item of the catalogue.")
            read = 0 if self.is_general else self.longest
            older = max(len(items) - read, 0)
            unread = [self.reader.unread(entry) for entry, _ in matched[:older]]
            entries.append(unread + [entry for entry, _ in matched[older:]])
            numbers.append(np.array(items[older:], np.int64))
            users.append(self._user_of(history))
        context = self.context.of([list(history) for history in histories], asked)
        self._check_known(context)
        return _Histories(numbers, entries, users, context, list(map(len, histories)))

    def _user_of(self, history):
        """RecBole's number of the user that a history belongs to; 0: nobody."""
        user_id = history.user_id if isinstance(history, UserHistory) else None
        if user_id is None:
            if isinstance(history, UserHistory) and history.user:
                raise GenRecError(
                    f"{self.name} knows the columns of users of its dataset alone: give the 'user_id' of the history."
                )
            if self._needs_user:
                raise GenRecError(
                    f"{self.name} knows users by their ids and recommends for those of its dataset alone: give the "
                    "user, not a history."
                )
            return 0
        number = self.dataset.field2token_id[self.dataset.uid_field].get(str(user_id))
        if number is None:
            raise GenRecError(f"{self.name}: the dataset of its training has no user {str(user_id)!r}.")
        return number

    def _check_known(self, context):
        """Refuse entries without what the model cannot do without: labels of TALLRec, times of HSTU."""
        if self._label and np.isnan(context.values[self._label]).any():
            raise GenRecError(
                f"{self.name} reads whether each item was liked: give every entry a value of {self._label!r}, 0 or 1."
            )
        if self.name == "HSTU" and context.times is not None and (context.times == NO_TIME).any():
            raise GenRecError(
                f"HSTU was trained with 'time_bias: {self.config['time_bias']}': give every entry its time."
            )

    # ---- batches ----

    def _interaction(self, batch):
        """RecBole's batch of histories or, of a general model, of users."""
        dataset, size = self.dataset, len(batch.users)
        columns = {dataset.uid_field: torch.tensor(batch.users)}
        if self.is_general:
            return dataset.join(Interaction(columns))
        items = self._padded(batch.numbers, 0, np.int64)
        columns[dataset.iid_field] = torch.zeros(size, dtype=torch.long)  # the target, which nobody knows
        columns[dataset.iid_field + self._list_suffix] = items
        columns[dataset.item_list_length_field] = torch.tensor([len(numbers) for numbers in batch.numbers])
        columns |= self._context_columns_of(batch)
        return self._transform(dataset, dataset.join(Interaction(columns)))

    def _context_columns_of(self, batch):
        context, ends, columns = batch.context, np.cumsum(batch.lengths), {}
        parts = [slice(end - len(numbers), end) for end, numbers in zip(ends, batch.numbers)]
        if context.times is not None:
            times = [context.times[part] for part in parts]
            asked = np.full(len(parts), NO_TIME) if context.asked is None else context.asked
            columns[EXACT_TIME], columns[EXACT_TIME + self._list_suffix] = (
                torch.from_numpy(asked),
                self._padded(times, 0, np.int64),
            )
        for name, values in context.values.items():
            columns[name + self._list_suffix] = self._padded([values[part] for part in parts], 0, np.float32)
        return columns

    def _padded(self, rows, fill, kind):
        """Rows of at most L values, right-padded ``[B, L]``."""
        padded = np.full((len(rows), self.longest), fill, kind)
        for row, values in zip(padded, rows):
            row[: len(values)] = values
        return torch.from_numpy(padded)

    @torch.no_grad()
    def _scores(self, interaction, watch=lambda interaction: interaction):
        """Scores of the catalogue ``[B, n_items]``; ``watch`` gets the batch that the model is given."""
        size, n_items = len(interaction), self.dataset.item_num
        interaction = interaction.to(self.config["device"])
        if not self._by_pairs:
            return self.model.full_sort_predict(watch(interaction)).view(size, n_items)
        pairs = interaction.repeat_interleave(n_items)
        pairs.update(self.dataset.get_item_feature().to(self.config["device"]).repeat(size))
        return self.model.predict(watch(pairs)).view(size, n_items)

    # ---- lists ----

    def _rank(self, batch, choice):
        size = min(choice.topk, len(self.reader.item_tokens))
        interaction = self._interaction(batch)
        if choice.left_out is not None and self._is_own and not self.is_general:
            interaction.interaction[SEEN] = choice.left_out
        with self._asking(size, choice.allowed):
            scores = self._scores(interaction).clone()
        if torch.isnan(scores).any():
            raise GenRecError(f"{self.name} gives scores that are no numbers: its weights are damaged.")
        scores[:, 0] = -torch.inf
        if choice.left_out is not None:
            scores.scatter_(1, choice.left_out.to(scores.device), -torch.inf)
        if choice.allowed is not None:
            scores[:, 1:].masked_fill_(torch.from_numpy(~choice.allowed).to(scores.device), -torch.inf)
        best, items = torch.topk(scores, size, dim=-1)
        rows = zip(batch.entries, items.tolist(), best.tolist())
        return [Answer(tuple(entries), self._list(*row)) for entries, *row in rows]

    @contextmanager
    def _asking(self, size, allowed):
        """Have a model of this package search for K items among those that are allowed."""
        if not self._is_own or not hasattr(self.model, "k"):
            yield
            return
        model, before = self.model, self.model.k
        if self._chat is not None and size > before:
            raise GenRecError(f"{self.name} was made to ask its server for lists of {before}; 'topk' is {size}.")
        try:
            if self._chat is None:
                model.k = size
                model.allowed = None if allowed is None else torch.from_numpy(np.append(False, allowed))
            model.fills_lists = False
            yield
        finally:
            model.k, model.allowed = before, None

    def _list(self, items, scores):
        tokens, titles = self.reader.item_tokens, self.reader.titles
        found = [(item - 1, score) for item, score in zip(items, scores) if score > -torch.inf]
        kind, value = (Recommendation, exp) if self._gives_probabilities else (ScoredItem, float)
        return tuple(
            kind(rank, tokens[item], titles[item], value(score)) for rank, (item, score) in enumerate(found, 1)
        )
