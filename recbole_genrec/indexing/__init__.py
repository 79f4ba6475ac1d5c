"""Item indexing: the schemes that give every item its identifier.

A scheme is one file and one line at the foot of this one. It is a function
``scheme(items, texts, encode) -> ItemIndex``, registered under its name.
"""

from typing import NamedTuple

from recbole_genrec.errors import unknown_name

_SCHEMES = {}


class ItemIndex(NamedTuple):
    """What a scheme makes of a catalogue of n items, in the catalogue's order."""

    #: n tuples of token ids: unique, none of them empty.
    identifiers: list
    #: n texts whose tokens the identifiers are.
    texts: list
    #: how many items got a suffix because their identifier was taken.
    collisions: int
    #: how many items had no text, so that their identifier was made from the item token.
    without_text: int


def register(name):
    """Decorator: make a function known as the indexing scheme ``name``."""

    def add(scheme):
        _SCHEMES[name] = scheme
        return scheme

    return add


def known_indexings():
    """Names of the registered schemes, sorted."""
    return sorted(_SCHEMES)


def build_identifiers(scheme, items, texts, encode):
    """Give every item its identifier.

    Args:
        scheme: name of an indexing scheme.
        items: n raw item tokens in catalogue order, without the padding item.
        texts: n item texts, ``None`` for an item without text.
        encode: text -> list of token ids, in the context in which identifiers are generated.

    Returns:
        An :class:`ItemIndex`.

    Raises:
        GenRecError: unknown scheme, or the tokenizer cannot tell two items apart.
    """
    if scheme not in _SCHEMES:
        raise unknown_name("item indexing", scheme, known_indexings())
    return _SCHEMES[scheme](items, texts, encode)


from recbole_genrec.indexing import title  # noqa: E402, F401  a scheme registers itself
