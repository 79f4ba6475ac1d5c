"""Sequential indexing: items are numbered along users' histories (SID in Hua et al. 2023, arXiv 2305.06569).

Items chosen one after the other have numbers that begin alike. The numbering published with P5 (Geng et al. 2022)
counts all interactions, users in order. There, a test item that no user has chosen before is the highest number so far
plus one, which gives test items away. Here only training interactions count, and users are shuffled.
"""

import numpy as np

from recbole_genrec.catalogue.schemes import Draft, register
from recbole_genrec.catalogue.schemes.random_number import in_digits, next_numbers


@register("sequential", new_items=next_numbers)
def sequential_index(given):
    """Number items by first occurrence, user after user; items unseen in training follow in random order."""
    sequences = given.sequences
    users = given.random("users").permutation(len(sequences.users))
    begin, end = sequences.offsets[:-1], sequences.offsets[1:]
    met = np.concatenate([sequences.items[begin[user] : end[user]] for user in users] or [np.zeros(0, np.int64)])
    items, first = np.unique(met, return_index=True)
    order = np.concatenate([items[np.argsort(first)], given.shuffled()[given.n_seen :]])
    number = np.empty(len(given.items), np.int64)
    number[order] = np.arange(len(given.items))
    return Draft(in_digits(number))
