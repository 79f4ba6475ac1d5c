"""Vectors of item texts, for the schemes that compare what items say.

Letters: I texts, D dimensions.
"""

import importlib.util

import numpy as np
from scipy.sparse.linalg import svds
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

from recbole_genrec.errors import GenRecError

TFIDF, BACKBONE = "tfidf", "backbone"
#: dimensions of the offline default.
DIMENSIONS = 128
#: a matrix with a side of at most so many rows is factorised by dense linear algebra.
DENSE = 300


def embed_items(given):
    """Vectors ``[I, D]`` of the texts of ``given``, made by its setting ``text_embedding``; zero without a text.

    What is learned from texts, words and their weights, is learned from those of the seen items.

    Raises:
        GenRecError: the source of embeddings is missing or cannot be loaded.
    """
    texts, source = [text or "" for text in given.texts], given.settings.text_embedding
    if source == TFIDF:
        vectors = _tfidf(texts[: given.n_seen] or texts, texts, given.random("embedding"))
    elif source == BACKBONE:
        if given.embed_texts is None:
            raise GenRecError(
                "'text_embedding: backbone' needs a pretrained 'backbone': one from scratch knows no words yet. "
                f"Use {TFIDF!r} or a sentence-transformers model."
            )
        vectors = given.embed_texts(texts)
    else:
        vectors = _sentence_transformer(source, given.settings.text_embedding_revision, texts)
    vectors = np.array(vectors, np.float64)
    vectors[[not text for text in texts]] = 0
    return vectors


def _tfidf(learned, texts, random):
    """Latent semantic analysis: TF-IDF of parts of words, reduced by SVD, rows of length 1.

    Parts of 3 to 5 characters: titles are short, and whole words would leave many without anything in common.
    """
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    if not any(vectorizer.build_analyzer()(text) for text in learned):
        return np.zeros((len(texts), 1))
    weights = vectorizer.fit_transform(learned)
    smallest = min(weights.shape)
    with threadpool_limits(1):  # several threads would add in any order
        if smallest <= max(DENSE, 2 * DIMENSIONS):
            _, values, directions = np.linalg.svd(weights.toarray(), full_matrices=False)
        else:
            _, values, directions = svds(weights, DIMENSIONS, v0=random.uniform(0.5, 1.5, smallest))
        leading = [row for row in np.argsort(-values)[:DIMENSIONS] if values[row] > 1e-9]
        vectors = vectorizer.transform(texts) @ directions[leading].T
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 1e-9, length, 1)


def _sentence_transformer(source, revision, texts):
    if importlib.util.find_spec("sentence_transformers") is None:
        raise GenRecError(
            f"'text_embedding: {source}' needs sentence-transformers: "
            f"pip install 'recbole_genrec[text]'. Without it: {TFIDF!r} or {BACKBONE!r}."
        )
    from sentence_transformers import SentenceTransformer

    try:
        model = SentenceTransformer(
            source, revision=revision, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise GenRecError(f"Cannot load the sentence-transformers model {source!r}: {reason}") from None
    return model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
