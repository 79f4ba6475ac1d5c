"""Text vectors in a checkpoint: those of its items, and the encoder for texts that come later.

``text_vectors.json`` names the sources, with scales and, of TF-IDF, the terms; ``text_vectors.safetensors`` holds

* ``table [I, D]``: the vectors of the items,
* ``centre.0 [D]``, ``centre.1``, ...: what is subtracted from the vectors of each source,
* ``idf [V]`` and ``directions [V, D]``: weights of TF-IDF's terms, and its SVD.

Letters: I items, V terms, D dimensions.
"""

from math import isfinite
from pathlib import Path

import torch

from recbole_genrec.checkpoint.folder import damage_of, read_json, read_tensors, write_json, write_tensors
from recbole_genrec.errors import GenRecError
from recbole_genrec.vectors.text_vectors import TFIDF, CatalogueVectors, TextVectors
from recbole_genrec.vectors.tfidf import WORDS, Tfidf

JSON_NAME, TENSORS_NAME = "text_vectors.json", "text_vectors.safetensors"


def write_vectors(folder, vectors):
    """Write :class:`~recbole_genrec.vectors.text_vectors.CatalogueVectors` into a checkpoint."""
    made = vectors.made
    facts = {
        "sources": list(made.sources),
        "identities": list(made.identities),
        "revision": made.revision,
        "scales": list(made.scales),
        "terms": [] if made.tfidf is None else made.tfidf.terms,
    }
    arrays = {"table": vectors.table, **{f"centre.{place}": centre for place, centre in enumerate(made.centres)}}
    if made.tfidf is not None:
        arrays |= {"idf": made.tfidf.idf, "directions": made.tfidf.directions}
    write_json(folder / JSON_NAME, facts)
    write_tensors(folder / TENSORS_NAME, {name: torch.from_numpy(array) for name, array in arrays.items()})


def read_vectors(folder, n_items):
    """Read the vectors of a checkpoint; no encoder is loaded.

    Args:
        folder: the checkpoint.
        n_items: how many items it has, I.

    Returns:
        :class:`~recbole_genrec.vectors.text_vectors.CatalogueVectors`, or ``None`` where it has none.

    Raises:
        GenRecError: a file is missing or damaged, or the shapes do not fit; the message names the checkpoint.
    """
    folder = Path(folder)
    if not (folder / JSON_NAME).is_file():
        return None
    with damage_of(folder):
        facts = read_json(folder / JSON_NAME)
        arrays = {name: tensor.numpy() for name, tensor in read_tensors(folder / TENSORS_NAME).items()}
        _check(facts, arrays, n_items)
    tfidf = None
    if TFIDF in facts["sources"]:
        tfidf = Tfidf(WORDS, facts["terms"], arrays["idf"], arrays["directions"])
    centres = tuple(arrays[f"centre.{place}"] for place in range(len(facts["sources"])))
    lists = (tuple(facts[name]) for name in ("sources", "identities"))
    made = TextVectors(*lists, facts["revision"], tfidf, centres, tuple(facts["scales"]))
    return CatalogueVectors(made, arrays["table"])


def _check(facts, arrays, n_items):
    """Refuse lists and arrays that do not fit each other."""
    sources, terms = facts["sources"], facts["terms"]
    if not sources or not len(sources) == len(facts["identities"]) == len(facts["scales"]):
        raise GenRecError(f"{JSON_NAME} must name as many sources as identities and scales.")
    if not all(map(isfinite, facts["scales"])):
        raise GenRecError(f"{JSON_NAME} has a scale that is not finite.")
    if len(set(terms)) < len(terms):
        raise GenRecError(f"{JSON_NAME} has a term twice.")
    ranks = {"table": 2, **{f"centre.{place}": 1 for place in range(len(sources))}}
    if TFIDF in sources:
        ranks |= {"idf": 1, "directions": 2}
    if arrays.keys() != ranks.keys() or any(arrays[name].ndim != rank for name, rank in ranks.items()):
        raise GenRecError(f"{TENSORS_NAME} must hold {', '.join(ranks)}, as matrices or vectors.")
    widths = [len(arrays[f"centre.{place}"]) for place in range(len(sources))]
    expected = {"table": (n_items, sum(widths))}
    if TFIDF in sources:
        expected |= {"idf": (len(terms),), "directions": (len(terms), widths[sources.index(TFIDF)])}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise GenRecError(f"{TENSORS_NAME}: {name!r} is {list(arrays[name].shape)}, not {list(shape)}.")
    if any(array.dtype.kind != "f" for array in arrays.values()):
        raise GenRecError(f"{TENSORS_NAME} must hold floats.")
