"""Latent semantic analysis: TF-IDF of terms, reduced by SVD. It needs no download and takes seconds.

Reference: Scott Deerwester et al. "Indexing by Latent Semantic Analysis", JASIS 1990.

What is learned, the terms with their weights and the directions, makes vectors of texts that come later.

Letters: I texts, V terms, D dimensions.
"""

from dataclasses import dataclass

import numpy as np

#: most dimensions of a vector.
DIMENSIONS = 128
#: a matrix with a side of at most so many rows is factorised by dense linear algebra.
DENSE = 300
#: words and pairs of words; or parts of words of 3 to 5 characters, which short titles have more often in common.
WORDS, PARTS = "words", "parts of words"
_TERMS = {
    WORDS: {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    PARTS: {"analyzer": "char_wb", "ngram_range": (3, 5)},
}


@dataclass(frozen=True, eq=False)
class Tfidf:
    """A fitted TF-IDF encoder."""

    #: ``words`` or ``parts of words``.
    kind: str
    #: the V terms that count, in the order of the other fields.
    terms: list
    #: weight of each term, its inverse document frequency ``[V]``.
    idf: np.ndarray
    #: leading right singular vectors ``[V, D]``; without a term, ``[0, 1]``.
    directions: np.ndarray

    @classmethod
    def fit(cls, texts, kind, random):
        """Learn terms and directions from texts.

        Words and pairs that stand in one text alone relate it to no other: they count only where fewer than
        :data:`DIMENSIONS` others are left.

        Args:
            texts: list of texts.
            kind: ``words`` or ``parts of words``.
            random: numpy's generator; it chooses where an iterative SVD starts.
        """
        vectorizer = _vectorizer(kind)
        if not any(vectorizer.build_analyzer()(text) for text in texts):
            return cls(kind, [], np.zeros(0), np.zeros((0, 1)))
        weights = vectorizer.fit_transform(texts)
        if kind == WORDS:
            in_texts = np.bincount(weights.indices, minlength=weights.shape[1])
            terms = vectorizer.get_feature_names_out()[in_texts > 1]
            if len(terms) >= DIMENSIONS:
                vectorizer = _vectorizer(kind, vocabulary=terms)
                weights = vectorizer.fit_transform(texts)
        directions = _directions(weights, random)
        if kind == WORDS:  # stored with checkpoints
            directions = directions.astype(np.float32)
        return cls(kind, vectorizer.get_feature_names_out().tolist(), vectorizer.idf_, directions)

    def encode(self, texts):
        """Vectors of texts ``[I, D]``, float64, of length 1; zero for a text without a known term."""
        if not self.terms or not texts:
            return np.zeros((len(texts), self.directions.shape[1]))
        vectorizer = _vectorizer(self.kind, vocabulary=self.terms)
        vectorizer.idf_ = self.idf
        vectors = vectorizer.transform(texts) @ self.directions
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(length > 1e-9, length, 1)


def _vectorizer(kind, vocabulary=None):
    from sklearn.feature_extraction.text import TfidfVectorizer  # who only ranks need not have it

    return TfidfVectorizer(sublinear_tf=True, vocabulary=vocabulary, **_TERMS[kind])


def _directions(weights, random):
    """The leading right singular vectors of a sparse matrix ``[I, V]``, with the largest values first ``[V, D]``."""
    from scipy.sparse.linalg import svds
    from threadpoolctl import threadpool_limits

    smallest = min(weights.shape)
    with threadpool_limits(1):  # several threads would add in any order
        if smallest <= max(DENSE, 2 * DIMENSIONS):
            _, values, directions = np.linalg.svd(weights.toarray(), full_matrices=False)
        else:
            _, values, directions = svds(weights, DIMENSIONS, v0=random.uniform(0.5, 1.5, smallest))
    leading = [row for row in np.argsort(-values)[:DIMENSIONS] if values[row] > 1e-9]
    return np.ascontiguousarray(directions[leading].T)
