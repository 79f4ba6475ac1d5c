"""The most central of some texts: a summary that is picked, not generated, for generated ones to be compared with.

Reference: Günes Erkan, Dragomir R. Radev. "LexRank: Graph-based Lexical Centrality as Salience in Text Summarization",
JAIR 2004. A sentence is as central as it is similar to all others, by the cosine of TF-IDF vectors: the paper's degree
centrality with weights in the place of a threshold. The sum of a text's cosines with all others is its product with
the sum of all vectors, so the cost grows with the number of texts, not with its square.

Letters: S texts, V terms, P places.
"""

import numpy as np


class CentralTexts:
    """Picks the most central text among those of some places.

    Args:
        texts: by place, a list of texts. All of them together give the terms their weights.
    """

    def __init__(self, texts):
        self.texts = [text for of_place in texts.values() for text in of_place]
        ends = np.cumsum([len(of_place) for of_place in texts.values()])
        self._rows = {place: range(end - len(texts[place]), end) for place, end in zip(texts, ends.tolist())}
        self.vectors, self._picked = _vectors(self.texts), {}

    def pick(self, places):
        """The most central text of some places ``[P]``, the first of equal ones; ``""`` if they have none."""
        key = places.tobytes()
        if key not in self._picked:
            rows = [row for place in places.tolist() for row in self._rows.get(place, ())]
            self._picked[key] = self.texts[rows[int(np.argmax(self.centrality(rows)))]] if rows else ""
        return self._picked[key]

    def centrality(self, rows):
        """Sum of the cosines of each of the texts in ``rows`` with all of them ``[S]``."""
        vectors = self.vectors[rows]
        return np.round(vectors @ np.asarray(vectors.sum(0)).ravel(), 9)  # equal texts stay equal


def _vectors(texts):
    """TF-IDF vectors of length 1, sparse ``[S, V]``; a text without a word has zeros alone."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer  # who only ranks need not have it

    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b")
    words = vectorizer.build_analyzer()
    if not any(words(text) for text in texts):
        return csr_matrix((len(texts), 1))
    return vectorizer.fit_transform(texts)
