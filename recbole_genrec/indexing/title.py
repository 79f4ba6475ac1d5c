"""Title indexing: an item's identifier is the tokens of its text (GenRec, Ji et al. 2023, arXiv 2307.00457).

Deviation from the reference code: two items never share an identifier. By title alone, 45 items of ml-100k would.
"""

from recbole_genrec.errors import GenRecError
from recbole_genrec.indexing import ItemIndex, register


@register("title")
def title_index(items, texts, encode):
    """Build identifiers from item texts.

    The first item of a text keeps it; the others get `` (2)``, `` (3)``, ... in catalogue order, numbers that would
    give some other item's identifier being skipped. Identifiers are compared, not texts, since a tokenizer may merge
    texts. An item without text, or whose text has no tokens, is written ``item <token>``.
    """
    texts, without_text = list(texts), 0
    identifiers = [tuple(encode(text)) if text else () for text in texts]
    for position, item in enumerate(items):
        if not identifiers[position]:
            texts[position] = f"item {item}"
            identifiers[position] = tuple(encode(texts[position]))
            without_text += 1
            if not identifiers[position]:
                raise GenRecError(f"The tokenizer gives {texts[position]!r} no tokens, so the item has no identifier.")
    return ItemIndex(identifiers, texts, _resolve_collisions(identifiers, texts, encode), without_text)


def _resolve_collisions(identifiers, texts, encode):
    """Give every item but the first of an identifier a suffix, in place; returns how many got one."""
    # all unsuffixed identifiers are known before any suffix is chosen, so a suffix never takes a real title away
    taken, repeated = set(), []
    for position, identifier in enumerate(identifiers):
        if identifier in taken:
            repeated.append(position)
        taken.add(identifier)
    next_number = {}  # by shared identifier: without it, n items of one title would try n^2 suffixes
    for position in repeated:
        shared = identifiers[position]
        number = next_number.get(shared, 2)
        texts[position], identifiers[position], number = _suffixed(texts[position], number, encode, taken)
        taken.add(identifiers[position])
        next_number[shared] = number + 1
    return len(repeated)


def _suffixed(text, number, encode, taken):
    """Find the first number from ``number`` on whose suffix makes ``text`` unique: (new text, identifier, number)."""
    failed = set()
    while True:
        candidate = f"{text} ({number})"
        identifier = tuple(encode(candidate))
        if identifier and identifier not in taken:
            return candidate, identifier, number
        if identifier in failed:
            raise GenRecError(
                f"The tokenizer cannot tell items apart: {candidate!r} and the same text with another number have the "
                "same tokens. Use a tokenizer that knows digits."
            )
        failed.add(identifier)
        number += 1
