"""User indexing: what a prompt calls its user, by numbers, new tokens, or clusters of users.

As with items, names may learn from training interactions only, and not from RecBole's numbers of users, which follow
the order of first appearance, test interactions included. ``number`` alone writes these, as P5 does.

Letters: U users, N training interactions.
"""

from dataclasses import dataclass, field

import numpy as np

from recbole_genrec.catalogue.index import pieces_from_json, pieces_to_json
from recbole_genrec.catalogue.schemes import Code, Given, Sequences, draft_identifiers
from recbole_genrec.config.arguments import IndexingArguments
from recbole_genrec.errors import GenRecError

NONE, NUMBER, RANDOM, CLUSTER, METADATA = "none", "number", "random", "cluster", "metadata"


def code_name(code):
    """The new token of a code of users, such as ``<user_a_3>``; codes of items are ``<a_3>``."""
    return f"<user_{code.name[1:]}"


@dataclass(frozen=True)
class UserIndex:
    """What users are called.

    Attributes:
        pieces: by raw user token, a tuple of texts and :class:`~recbole_genrec.catalogue.schemes.Code`, where the user
            is known.
        unknown: of every other user; an empty one is left out of a prompt.
        columns: with ``metadata``, the columns of the ``.user`` file that names are made of.
    """

    pieces: dict = field(default_factory=dict)
    unknown: tuple = ()
    columns: tuple = ()

    @property
    def codes(self):
        """All codes in use, sorted."""
        return sorted({piece for user in self.pieces.values() for piece in user if isinstance(piece, Code)})

    @property
    def texts(self):
        """All texts in use, sorted."""
        return sorted({piece for user in self.pieces.values() for piece in user if not isinstance(piece, Code)})

    def as_json(self):
        """Names in a form that JSON can hold; the words of ``metadata`` are personal, and left out."""
        pieces = {} if self.columns else self.pieces
        return {
            "users": [str(user) for user in pieces],
            "pieces": pieces_to_json(pieces.values()),
            "unknown": pieces_to_json([self.unknown])[0],
            "columns": list(self.columns),
        }

    @classmethod
    def from_json(cls, content):
        """Read what :meth:`as_json` gave.

        Raises:
            GenRecError: a user comes twice, or the lists are of different lengths.
        """
        users, pieces = content["users"], pieces_from_json(content["pieces"])
        if len(set(users)) < len(users) or len(users) != len(pieces):
            raise GenRecError("users.json has a user twice, or another number of names than of users.")
        return cls(dict(zip(users, pieces)), pieces_from_json([content["unknown"]])[0], tuple(content["columns"]))

    def of(self, user):
        """The pieces of a raw user token."""
        return self.pieces.get(str(user), self.unknown)


def numbered(users):
    """The index of raw user tokens in RecBole's order: texts with their numbers, from 1 on; 0 is nobody."""
    return UserIndex({user: (f"user {number}",) for number, user in enumerate(users, 1)}, ("user 0",))


def random_codes(users, levels, seed):
    """Random names, each of ``levels`` codes.

    Users are numbered at random; a code is a digit of the number, in the smallest base in which ``levels`` digits
    suffice.

    Args:
        users: raw tokens of the training's users, U.
        levels: 1: every user has a token of its own.
        seed: of the draw.

    Returns:
        :class:`UserIndex`.
    """
    users = sorted(users, key=str)
    base = 1
    while base**levels < len(users):
        base += 1
    number = np.random.default_rng([seed, *b"users"]).permutation(len(users))
    digits = number[:, None] // base ** np.arange(levels)[::-1] % base  # [U, levels]
    return UserIndex({user: tuple(Code(*code) for code in enumerate(row)) for user, row in zip(users, digits.tolist())})


def cluster_codes(items, sequences, branches, leaf_size, seed):
    """Names by a tree of clusters of users who chose the same items in training: the path, and a number in the leaf.

    The tree is that of ``item_indexing: collaborative`` with items and users exchanged: users count as alike where they
    stand near each other among the users of an item, in random order, so that the work is bounded for popular items.

    Args:
        items: raw item tokens by the numbers that ``sequences`` has.
        sequences: :class:`~recbole_genrec.catalogue.schemes.Sequences`, the training interactions.
        branches: most clusters that a node is split into.
        leaf_size: most users in a node that is not split.
        seed: of the orders and of the clustering.

    Returns:
        :class:`UserIndex`, and facts about the tree by name.
    """
    rank = np.argsort(np.argsort(np.array(sequences.users, str), kind="stable"))  # numbers must not lead
    owner = np.repeat(np.arange(len(sequences.users)), np.diff(sequences.offsets))
    token_rank = np.argsort(np.argsort(np.array(items, str), kind="stable"))
    order = np.lexsort((rank[owner], token_rank[sequences.items]))
    drawn = np.random.default_rng([seed, *b"users of items"]).random(len(order))
    order = order[np.lexsort((drawn, token_rank[sequences.items[order]]))]
    of_item = sequences.items[order]
    first = np.flatnonzero(np.append(True, of_item[1:] != of_item[:-1])[: len(of_item)])
    chosen_by = Sequences([items[item] for item in of_item[first]], owner[order], np.append(first, len(of_item)))
    settings = IndexingArguments(item_indexing="collaborative", cluster_branches=branches, cluster_leaf_size=leaf_size)
    users = list(sequences.users)
    draft = draft_identifiers("collaborative", Given(users, [None] * len(users), chosen_by, settings, seed))
    return UserIndex(dict(zip(users, draft.pieces))), draft.facts
