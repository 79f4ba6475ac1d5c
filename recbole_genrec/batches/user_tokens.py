"""Tokens of users in prompts, and the ragged tables that prefixes are put together from.

Letters: F texts of a table, U users, W windows.
"""

from dataclasses import dataclass

import numpy as np

from recbole_genrec.catalogue.schemes import Code
from recbole_genrec.catalogue.user_index import code_name
from recbole_genrec.interactions.segments import ragged

#: any text: stands before a piece of a prompt that never begins it, so that it is tokenised as in the middle.
MIDDLE = "x"


@dataclass(frozen=True)
class FlatTokens:
    """The tokens of some texts, end to end; text f has ``token[offset[f] : offset[f + 1]]``.

    Attributes:
        token: int64, flat. offset: ``[F + 1]``.
    """

    token: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, texts):
        """The table of some sequences of token ids."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        flat = [np.asarray(text, np.int64) for text in texts]
        return cls(np.concatenate([np.zeros(0, np.int64), *flat]), np.append(0, lengths.cumsum()))

    def written(self, number):
        """Lengths ``[W]`` of the texts ``number [W]``, and their tokens, end to end."""
        return interleaved([(self, number)])

    @property
    def longest(self):
        """Tokens of the longest text."""
        return int(np.diff(self.offset).max(initial=0))

    def __getitem__(self, number):
        return self.token[self.offset[number] : self.offset[number + 1]]


class UserTokens(FlatTokens):
    """The tokens of users; number 0 is a user who is not known, and may have none."""


def interleaved(columns):
    """Rows that are made of texts of several tables, one of each.

    Args:
        columns: pairs of a :class:`FlatTokens` and the numbers of its texts ``[W]``.

    Returns:
        Lengths of the rows ``[W]``, and their tokens, end to end.
    """
    begins = np.stack([table.offset[number] for table, number in columns], 1)  # [W, columns]
    lengths = np.stack([np.diff(table.offset)[number] for table, number in columns], 1)
    base = np.cumsum([0, *(len(table.token) for table, _ in columns)])[:-1]  # of each table in all tokens
    every = np.concatenate([table.token for table, _ in columns])
    part, order = ragged(lengths.ravel())
    return lengths.sum(1), every[(begins + base).ravel()[part] + order]


def user_tokens(pieces, backbone, lead):
    """The table of some users.

    Args:
        pieces: by number from 0 on, what the user is called: a tuple of texts and
            :class:`~recbole_genrec.catalogue.schemes.Code`.
        backbone: gives ``encode_many`` and the ``tokenizer``, which knows the codes.
        lead: text right before a name that is a text.

    Returns:
        :class:`UserTokens`.
    """
    texts = {piece for user in pieces for piece in user if not isinstance(piece, Code)}
    codes = {piece for user in pieces for piece in user if isinstance(piece, Code)}
    texts, codes = sorted(texts), sorted(codes)
    tokens = dict(zip(texts, backbone.encode_many([lead + text for text in texts], MIDDLE)))
    names = backbone.tokenizer.convert_tokens_to_ids([code_name(code) for code in codes])
    tokens |= {code: [number] for code, number in zip(codes, names)}
    return UserTokens.of([[token for piece in user for token in tokens[piece]] for user in pieces])
