"""Item indexing: the schemes that give every item its identifier.

A scheme is one file and one line of ``PLACES``. It is a function ``scheme(given: Given) -> Draft``,
registered under its name. It writes an identifier as pieces: texts, and codes, which are new tokens of the model.
:mod:`recbole_genrec.catalogue.index` then turns the pieces of any scheme into tokens and makes identifiers unique.

Identifiers may learn from training interactions only. Even RecBole's numbers of items and users leak: they follow the
order of first appearance, test interactions included. So a scheme does not see them. It sees the items of the training
interactions sorted by their raw tokens, then the other items sorted likewise.

Letters: I items, S of them seen in training, U users, N training interactions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from recbole_genrec.config.registry import resolve
from recbole_genrec.errors import GenRecError, unknown_name

#: where each scheme is, ``module:function``. It is imported on first use: some need libraries that nothing else needs.
PLACES = {
    "collaborative": "recbole_genrec.catalogue.schemes.collaborative:collaborative_index",
    "hybrid": "recbole_genrec.catalogue.schemes.hybrid:hybrid_index",
    "independent": "recbole_genrec.catalogue.schemes.independent:independent_index",
    "random": "recbole_genrec.catalogue.schemes.random_number:random_index",
    "semantic": "recbole_genrec.catalogue.schemes.semantic:semantic_index",
    "sequential": "recbole_genrec.catalogue.schemes.sequential:sequential_index",
    "svd": "recbole_genrec.catalogue.schemes.svd:svd_index",
    "title": "recbole_genrec.catalogue.schemes.title:title_index",
}
_SCHEMES = {}


class Code(NamedTuple):
    """A new token of the language model, by level and number; ``<b_12>`` is number 12 of the second level."""

    level: int
    number: int

    @property
    def name(self):
        """The new token's text, such as ``<a_3>``: a letter for the level, then the number."""
        return f"<{'abcdefghijklmnopqrstuvwxyz'[self.level % 26] * (self.level // 26 + 1)}_{self.number}>"


class Sequences(NamedTuple):
    """Training interactions: the items of each user, oldest first."""

    #: raw user tokens ``[U]``.
    users: list
    #: positions of the items in the catalogue, user after user ``[N]``.
    items: np.ndarray
    #: user number u has items ``offsets[u]`` to ``offsets[u + 1]``, ``[U + 1]``.
    offsets: np.ndarray


@dataclass(frozen=True)
class Given:
    """The input of a scheme: everything it may use.

    :func:`draft_identifiers` takes it in catalogue order and hands it to the scheme in the order described below.
    """

    #: raw item tokens ``[I]``. A scheme sees those of the training interactions first, sorted, then the others, sorted.
    items: list
    #: text of each item ``[I]``, ``None`` where it has none.
    texts: list
    #: training interactions as positions in ``items``. A scheme sees the users in the order of their raw tokens.
    sequences: Sequences | None = None
    #: :class:`~recbole_genrec.config.arguments.IndexingArguments`, for a scheme that has settings.
    settings: object = None
    seed: int = 0
    #: the backbone's own vectors of texts: list of texts -> float array ``[len(texts), D]``; ``None``: it has none.
    embed_texts: Callable | None = None
    #: number of items in the training interactions, S: they come first. :func:`draft_identifiers` counts them.
    n_seen: int = 0

    def random(self, purpose):
        """A random number generator that depends on the seed and the purpose only."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    def shuffled(self):
        """Positions of all items in random order ``[I]``; seen items come first, so unseen ones do not move them."""
        unseen = np.arange(self.n_seen, len(self.items))
        return np.concatenate([self.random("seen").permutation(self.n_seen), self.random("unseen").permutation(unseen)])


@dataclass
class Draft:
    """Identifiers as pieces, before they are tokenised and made unique."""

    #: for each item a tuple of texts and :class:`Code`; an empty one is written ``item <token>`` later.
    pieces: list
    #: what the scheme reports: name and value, both for people to read.
    facts: dict = field(default_factory=dict)
    #: order in which items may keep an identifier that others have, too; ``None``: that of ``pieces``.
    order: np.ndarray | None = None

    @property
    def texts(self):
        """The texts of all pieces, in order, which a tokenizer may be trained on."""
        return [piece for pieces in self.pieces for piece in pieces if isinstance(piece, str)]


def register(name, interactions=True, new_items=None):
    """Decorator: make a function known as the indexing scheme ``name``.

    Args:
        name: the value of ``item_indexing``.
        interactions: whether it needs ``Given.sequences``; without them, all items count as unseen.
        new_items: names items that come after training, without new tokens: (pieces of the existing items, texts of the
            new ones) -> pieces of the new ones; ``None``: it cannot.
    """

    def add(scheme):
        _SCHEMES[name] = (scheme, interactions, new_items)
        return scheme

    return add


def known_indexings():
    """Names of the schemes, sorted."""
    return sorted(PLACES.keys() | _SCHEMES.keys())


def needs_interactions(scheme):
    """Whether the scheme ``scheme`` needs training interactions.

    Raises:
        GenRecError: there is no such scheme.
    """
    return _scheme(scheme)[1]


def draft_new_items(scheme, pieces, texts):
    """Let a scheme write the identifiers of items added after training.

    Args:
        scheme: name of an indexing scheme.
        pieces: of the existing items.
        texts: of the new items, ``None`` for an item without text.

    Returns:
        A :class:`Draft` of the new items.

    Raises:
        GenRecError: the scheme cannot name items without training interactions or new tokens.
    """
    known = [name for name in known_indexings() if _scheme(name)[2]]
    write = _scheme(scheme)[2]
    if write is None or any(isinstance(piece, Code) for item in pieces for piece in item):
        raise GenRecError(
            f"'item_indexing: {scheme}' cannot name new items, as their codes would have to be trained. "
            f"These schemes can: {', '.join(known)}."
        )
    return Draft(write(pieces, texts))


def _scheme(name):
    """The function of a scheme, whether it needs training interactions, and how it names new items."""
    if name not in known_indexings():
        raise unknown_name("item indexing", name, known_indexings())
    if name not in _SCHEMES:
        resolve(PLACES[name])
    return _SCHEMES[name]


def draft_identifiers(scheme, given):
    """Let a scheme write the identifiers of a catalogue.

    Args:
        scheme: name of an indexing scheme.
        given: :class:`Given` in catalogue order, without the padding item; its ``sequences`` for a scheme that needs
            them.

    Returns:
        A :class:`Draft` in catalogue order.

    Raises:
        GenRecError: unknown scheme, or a setting does not fit the data.
    """
    if not needs_interactions(scheme):
        given = replace(given, sequences=None)
    elif given.sequences is None:
        raise GenRecError(f"'item_indexing: {scheme}' needs training interactions.")
    order, n_seen, sequences = _without_numbers(given.items, given.sequences)
    items, texts = [given.items[i] for i in order], [given.texts[i] for i in order]
    draft = _scheme(scheme)[0](replace(given, items=items, texts=texts, sequences=sequences, n_seen=n_seen))
    pieces = [()] * len(items)
    for position, written in zip(order, draft.pieces, strict=True):
        pieces[position] = written
    return Draft(pieces, draft.facts, order)


def _without_numbers(items, sequences):
    """Order the catalogue by raw tokens, so that RecBole's numbers of items and users cannot leak.

    Returns:
        Positions in the catalogue in that order ``[I]``, S, and the interactions in terms of that order.
    """
    by_token = np.array(sorted(range(len(items)), key=lambda position: str(items[position])), np.int64)
    if sequences is None:
        return by_token, 0, None
    seen = np.bincount(sequences.items, minlength=len(items))[by_token] > 0
    order = np.concatenate([by_token[seen], by_token[~seen]])
    rank = np.empty(len(order), np.int64)  # position in the catalogue -> position in this order
    rank[order] = np.arange(len(order))
    users = sorted(range(len(sequences.users)), key=lambda user: str(sequences.users[user]))
    begin, end = sequences.offsets[:-1], sequences.offsets[1:]
    histories = [rank[sequences.items[begin[user] : end[user]]] for user in users]
    offsets = np.cumsum([0, *map(len, histories)])
    flat = np.concatenate(histories) if histories else np.zeros(0, np.int64)
    return order, int(seen.sum()), Sequences([sequences.users[user] for user in users], flat, offsets)
