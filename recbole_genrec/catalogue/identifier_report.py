"""A readable report on the identifiers of a catalogue."""

import numpy as np


def report(index, decisions):
    """Describe an index.

    Args:
        index: :class:`~recbole_genrec.catalogue.index.ItemIndex` of I items.
        decisions: for each item, tokens of its identifier at which the catalogue leaves a choice ``[I]``.

    Returns:
        List of pairs: what, and how much.
    """
    lengths = np.array([len(symbols) for symbols in index.symbols])
    levels = sorted({code.level for code in index.codes})
    counts = ", ".join(str(sum(code.level == level for code in index.codes)) for level in levels)
    return [
        ("items", f"{len(lengths):,}"),
        ("without text", f"{index.without_text:,}"),
        ("collisions resolved", f"{index.collisions:,}"),
        ("tokens an item", _spread(lengths)),
        ("decisions an item", _spread(np.asarray(decisions))),
        ("new tokens", f"{len(index.codes):,}" + (f", by level: {counts}" if len(levels) > 1 else "")),
        *((name, str(value)) for name, value in index.facts.items()),
    ]


def _spread(values):
    return f"{values.mean():.2f} ({values.min()} to {values.max()})"


def examples(items, texts, index, count=5):
    """Some items, evenly spread over the catalogue as it is sorted by identifiers.

    Returns:
        Rows: raw item token, its text, its identifier.
    """
    written = index.texts
    order = sorted(range(len(items)), key=written.__getitem__)
    places = [order[place] for place in np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)]
    return [(str(items[place]), texts[place] or "", written[place]) for place in places]
