"""Sequential indexing: items are numbered as users come to them (SID in Hua et al. 2023, arXiv 2305.06569).

Items that were chosen one after the other have numbers that begin alike. The numbering that was published with P5 (Geng
et al. 2022) counts all interactions, users in order: a test item that no user has chosen before is then the highest
number so far plus one, so test items give themselves away. Here only training interactions count, users shuffled.
"""

import numpy as np

from recbole_genrec.catalogue.schemes import Draft, register
from recbole_genrec.catalogue.schemes.random_number import in_digits, next_numbers


@register("sequential", new_items=next_numbers)
def sequential_index(given):
    """Number the items as they first come, user after user; items unseen in training follow in random order."""
    sequences = given.sequences
    users = given.random("users").permutation(len(sequences.users))
    begin, end = sequences.offsets[:-1], sequences.offsets[1:]
    met = np.concatenate([sequences.items[begin[user] : end[user]] for user in users] or [np.zeros(0, np.int64)])
    items, first = np.unique(met, return_index=True)
    order = np.concatenate([items[np.argsort(first)], given.shuffled()[given.n_seen :]])
    number = np.empty(len(given.items), np.int64)
    number[order] = np.arange(len(given.items))
    return Draft(in_digits(number))
