"""K-means for the schemes that group items."""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning


def k_means(points, n_clusters, random, n_init=1):
    """Cluster points, into fewer clusters if there are fewer distinct points.

    Args:
        points: ``[N, D]``, N at least 1.
        n_clusters: maximum number of clusters.
        random: a numpy generator.
        n_init: number of starts; the best result is kept.

    Returns:
        The cluster of each point ``[N]`` and the centres ``[clusters, D]``.
    """
    n_distinct = len(np.unique(points.round(6), axis=0))
    means = KMeans(min(n_clusters, n_distinct), n_init=n_init, random_state=int(random.integers(2**31)))
    with warnings.catch_warnings():  # centres of points that differ by rounding only may coincide
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(points)
    return means.labels_, means.cluster_centers_
