"""Random indexing: every item is a random number, written in digits (RID in Hua et al. 2023, arXiv 2305.06569).

A control: items with common digits have nothing else in common.
"""

import numpy as np

from recbole_genrec.catalogue.schemes import Draft, register


def in_digits(number_of_item):
    """Write numbers ``[I]``, a permutation of 0 to I - 1, with one piece a digit and leading zeros.

    Digit by digit: a tokenizer may merge several digits, so that numbers with a common beginning would lose it.
    """
    width = len(str(len(number_of_item) - 1))
    return [tuple(f"{number:0{width}d}") for number in number_of_item.tolist()]


def next_numbers(pieces, texts):
    """Name items by the numbers after those of ``pieces``, with as many leading zeros."""
    highest, width = max(int("".join(item)) for item in pieces), len(pieces[0])
    return [tuple(f"{number:0{width}d}") for number in range(highest + 1, highest + 1 + len(texts))]


@register("random", new_items=next_numbers)
def random_index(given):
    """Number the items in random order; items unseen in training come last, also in random order."""
    number = np.empty(len(given.items), np.int64)
    number[given.shuffled()] = np.arange(len(given.items))
    return Draft(in_digits(number))
