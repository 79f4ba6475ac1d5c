"""SVD indexing: an item's codes are its quantised latent factors.

Reference: Aleksandr Petrov and Craig Macdonald "Generative Sequential Recommendation with GPTRec", 2023, arXiv
2306.11114 (SVD tokenisation). Items whose factors fall into the same bins get one more code; in the paper they
have the same identifier.
"""

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from recbole_genrec.catalogue.schemes import Code, Draft, register

#: standard deviation of the noise that separates items with equal factors; factors are scaled to a range of 1.
NOISE = 1e-5
#: a matrix whose smaller side is at most this long is factorised by dense linear algebra.
DENSE = 300


@register("svd")
def svd_index(given):
    """Write one code for each latent dimension: the bin of the item's factor. All bins hold equally many items.

    Items unseen in training have no factors; each of their codes is drawn at random.
    """
    dimensions, bins = given.settings.svd_dimensions, given.settings.svd_bins
    random = given.random("noise")
    factors = item_factors(given.sequences, given.n_seen, dimensions, random)
    spread = np.ptp(factors, axis=0) if given.n_seen else 1
    factors = (factors - factors.min(0, initial=np.inf)) / np.where(spread > 1e-9, spread, 1)
    factors += NOISE * random.standard_normal(factors.shape)
    rank = factors.argsort(0, kind="stable").argsort(0, kind="stable")
    seen = rank * bins // max(given.n_seen, 1)
    unseen = given.random("unseen").integers(bins, size=(len(given.items) - given.n_seen, dimensions))
    pieces = [
        tuple(Code(level, number) for level, number in enumerate(row))
        for row in np.concatenate([seen, unseen]).tolist()
    ]
    used = ", ".join(str(len(np.unique(seen[:, level]))) for level in range(dimensions))
    return Draft(pieces, {"bins in use, by dimension": f"{used} of {bins}"})


def item_factors(sequences, n_items, dimensions, random):
    """Right singular vectors of the matrix of users and items, in order of decreasing singular value.

    Returns:
        ``[n_items, dimensions]``; zeros where the rank of the matrix is too low.
    """
    user = np.repeat(np.arange(len(sequences.users)), np.diff(sequences.offsets))
    matrix = csr_array((np.ones(len(user)), (user, sequences.items)), shape=(len(sequences.users), n_items))
    matrix.data[:] = 1  # duplicates have been added up
    factors = np.zeros((n_items, dimensions))
    smallest = min(matrix.shape)
    if smallest <= max(DENSE, 2 * dimensions):
        _, values, vectors = np.linalg.svd(matrix.toarray(), full_matrices=False)
    else:
        _, values, vectors = svds(matrix, dimensions, v0=random.uniform(0.5, 1.5, smallest))
    leading = [row for row in np.argsort(-values)[:dimensions] if values[row] > 1e-9]
    for column, row in enumerate(leading):
        vector = vectors[row]
        factors[:, column] = vector * np.sign(vector[np.abs(vector).argmax()])  # either sign is a solution
    return factors
