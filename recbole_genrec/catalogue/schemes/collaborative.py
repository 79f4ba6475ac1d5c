"""Collaborative indexing: an item's codes are its path in a tree of clusters of items that users choose together.

Reference: Wenyue Hua et al. "How to Index Item IDs for Recommendation Foundation Models", 2023, arXiv 2305.06569 (CID).

The tree comes from recursive spectral clustering (Ng, Jordan and Weiss 2001) of the graph of co-occurrences in
training. Deviations from the paper: items count as chosen together where they stand near each other in a history, which
bounds the work for long ones; degrees are regularised by their mean (Joseph and Yu 2016), since a sparse graph would
else split into a giant cluster and crumbs; a small node is split into fewer clusters; each level has its own tokens.
"""

import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from threadpoolctl import threadpool_limits

from recbole_genrec.catalogue.schemes import Code, Draft, register
from recbole_genrec.catalogue.schemes.clusters import k_means

#: how far apart in a history items may stand to count as chosen together.
WINDOW = 50
#: most pairs that are counted; the window is smaller where there would be more.
MOST_PAIRS = 100_000_000
#: a node of at most this many items is split by dense linear algebra.
DENSE = 300
#: restarts of the search for eigenvectors of larger nodes; those found by then are used.
MOST_RESTARTS = 300


@register("collaborative")
def collaborative_index(given):
    """Write the path of each item and its number in the leaf.

    Items unseen in training are spread at random below a separate branch of the root.
    """
    paths, facts = cluster_paths(given)
    pieces, size = [], {}
    for path in paths:
        number = size[path] = size.get(path, -1) + 1
        pieces.append((*path, Code(len(path), number)))
    facts["largest leaf"] = 1 + max(size.values(), default=-1)
    pieces += spread_unseen(given)
    return Draft(pieces, facts)


def cluster_paths(given):
    """Cluster the seen items.

    Returns:
        For each seen item a tuple of :class:`~recbole_genrec.catalogue.schemes.Code`, the clusters from the root to a
        leaf; and facts to report.
    """
    settings, random = given.settings, given.random("clusters")
    graph = co_occurrences(given.sequences, given.n_seen)
    paths, rest = [()] * given.n_seen, [np.arange(given.n_seen)]
    sizes = []
    while rest:  # level by level
        with threadpool_limits(1):  # several threads add in any order, and are slower for such small matrices
            split = [_split(graph, node, settings, random) for node in rest if len(node) > settings.cluster_leaf_size]
        sizes.append(sum(map(len, split)))
        for clusters in split:
            for number, items in enumerate(clusters):
                for item in items.tolist():
                    paths[item] += (Code(len(paths[item]), number),)
        rest = [items for clusters in split for items in clusters]
    facts = {
        "co-occurrences": f"{graph.nnz // 2:,} pairs of items",
        "clusters a level": ", ".join(map(str, sizes[:-1])) or "none",
        "leaves": len(set(paths)),
    }
    return paths, facts


def co_occurrences(sequences, n_items):
    """Count how often two items occur within a window of a history: a symmetric sparse array ``[n_items, n_items]``."""
    items = sequences.items
    user = np.repeat(np.arange(len(sequences.users)), np.diff(sequences.offsets))
    window = max(1, min(WINDOW, MOST_PAIRS // max(len(items), 1)))
    graph = csr_array((n_items, n_items))
    for distance in range(1, window + 1):
        same_user = user[:-distance] == user[distance:]
        if not same_user.any():
            break
        first = np.flatnonzero(same_user & (items[:-distance] != items[distance:]))
        graph += csr_array((np.ones(len(first)), (items[first], items[first + distance])), shape=graph.shape)
    return graph + graph.T


def _split(graph, node, settings, random):
    """Split the items ``node`` of the graph into at least two clusters, a list of arrays."""
    # clusters are uneven: twice as many as full ones would need keep the tree shallow
    n_clusters = min(settings.cluster_branches, -(-2 * len(node) // settings.cluster_leaf_size), len(node))
    vectors = _embed(graph[node][:, node], n_clusters, random)
    label = np.zeros(len(node), np.int64)
    if vectors.shape[1]:
        label, _ = k_means(vectors, n_clusters, random, n_init=4)
    clusters = [node[label == number] for number in np.unique(label)]
    if len(clusters) > 1:
        return clusters
    # the vectors do not separate these items: split them at random
    return [np.sort(part) for part in np.array_split(random.permutation(node), n_clusters)]


def _embed(graph, dimensions, random):
    """Spectral embedding: the leading eigenvectors of the normalised graph, a row of length 1 for each item."""
    degree, count = graph.sum(1), graph.shape[0]
    if not degree.any():
        return np.zeros((count, 0))
    scale = 1 / np.sqrt(degree + degree.mean())
    normalised = diags_array(scale) @ graph @ diags_array(scale)
    if count <= max(DENSE, 2 * dimensions):
        values, vectors = np.linalg.eigh(normalised.toarray())
    else:
        start = random.uniform(0.5, 1.5, count)
        try:
            # far more exact than k-means needs
            values, vectors = eigsh(normalised, dimensions, which="LA", v0=start, tol=1e-4, maxiter=MOST_RESTARTS)
        except ArpackNoConvergence as error:  # many equally separate clusters
            values, vectors = error.eigenvalues, error.eigenvectors
    vectors = vectors[:, -dimensions:][:, values[-dimensions:] > 1e-6]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 1e-9, length, 1)


def spread_unseen(given):
    """Codes for the items unseen in training: a branch beside the clusters, then a random place in a full tree."""
    count = len(given.items) - given.n_seen
    if count == 0:
        return []
    settings = given.settings
    branch, base = max(settings.cluster_branches, settings.cluster_leaf_size), max(settings.cluster_branches, 2)
    depth = 1
    while base**depth < count:
        depth += 1
    number = np.empty(count, np.int64)
    number[given.shuffled()[given.n_seen :] - given.n_seen] = np.arange(count)
    digits = number[:, None] // base ** np.arange(depth)[::-1] % base
    return [(Code(0, branch), *(Code(level, d) for level, d in enumerate(row, start=1))) for row in digits.tolist()]
