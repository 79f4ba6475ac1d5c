"""Text vectors from one or several sources, and encoders for texts that come later.

A source is ``tfidf``, ``backbone``, or the folder or hub id of a sentence encoder; ``tfidf+/models/minilm`` are two.
The vectors of several stand side by side. Each is centred on the mean of the texts that training has seen, and scaled
so that the mean square of a vector's length is :data:`SQUARED_LENGTH`, to which all sources contribute the same share.

The length decides how fast the projection of these vectors learns: a step of Adam moves each of its entries by the
learning rate, so what it adds to an item moves in proportion to the sum of the entries, and to the number of dimensions
if their size is fixed.

Letters: I texts, D dimensions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.vectors.sentence_encoder import open_encoder
from recbole_genrec.vectors.tfidf import PARTS, WORDS, Tfidf
from recbole_genrec.vectors.vector_cache import cached, fingerprint_of_folder

NONE, TFIDF, BACKBONE = "none", "tfidf", "backbone"
#: of vectors, on the mean. On Amazon Toys, with 512 dimensions, GenRec's validation (NDCG@10) is .0747 after 6 epochs,
#: and .0589 with a squared length of 512, one for each dimension.
SQUARED_LENGTH = 32.0
#: changes where this code would make other vectors of the same texts.
VERSION = 1


def read_sources(value, key="text_vectors"):
    """The names of the sources that a setting joins with ``+``.

    Args:
        value: the setting, not ``none``.
        key: its name, for the message.

    Raises:
        GenRecError: a name is empty, comes twice, or is ``none``.
    """
    names = tuple(name.strip() for name in value.split("+"))
    if "" in names or NONE in names or len(set(names)) < len(names):
        raise GenRecError(
            f"{key!r} must be {TFIDF!r}, {BACKBONE!r}, a folder or hub id of a sentence encoder, or several different "
            f"ones with '+' between them, not {shown(value)}."
        )
    return names


@dataclass(frozen=True)
class Maker:
    """The arguments that sources need beside the texts."""

    #: the setting that names the sources, for messages.
    key: str = "text_vectors"
    #: branch, tag or commit of hub ids of sentence encoders.
    revision: str = "main"
    #: numpy's generator of a purpose, for TF-IDF; and the number that it follows from.
    random: Callable = partial(np.random.default_rng, 0)
    seed: int = 0
    device: str = "cpu"
    #: the backbone's own vectors: list of texts -> float array ``[I, D]``; ``None``: it has none.
    embed_texts: Callable | None = None
    #: the folder or hub id of the backbone, and its revision; ``None``: unknown, so its vectors are not cached.
    backbone: tuple | None = None
    #: whether vectors are cached on the disk.
    caches: bool = True
    #: sentence encoders that are loaded already, by name.
    opened: dict = field(default_factory=dict)

    def encode(self, name, texts):
        """Vectors ``[I, D]`` of texts by the source ``name``, which is not ``tfidf``.

        Raises:
            GenRecError: the source is missing or cannot be read.
        """
        if name == BACKBONE and self.embed_texts is None:
            raise GenRecError(
                f"'{self.key}: {BACKBONE}' needs a pretrained 'backbone': one from scratch knows no words yet. "
                f"Use {TFIDF!r} or a sentence encoder."
            )
        if not texts:
            return np.zeros((0, 1), np.float32)

        def make():
            if name == BACKBONE:
                return {"vectors": np.asarray(self.embed_texts(texts))}, {}
            if name not in self.opened:
                self.opened[name] = open_encoder(name, self.revision)
            return {"vectors": np.asarray(self.opened[name](texts, self.device))}, {}

        if not self.caches or (name == BACKBONE and self.backbone is None):
            return make()[0]["vectors"]
        key = {"version": VERSION, "source": name, "identity": self.identity(name), "texts": texts}
        return cached(key, make)[0]["vectors"]

    def fit(self, learned, kind):
        """The :class:`~recbole_genrec.vectors.tfidf.Tfidf` of texts; that of words is cached, as it is small."""
        if kind != WORDS:
            return Tfidf.fit(learned, kind, self.random())

        def make():
            tfidf = Tfidf.fit(learned, kind, self.random())
            return {"idf": tfidf.idf, "directions": tfidf.directions}, {"terms": tfidf.terms}

        key = {"version": VERSION, "source": TFIDF, "kind": kind, "seed": self.seed, "texts": learned}
        arrays, facts = cached(key, make)
        return Tfidf(kind, facts["terms"], arrays["idf"], arrays["directions"])

    def identity(self, name):
        """The identity of a source: the fingerprint of its folder, or its id and revision."""
        if name == TFIDF:
            return ""
        place, revision = (self.backbone or ("", "")) if name == BACKBONE else (name, self.revision)
        folder = Path(place).expanduser()
        return fingerprint_of_folder(folder) if place and folder.is_dir() else f"{place} {revision}"


def raw_vectors(value, texts, n_seen, maker):
    """Vectors ``[I, D]`` of texts as the sources give them, float64; TF-IDF of parts of words; zero without a text.

    For the schemes that compare what items say; see :meth:`TextVectors.learn` for those that a model reads.

    Args:
        value: the setting that names the sources.
        texts: I texts, ``""`` where there is none.
        n_seen: training has seen the first so many: TF-IDF learns from them; 0: from all.
        maker: :class:`Maker`.

    Raises:
        GenRecError: a source is missing or cannot be read.
    """
    parts = []
    for name in read_sources(value, maker.key):
        if name == TFIDF:
            parts.append(maker.fit(texts[:n_seen] or texts, PARTS).encode(texts))
        else:
            parts.append(maker.encode(name, texts))
    vectors = np.concatenate([np.asarray(part, np.float64) for part in parts], 1)
    vectors[[not text for text in texts]] = 0
    return vectors


@dataclass(frozen=True, eq=False)
class TextVectors:
    """An encoder of texts: the sources, fitted to the items seen in training."""

    #: the names of the sources, and what tells each from others of that name (:meth:`Maker.identity`).
    sources: tuple
    identities: tuple
    revision: str
    #: of ``tfidf``, where it is among the sources.
    tfidf: Tfidf | None
    #: what is subtracted from the vectors of each source ``[D]``, float32, and what they are multiplied with then.
    centres: tuple
    scales: tuple

    @classmethod
    def learn(cls, value, texts, seen, maker):
        """Learn from the texts of items.

        Args:
            value: the setting that names the sources.
            texts: I texts, ``""`` where there is none.
            seen: booleans ``[I]``, true for the items that training has seen; where none has a text, all count.
            maker: :class:`Maker`.

        Returns:
            :class:`TextVectors`, and the vectors of all texts, float32 ``[I, D]``.

        Raises:
            GenRecError: a source is missing or cannot be read.
        """
        names = read_sources(value, maker.key)
        written = np.array([bool(text) for text in texts], bool)
        learned = written & seen if (written & seen).any() else written
        tfidf = None
        if TFIDF in names:
            tfidf = maker.fit([text for text, taken in zip(texts, learned) if taken], WORDS)
        raw = _raw(names, tfidf, texts, maker)
        centres = tuple(_mean(part[learned]) for part in raw)
        scales = []
        for part, centre in zip(raw, centres):
            square = ((part[learned] - centre) ** 2).sum(1).mean() if learned.any() else 0.0
            scales.append(float(np.sqrt(SQUARED_LENGTH / len(names) / square)) if square > 1e-12 else 0.0)
        identities = tuple(map(maker.identity, names))
        made = cls(names, identities, maker.revision, tfidf, centres, tuple(scales))
        return made, made._finish(raw, written)

    @property
    def dimensions(self):
        """Number of dimensions, D."""
        return sum(len(centre) for centre in self.centres)

    def encode(self, texts, maker):
        """Vectors of texts, float32 ``[I, D]``; zero for one that is empty.

        Args:
            texts: I texts.
            maker: :class:`Maker`, of this ``revision``.

        Raises:
            GenRecError: a source is missing or cannot be read, or is another than the one that was learned with.
        """
        for name, identity in zip(self.sources, self.identities):
            if maker.identity(name) != identity:
                kind, place = ("backbone", maker.backbone[0]) if name == BACKBONE else ("sentence encoder", name)
                raise GenRecError(
                    f"New texts cannot get vectors: the {kind} {shown(place)} is not here, or another than in training."
                )
        written = np.array([bool(text) for text in texts], bool)
        return self._finish(_raw(self.sources, self.tfidf, texts, maker), written)

    def same_kind(self, other):
        """Whether another's vectors come from the same sources, so that a projection of them can start from its."""
        return (self.sources, self.identities) == (other.sources, other.identities)

    def _finish(self, raw, written):
        """Vectors ``[I, D]`` of those of each source, centred, scaled and side by side."""
        parts = [(part - centre) * scale for part, centre, scale in zip(raw, self.centres, self.scales)]
        return np.concatenate(parts, 1, dtype=np.float32, casting="same_kind") * written[:, None]


def _raw(names, tfidf, texts, maker):
    """Vectors of texts by each source, a list of float arrays ``[I, D]``; empty texts are not encoded, and zero."""
    places = [place for place, text in enumerate(texts) if text]
    given, raw = [texts[place] for place in places], []
    for name in names:
        found = tfidf.encode(given) if name == TFIDF else maker.encode(name, given)
        part = np.zeros((len(texts), found.shape[1]), np.float64)  # one entry wide without any text
        part[places] = found
        raw.append(part)
    return raw


def _mean(vectors):
    return vectors.mean(0).astype(np.float32) if len(vectors) else np.zeros(vectors.shape[1], np.float32)


@dataclass(frozen=True, eq=False)
class CatalogueVectors:
    """The vectors of a catalogue and their encoder."""

    made: TextVectors
    #: of the items in the catalogue's order, without padding, float32 ``[I, D]``.
    table: np.ndarray

    def padded(self):
        """A tensor by item id, with zeros for padding ``[I + 1, D]``."""
        return torch.from_numpy(np.concatenate([np.zeros_like(self.table[:1]), self.table]))

    def extended(self, more):
        """The vectors of a catalogue with more items, whose vectors are ``more [N, D]``."""
        return CatalogueVectors(self.made, np.concatenate([self.table, more]))
