"""Item indexing: the schemes that give every item its identifier.

A scheme is one file and one line of ``PLACES``. It is a function ``scheme(given: Given) -> Draft``,
registered under its name. It writes an identifier as pieces: texts, and codes, which are new tokens of the model. What
happens to the pieces afterwards, tokens, uniqueness, is the same for all: :mod:`recbole_genrec.catalogue.index`.

Identifiers may learn from training interactions, and from nothing else. Even the numbers of items and users leak:
RecBole gives them out in the order in which they first come, test interactions included. So no scheme sees them. It
sees the items of the training interactions in the order of their raw tokens, then the others in that order.

Letters: I items, S of them seen in training, U users, N training interactions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from recbole_genrec.config.registry import resolve
from recbole_genrec.errors import GenRecError, unknown_name

#: where each scheme is, ``module:function``; it is imported when it is asked for: some need libraries that the engine
#: does without.
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
        return f"<{'abcdefghijklmnopqrstuvwxyz'[self.level % 26] * (self.level // 26 + 1)}_{self.number}>"


class Sequences(NamedTuple):
    """Training interactions: the items of each user, oldest first."""

    #: raw user tokens ``[U]``.
    users: list
    #: places of the items in the catalogue, user after user ``[N]``.
    items: np.ndarray
    #: user number u has items ``offsets[u]`` to ``offsets[u + 1]``, ``[U + 1]``.
    offsets: np.ndarray


@dataclass(frozen=True)
class Given:
    """All that a scheme may look at."""

    #: raw item tokens ``[I]``: those of the training interactions, sorted, then the others, sorted.
    items: list
    #: text of each item ``[I]``, ``None`` where it has none.
    texts: list
    #: how many items the training interactions have, S: they stand first.
    n_seen: int
    #: training interactions as places in ``items``; the users in the order of their raw tokens.
    sequences: Sequences | None
    #: :class:`~recbole_genrec.config.arguments.IndexingArguments`.
    settings: object
    seed: int
    #: the backbone's own vectors of texts: list of texts -> float array ``[len(texts), D]``; ``None``: it has none.
    embed_texts: Callable | None = None

    def random(self, purpose):
        """A generator of random numbers that depends on the seed and the purpose alone."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    def shuffled(self):
        """Places of all items in random order, the seen ones first, so that the others do not move them ``[I]``."""
        unseen = np.arange(self.n_seen, len(self.items))
        return np.concatenate([self.random("seen").permutation(self.n_seen), self.random("unseen").permutation(unseen)])


@dataclass
class Draft:
    """Identifiers in pieces, before they are tokens and unique."""

    #: for each item a tuple of texts and :class:`Code`; an empty one is written ``item <token>`` later.
    pieces: list
    #: what the scheme has to report: name and value, both for people to read.
    facts: dict = field(default_factory=dict)
    #: items in the order in which they may keep an identifier that others have, too; ``None``: that of ``pieces``.
    order: np.ndarray | None = None

    @property
    def texts(self):
        """The texts of all pieces, in order, which a tokenizer may be trained on."""
        return [piece for pieces in self.pieces for piece in pieces if isinstance(piece, str)]


def register(name, interactions=True, new_items=None):
    """Decorator: make a function known as the indexing scheme ``name``.

    Args:
        name: the value of ``item_indexing``.
        interactions: whether it wants ``Given.sequences``; without, all items count as unseen.
        new_items: how it names items that come after training, without new tokens: (pieces of the items that there
            are, texts of the new ones) -> pieces of the new ones; ``None``: it cannot.
    """

    def add(scheme):
        _SCHEMES[name] = (scheme, interactions, new_items)
        return scheme

    return add


def known_indexings():
    """Names of the schemes, sorted."""
    return sorted(PLACES.keys() | _SCHEMES.keys())


def needs_interactions(scheme):
    """Whether the scheme ``scheme`` wants training interactions.

    Raises:
        GenRecError: there is no such scheme.
    """
    return _scheme(scheme)[1]


def draft_new_items(scheme, pieces, texts):
    """Have a scheme write identifiers of items that come after training.

    Args:
        scheme: name of an indexing scheme.
        pieces: of the items that there are.
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
    """The function of a scheme, whether it wants training interactions, and how it names new items."""
    if name not in known_indexings():
        raise unknown_name("item indexing", name, known_indexings())
    if name not in _SCHEMES:
        resolve(PLACES[name])
    return _SCHEMES[name]


def draft_identifiers(scheme, items, texts, sequences=None, *, settings=None, seed=0, embed_texts=None):
    """Have a scheme write identifiers.

    Args:
        scheme: name of an indexing scheme.
        items: I raw item tokens in catalogue order, without the padding item.
        texts: I item texts, ``None`` for an item without text.
        sequences: training interactions, for a scheme that wants them.
        settings: :class:`~recbole_genrec.config.arguments.IndexingArguments`, for a scheme that has settings.
        seed: of everything random.
        embed_texts: the backbone's vectors of texts, see :class:`Given`.

    Returns:
        A :class:`Draft` in catalogue order.

    Raises:
        GenRecError: unknown scheme, or a setting does not fit the data.
    """
    if needs_interactions(scheme) and sequences is None:
        raise GenRecError(f"'item_indexing: {scheme}' needs training interactions.")
    order, n_seen, own = _without_numbers(items, sequences if needs_interactions(scheme) else None)
    given = Given([items[i] for i in order], [texts[i] for i in order], n_seen, own, settings, seed, embed_texts)
    draft = _scheme(scheme)[0](given)
    pieces = [()] * len(items)
    for place, written in zip(order, draft.pieces, strict=True):
        pieces[place] = written
    return Draft(pieces, draft.facts, order)


def _without_numbers(items, sequences):
    """The catalogue in an order that says nothing of how items and users were numbered.

    Returns:
        Places in the catalogue in that order ``[I]``, S, and the interactions in these terms.
    """
    by_token = np.array(sorted(range(len(items)), key=lambda place: str(items[place])), np.int64)
    if sequences is None:
        return by_token, 0, None
    seen = np.bincount(sequences.items, minlength=len(items))[by_token] > 0
    order = np.concatenate([by_token[seen], by_token[~seen]])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    users = sorted(range(len(sequences.users)), key=lambda user: str(sequences.users[user]))
    begin, end = sequences.offsets[:-1], sequences.offsets[1:]
    histories = [place[sequences.items[begin[user] : end[user]]] for user in users]
    offsets = np.cumsum([0, *map(len, histories)])
    flat = np.concatenate(histories) if histories else np.zeros(0, np.int64)
    return order, int(seen.sum()), Sequences([sequences.users[user] for user in users], flat, offsets)
