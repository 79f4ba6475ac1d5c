"""P5's task prompts as batches for an encoder-decoder: examples of interactions, fields filled in, words numbered.

Letters: B examples of a batch, P prompt tokens, T target tokens, D decisions (or tokens) of item targets, Y tokens of
text targets.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from recbole_genrec.batches.item_reviews import BETWEEN_REVIEWS, ItemReviews
from recbole_genrec.batches.layout import moved
from recbole_genrec.config.arguments import P5Arguments
from recbole_genrec.config.arguments.models import REVIEW_FAMILIES
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.text import clean_text
from recbole_genrec.interactions.interaction_text import first_sentence, interaction_columns, own_title
from recbole_genrec.interactions.segments import ragged
from recbole_genrec.prompt.task_prompts import REQUIRED, TARGETS

#: families whose target is an item.
ITEM_FAMILIES = tuple(family for family, target in TARGETS.items() if target == "item")
#: what stands between the items of a history or of candidates.
BETWEEN_ITEMS = ","
#: first characters of a token that begins a word, in the vocabularies of SentencePiece and of byte-level BPE.
WORD_STARTS = ("\u2581", "\u0120")
#: any text: a piece is tokenised as in the middle of a prompt.
MIDDLE = "x"


class PromptName(NamedTuple):
    """A prompt's family, and its number there."""

    family: str
    number: int


class TokenLimits(NamedTuple):
    """Tokens at most, of a prompt and of a text that is generated, its end token included.

    In a longer prompt a history loses its oldest items, and a review its end. A whole review that is longer than its
    limit has no end token: it does not end there.
    """

    prompt: int
    target: int
    #: a whole review that is generated.
    review: int = 128
    #: each of an item's other reviews in a prompt.
    item_review: int = 32

    def of(self, family):
        """Tokens that a family generates at most."""
        return self.review if family == "review_generation" else self.target


class Example(NamedTuple):
    """One prompt to be written."""

    prompt: PromptName
    user: int
    #: the item that is asked for or about.
    item: int
    #: earlier items of the user, oldest first ``[L]``.
    history: np.ndarray
    #: items to choose from, the target among them ``[C]``; empty where the prompt has none.
    candidates: np.ndarray
    #: by field, the texts of the interaction: ``rating``, ``explanation``, ``review``, ``summary``, ``item_summary``;
    #: under ``item_reviews``, a list of the item's other reviews.
    texts: dict


@dataclass
class TaskPromptTokens:
    """Prompts in tokens, right-padded.

    Attributes:
        input_ids: ``[B, P]``.
        word: number of the whole word that each token belongs to, from 1; 0 for padding ``[B, P]``.
        lengths: ``[B]``.
        families: by row, the name of its task family.
    """

    input_ids: torch.Tensor
    word: torch.Tensor
    lengths: torch.Tensor
    families: tuple


@dataclass
class TaskBatch:
    """What one training forward needs; a cell is an index into the flattened ``[B * (T + 1)]`` states of the decoder.

    Attributes:
        prompts: :class:`TaskPromptTokens`.
        target_ids: what the decoder is fed after its start token ``[B, T]``.
        cell, label, weight: of the decisions that lead to items ``[D]``: the state that predicts, the trie edge (or
            token) that it should predict, and its weight in the example's loss.
        text_cell, text_label, text_weight: likewise of the tokens of texts ``[Y]``.
        n_tokens: tokens without padding.
        n_targets: examples.
    """

    prompts: TaskPromptTokens
    target_ids: torch.Tensor
    cell: torch.Tensor
    label: torch.Tensor
    weight: torch.Tensor
    text_cell: torch.Tensor
    text_label: torch.Tensor
    text_weight: torch.Tensor
    n_tokens: int
    n_targets: int

    @property
    def n_decisions(self):
        """Terms that the mean loss is taken over: every example counts the same, as in P5."""
        return self.n_targets

    def to(self, device):
        """The same batch on another device."""
        return moved(self, device)


class TaskWriter:
    """Writes examples as tokens.

    Args:
        prompts: :class:`~recbole_genrec.prompt.task_prompts.TaskPrompts`.
        backbone: gives ``encode``, ``tokenizer``, ``pad_id`` and ``eos_id``.
        trie: the catalogue, on the CPU.
        item_texts: by item id, ``""`` for padding.
        normalization: ``trie`` (labels are edges) or ``vocab`` (labels are tokens).
        limits: :class:`TokenLimits`.

    Attributes:
        users: names of users, :class:`~recbole_genrec.batches.user_tokens.UserTokens`; each is one word. ``None``:
            they are called by their numbers.
    """

    users = None

    def __init__(self, prompts, backbone, trie, item_texts, normalization, limits):
        self.prompts, self.backbone, self.item_texts, self.limits = prompts, backbone, item_texts, limits
        tokens, offset = trie.token.numpy(), trie.token_offset.numpy()
        # Every identifier ends with the end token in the trie; in a prompt it does not.
        self.identifier = [tokens[begin : max(end - 1, 0)] for begin, end in zip(offset[:-1], offset[1:])]
        self.target_token, self.target_offset = tokens, offset
        if normalization == "trie":
            self.label, self.label_offset = trie.path_edge.numpy(), trie.path_offset.numpy()
            self.label_depth = trie.edge_begin.numpy()[self.label]
        else:
            self.label, self.label_offset = tokens, offset
            self.label_depth = ragged(np.diff(offset))[1]
        pieces = backbone.tokenizer.convert_ids_to_tokens(list(range(len(backbone.tokenizer))))
        self.starts_word = np.array([str(piece).startswith(WORD_STARTS) for piece in pieces])
        self.encode = lru_cache(maxsize=4096)(self._encode)

    def _encode(self, text):
        return np.array(self.backbone.encode(text, context=MIDDLE), np.int64)

    def write_prompts(self, examples):
        """The prompts of some examples as :class:`TaskPromptTokens`."""
        written = [self._write(example) for example in examples]
        width = max(len(tokens) for tokens, _ in written)
        input_ids = np.full((len(written), width), self.backbone.pad_id, np.int64)
        word = np.zeros((len(written), width), np.int64)
        for row, (tokens, words) in enumerate(written):
            input_ids[row, : len(tokens)], word[row, : len(tokens)] = tokens, words
        lengths = np.array([len(tokens) for tokens, _ in written])
        families = tuple(example.prompt.family for example in examples)
        return TaskPromptTokens(*map(torch.from_numpy, (input_ids, word, lengths)), families)

    def _write(self, example):
        """Tokens of a prompt and the whole word that each belongs to."""
        parts, histories = [], []
        for piece in self.prompts.families[example.prompt.family][example.prompt.number]:
            if piece.field == "history":
                histories.append(len(parts))
                parts.append(self._list(example.history))
            elif piece.field == "candidates":
                parts.append(self._list(example.candidates))
            elif piece.field == "item":
                parts.append([self.identifier[example.item]])
            elif piece.field == "user":
                name = self._user(example.user)
                parts.append([name] if len(name) else [])
            elif piece.field == "item_reviews":
                parts.append(self._reviews(example.texts["item_reviews"]))
            else:
                parts.append(self._words(self.encode(piece.text or f" {self._field_text(example, piece.field)}")))
        room = self.limits.prompt - 1  # for the end token
        spare = room - sum(len(word) for part in parts for word in part)
        for part in histories:
            while spare < 0 and len(parts[part]) > 1:  # an item and the separator after it
                spare += sum(map(len, parts[part][:2]))
                parts[part] = parts[part][2:]
        words = [word for part in parts for word in part]
        tokens = np.concatenate(words)[:room]
        numbers = np.repeat(np.arange(1, len(words) + 1), list(map(len, words)))[:room]
        return np.append(tokens, self.backbone.eos_id), np.append(numbers, numbers[-1] + 1)

    def _user(self, number):
        return self.encode(f" user {number}") if self.users is None else self.users[number]

    def check_candidates(self, count):
        """Refuse more candidates than fit into a prompt, whichever they are: one that is cut off could be the target.

        Raises:
            GenRecError: they do not fit; the message says how many do.
        """
        longest = max(map(len, self.identifier)) + len(self.encode(BETWEEN_ITEMS))
        field = max(len(self.encode(" user 1000000")), 0 if self.users is None else self.users.longest)
        for prompts in self.prompts.families.values():
            for prompt in prompts:
                if not any(piece.field == "candidates" for piece in prompt):
                    continue
                fixed = sum(len(self.encode(piece.text)) if piece.text else field for piece in prompt)
                fitting = (self.limits.prompt - 1 - fixed) // longest
                if count > fitting:
                    raise GenRecError(
                        f"'n_candidates' ({count}) do not fit into 'max_prompt_tokens' ({self.limits.prompt}): "
                        f"with identifiers of up to {longest - 1} tokens, {max(fitting, 0)} do."
                    )

    def _reviews(self, texts):
        """The words of several reviews, each cut to its limit, with separators between them."""
        between, words = self.encode(BETWEEN_REVIEWS), []
        for text in texts:
            words += [*self._words(self.encode(f" {text}")[: self.limits.item_review]), between]
        return words[:-1]

    def _field_text(self, example, field):
        return self.item_texts[example.item] if field == "item_text" else example.texts[field]

    def _list(self, items):
        """Items as words with separators between them; each item is one word."""
        between = self.encode(BETWEEN_ITEMS)
        words = [word for item in items for word in (self.identifier[item], between)]
        return words[:-1]

    def _words(self, tokens):
        """Split the tokens of a text where a word begins."""
        starts = np.flatnonzero(self.starts_word[tokens])
        return [part for part in np.split(tokens, starts) if len(part)]

    def write(self, examples):
        """Prompts and targets of some examples as :class:`TaskBatch`."""
        prompts = self.write_prompts(examples)
        targets = [self._target(example) for example in examples]
        width = max(len(target.fed) for target in targets)
        target_ids = np.full((len(examples), width), self.backbone.pad_id, np.int64)
        of_items, of_texts = [], []
        for row, (example, target) in enumerate(zip(examples, targets)):
            target_ids[row, : len(target.fed)] = target.fed
            cell = row * (width + 1) + target.depth
            weight = np.full(len(cell), 1 / len(cell), np.float32)
            (of_items if example.prompt.family in ITEM_FAMILIES else of_texts).append((cell, target.label, weight))
        return TaskBatch(
            prompts,
            torch.from_numpy(target_ids),
            *_joined(of_items),
            *_joined(of_texts),
            n_tokens=int(prompts.lengths.sum()) + sum(len(target.fed) for target in targets),
            n_targets=len(examples),
        )

    def _target(self, example):
        if example.prompt.family not in ITEM_FAMILIES:
            tokens = self.text_target(example.prompt.family, example.texts[TARGETS[example.prompt.family]])
            return _Target(tokens[:-1], np.arange(len(tokens)), tokens)
        return self.item_target(example.item)

    def item_target(self, item):
        """Of an item's identifier the tokens that are fed, how many of them stand before each label, the labels."""
        begin, end = self.label_offset[item], self.label_offset[item + 1]
        depth = self.label_depth[begin:end]
        start = self.target_offset[item]
        return _Target(self.target_token[start : start + depth[-1]], depth, self.label[begin:end])

    def text_target(self, family, text):
        """Tokens of a text that a family should generate, with its end token unless a whole review is cut ``[T]``."""
        tokens, limit = self.encode(f" {text}"), self.limits.of(family)
        if family in REVIEW_FAMILIES:
            return np.append(tokens, self.backbone.eos_id)[:limit]
        return np.append(tokens[: limit - 1], self.backbone.eos_id)


class _Target(NamedTuple):
    """What the decoder is fed, and how many of those tokens stand before each label."""

    fed: np.ndarray
    depth: np.ndarray
    label: np.ndarray


def _joined(parts):
    """Concatenate (cell, label, weight) triples to three tensors."""
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    return (torch.from_numpy(np.concatenate(column)) for column in zip(empty, *parts))


def task_columns(config):
    """Names of the ``.inter`` columns that tasks ask about, by what they hold: ``rating``, ``review``, ``summary``."""
    settings = P5Arguments.from_config(config)
    return {
        "rating": config["RATING_FIELD"] or "rating",
        "review": settings.review_field,
        "summary": settings.summary_field,
    }


class TaskData:
    """The interactions that examples are made of, and the texts that go with them.

    Args:
        dataset: the training part of a split, with lazy windows.
        columns: see :func:`task_columns`.
        longest: items of a history at most.
        n_candidates: items to choose from, where a prompt gives some.
        seed: of the candidates of an evaluated user, and of the reviews in an evaluated prompt.
        n_reviews: reviews of an item that a prompt shows at most.

    Attributes:
        texts: by field, a text for every interaction of the store, ``""`` where there is none ``[N]``.
        families: the families for which there is something to learn.
        reviews: :class:`~recbole_genrec.batches.item_reviews.ItemReviews`; without a review, it holds none.
    """

    def __init__(self, dataset, columns, longest, n_candidates, seed, n_reviews=8):
        self.texts = _texts(interaction_columns(dataset, list(columns.values())), columns)
        self.longest, self.n_candidates, self.seed, self.n_reviews = longest, n_candidates, seed, n_reviews
        self.store = dataset.inter_feat.histories
        self.items = self.store.columns[dataset.iid_field].numpy()
        self.n_items = dataset.item_num
        self.targets = np.sort(dataset.inter_feat.place)
        users = self.store.users[self.targets]
        # A user's first interaction has no history, but a rating and a review.
        self.seen = np.union1d(self.targets, self.store.begin(np.unique(users)))
        with_review = self.seen[self.texts["review"][self.seen] != ""] if "review" in self.texts else self.seen[:0]
        self.reviews = ItemReviews(with_review, self.items, self.store.users)
        self.families = [family for family in TARGETS if len(self.places(family))]

    def places(self, family):
        """Places in the store of the training interactions that can be targets of a family, ascending."""
        if family == "sequential":
            return self.targets
        if family == "direct":
            return self.seen
        needed = {TARGETS[family], *(REQUIRED[family] & self.texts.keys())}
        if not needed <= self.texts.keys():
            return self.seen[:0]
        complete = np.logical_and.reduce([self.texts[field][self.seen] != "" for field in needed])
        places = self.seen[complete]
        return places[self.reviews.has_others(places)] if family == "item_summary" else places

    def example(self, family, number, place, generator, with_candidates):
        """The example about the interaction at a place of the store, by prompt ``number`` of a family."""
        user, item = int(self.store.users[place]), int(self.items[place])
        begin = int(self.store.begin(user))
        history = self.items[max(begin, place - self.longest) : place] if family == "sequential" else self.items[:0]
        known = self.items[begin : place + 1]
        candidates = self.candidates(item, known, generator) if with_candidates else self.items[:0]
        texts = {field: column[place] for field, column in self.texts.items()}
        if family == "item_summary":
            draws = generator or np.random.default_rng([self.seed, int(place)])
            shown = draws.permutation(self.reviews.others(place))[: self.n_reviews]
            texts["item_reviews"] = self.texts["review"][shown].tolist()
        return Example(PromptName(family, number), user, item, history, candidates, texts)

    def candidates(self, item, known, generator):
        """The target among items that the user has not had, in random order."""
        others = generator.permutation(np.setdiff1d(np.arange(1, self.n_items), np.append(known, item)))
        return generator.permutation(np.append(others[: self.n_candidates - 1], item))


def _texts(found, columns):
    """What the prompts call rating, review, summary, explanation and item_summary, from the columns of the file."""
    texts = {field: found[name] for field, name in columns.items() if name in found}
    if "rating" in texts:
        texts["rating"] = np.array([f"{float(value):g}" if value else "" for value in texts["rating"]], object)
    for field in ("review", "summary"):
        if field in texts:
            texts[field] = np.array([clean_text(text) for text in texts[field]], object)
    if "summary" in texts:
        texts["item_summary"] = np.array([own_title(text) for text in texts["summary"]], object)
    if "review" in texts:
        texts["explanation"] = np.array([first_sentence(text) for text in texts["review"]], object)
    return texts
