"""Turn a scheme's draft into unique token identifiers, and read those that a checkpoint stores."""

import json
from dataclasses import dataclass
from pathlib import Path

from recbole_genrec.catalogue.schemes import Code, Draft
from recbole_genrec.errors import GenRecError


@dataclass
class ItemIndex:
    """The identifiers of a catalogue of I items, in the catalogue's order."""

    #: I tuples of texts and codes: what the scheme wrote, made unique.
    pieces: list
    #: I tuples of token ids and codes: unique, none of them empty.
    symbols: list
    #: how many items got a suffix or one more code because their identifier was taken.
    collisions: int
    #: how many items had no text to write, so that their identifier was made from the item token.
    without_text: int
    #: what the scheme has to report.
    facts: dict

    @property
    def texts(self):
        """I identifiers for people to read."""
        return ["".join(piece.name if isinstance(piece, Code) else piece for piece in item) for item in self.pieces]

    @property
    def codes(self):
        """All codes in use, sorted."""
        return sorted({piece for item in self.pieces for piece in item if isinstance(piece, Code)})

    def identifiers(self, token_of):
        """I tuples of token ids, where ``token_of`` maps every one of ``codes`` to its token id."""
        return [tuple(token_of[s] if isinstance(s, Code) else s for s in item) for item in self.symbols]


def build_index(draft, items, encode):
    """Tokenise the identifiers of a draft and make them unique.

    Identifiers are compared as tokens, not as texts, since a tokenizer may merge texts. The first item of an identifier
    keeps it, in the draft's order. Another one gets a suffix where the identifier ends with text, `` (2)``, `` (3)``,
    ..., numbers that would give some other item's identifier being skipped; else one more code, of a level of its own.
    An item without pieces, or whose pieces have no tokens, is written ``item <token>``.

    Args:
        draft: the :class:`~recbole_genrec.catalogue.schemes.Draft` of I items.
        items: their raw tokens.
        encode: (list of texts, whether they follow on text of the same identifier) -> list of lists of token ids, in
            the context in which identifiers are generated.

    Returns:
        An :class:`ItemIndex`.

    Raises:
        GenRecError: the tokenizer cannot tell two items apart.
    """
    pieces, symbols, without_text = _written(draft, items, encode)
    order = range(len(items)) if draft.order is None else draft.order
    return ItemIndex(pieces, symbols, _resolve(pieces, symbols, order, encode), without_text, draft.facts)


def extend_index(index, draft, items, encode):
    """Make identifiers for more items; existing identifiers do not change.

    Args:
        index: the :class:`ItemIndex` of I items.
        draft: the :class:`~recbole_genrec.catalogue.schemes.Draft` of N more.
        items, encode: those of :func:`build_index`, for the new items.

    Returns:
        An :class:`ItemIndex` of I + N items.

    Raises:
        GenRecError: see :func:`build_index`.
    """
    pieces, symbols, without_text = _written(draft, items, encode)
    pieces, symbols = [*index.pieces, *pieces], [*index.symbols, *symbols]
    collisions = _resolve(pieces, symbols, range(len(pieces)), encode)  # in this order an earlier item keeps its own
    return ItemIndex(pieces, symbols, collisions, without_text, index.facts)


def _written(draft, items, encode):
    """Pieces and symbols of a draft's items, none of them empty, and how many are written as their raw token."""
    pieces = list(draft.pieces)
    symbols = _encode(pieces, encode)
    nameless = [index for index, identifier in enumerate(symbols) if not identifier]
    for index in nameless:
        pieces[index] = (f"item {items[index]}",)
    for index, identifier in zip(nameless, _encode([pieces[index] for index in nameless], encode)):
        symbols[index] = identifier
        if not identifier:
            raise GenRecError(f"The tokenizer gives {pieces[index][0]!r} no tokens: the item has no identifier.")
    return pieces, symbols, len(nameless)


def _encode(pieces, encode):
    """Symbols of some items' pieces.

    All texts that begin an identifier are encoded at once, and so are all that follow on text.
    """
    texts = {False: {}, True: {}}  # by whether it follows on text: dictionaries keep an order, and each text once
    for item in pieces:
        for piece, follows in _with_context(item):
            if not isinstance(piece, Code):
                texts[follows][piece] = None
    tokens = {follows: dict(zip(several, encode(list(several), follows))) for follows, several in texts.items()}
    return [
        tuple(
            symbol
            for piece, follows in _with_context(item)
            for symbol in ((piece,) if isinstance(piece, Code) else tokens[follows][piece])
        )
        for item in pieces
    ]


def _with_context(item):
    """Pieces of an item, each with whether it follows on text."""
    follows = [False, *(not isinstance(piece, Code) for piece in item[:-1])]
    return zip(item, follows)


def _resolve(pieces, symbols, order, encode):
    """Resolve collisions in place: later items get a suffix. Returns the number of items changed."""
    # all identifiers are known before any is changed, so a suffix never takes a real title away
    taken, repeated = set(), []
    for index in order:
        if symbols[index] in taken:
            repeated.append(index)
        taken.add(symbols[index])
    level = 1 + max((piece.level for item in pieces for piece in item if isinstance(piece, Code)), default=-1)
    next_number = {}  # by shared identifier: without it, n items of one title would try n^2 suffixes
    for index in repeated:
        shared = symbols[index]
        if isinstance(pieces[index][-1], Code):
            code = Code(level, next_number.get(shared, 0))
            pieces[index], symbols[index], number = (*pieces[index], code), (*shared, code), code.number
        else:
            number = next_number.get(shared, 2)
            pieces[index], symbols[index], number = _suffixed(pieces[index], number, encode, taken)
        taken.add(symbols[index])
        next_number[shared] = number + 1
    return len(repeated)


def _suffixed(pieces, number, encode, taken):
    """Find the first number from ``number`` on whose suffix makes ``pieces`` unique: (pieces, symbols, number)."""
    failed = set()
    while True:
        candidate = (*pieces[:-1], f"{pieces[-1]} ({number})")
        (symbols,) = _encode([candidate], encode)
        if symbols and symbols not in taken:
            return candidate, symbols, number
        if symbols in failed:
            raise GenRecError(
                f"The tokenizer cannot tell items apart: {candidate[-1]!r} and the same text with another number have "
                "the same tokens. Use a tokenizer that knows digits."
            )
        failed.add(symbols)
        number += 1


def pieces_to_json(pieces):
    """Pieces in a form that JSON can hold: a text as text, a code as ``[level, number]``."""
    return [[list(piece) if isinstance(piece, Code) else piece for piece in item] for item in pieces]


def pieces_from_json(stored):
    """The pieces that :func:`pieces_to_json` stored."""
    return [tuple(piece if isinstance(piece, str) else Code(*map(int, piece)) for piece in item) for item in stored]


def read_draft(path, items):
    """Read identifiers that a checkpoint keeps.

    Args:
        path: a checkpoint folder, or its ``items.json``.
        items: I raw item tokens in catalogue order.

    Returns:
        A :class:`~recbole_genrec.catalogue.schemes.Draft` of ``items``.

    Raises:
        GenRecError: the file cannot be read, or lacks an item.
    """
    path = Path(path).expanduser()
    path = path / "items.json" if path.is_dir() else path
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        pieces = dict(zip(stored["tokens"], pieces_from_json(stored["pieces"]), strict=True))
    except OSError as error:
        raise GenRecError(f"'item_index': cannot read {str(path)!r}: {error.strerror}.") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise GenRecError(f"'item_index': {str(path)!r} is not the items.json of a checkpoint.") from None
    missing = [item for item in items if str(item) not in pieces]
    if missing:
        raise GenRecError(
            f"'item_index': {str(path)!r} has no identifier for {len(missing)} of {len(items)} items, {missing[0]!r} "
            "the first: it belongs to another dataset or another filtering."
        )
    return Draft([pieces[str(item)] for item in items], {"read from": str(path)})
