"""Text vectors in a checkpoint: written, read, and refused where they are damaged."""

import json

import numpy as np
import pytest
import torch

from recbole_genrec.checkpoint.folder import read_tensors, verify, write_tensors
from recbole_genrec.checkpoint.vector_files import read_vectors, write_vectors
from recbole_genrec.errors import GenRecError
from recbole_genrec.vectors.text_vectors import CatalogueVectors, Maker, TextVectors
from tests.builders import SCRATCH, write_checkpoint, write_films

TEXTS = ["toy story", "toy box", "heat", "", "heat story"]


@pytest.fixture(params=["tfidf", "backbone", "tfidf+backbone"])
def vectors(request):
    def embed(texts):
        return np.array([[len(text), text.count("t"), 1.0] for text in texts], np.float32)

    maker = Maker(embed_texts=embed, backbone=("a/b", "main"))
    return CatalogueVectors(*TextVectors.learn(request.param, TEXTS, np.ones(5, bool), maker)), maker


def test_vectors_are_read_as_they_were_written(vectors, tmp_path):
    vectors, maker = vectors
    assert read_vectors(tmp_path, 5) is None
    write_vectors(tmp_path, vectors)
    again = read_vectors(tmp_path, 5)
    assert np.array_equal(again.table, vectors.table) and again.made.same_kind(vectors.made)
    texts = ["toy heat", "", "new"]
    assert np.array_equal(again.made.encode(texts, maker), vectors.made.encode(texts, maker))


@pytest.fixture
def stored(tmp_path):
    """A folder with the vectors of TF-IDF, and functions that change its two files."""
    write_vectors(tmp_path, CatalogueVectors(*TextVectors.learn("tfidf", TEXTS, np.ones(5, bool), Maker())))

    def change_facts(**changes):
        path = tmp_path / "text_vectors.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def change_arrays(**changes):
        path = tmp_path / "text_vectors.safetensors"
        arrays = read_tensors(path) | changes
        write_tensors(path, {name: array for name, array in arrays.items() if array is not None})

    return tmp_path, change_facts, change_arrays


@pytest.mark.parametrize(("changes", "message"), [
    ({"sources": "tfidf"}, "is 'tfidf', not a list"),
    ({"sources": []}, "as many sources as identities and scales"),
    ({"scales": [1.0, 2.0]}, "as many sources as identities and scales"),
    ({"sources": ["tfidf", "a"], "identities": ["", ""], "scales": [1.0, 1.0]}, "must hold table, centre.0, centre.1"),
    ({"scales": [float("nan")]}, "a scale that is not finite"),
    ({"terms": ["a"] * 8}, "a term twice"),
    ({"terms": ["heat"]}, "'idf' is"),
])  # fmt: skip
def test_facts_that_do_not_fit(stored, changes, message):
    folder, change_facts, _ = stored
    change_facts(**changes)
    with pytest.raises(GenRecError, match=rf"The checkpoint .* is damaged: text_vectors.*{message}"):
        read_vectors(folder, 5)


@pytest.mark.parametrize(("changes", "message"), [
    ({"table": torch.zeros(4, 2)}, r"'table' is \[4, 2\], not \[5, "),
    ({"idf": None}, "must hold table, centre.0, idf, directions"),
    ({"directions": torch.zeros(2)}, "as matrices or vectors"),
    ({"centre.0": torch.zeros(3)}, "'table' is"),
    ({"idf": torch.ones(9)}, "'idf' is"),
    ({"other": torch.ones(7)}, "must hold"),
])  # fmt: skip
def test_tensors_that_do_not_fit(stored, changes, message):
    folder, _, change_arrays = stored
    change_arrays(**changes)
    with pytest.raises(GenRecError, match=rf"is damaged: text_vectors.safetensors.*{message}"):
        read_vectors(folder, 5)
    with pytest.raises(GenRecError, match="damaged"):
        read_vectors(folder, 6)


def test_other_types_and_numbers(stored):
    folder, _, change_arrays = stored
    idf = read_tensors(folder / "text_vectors.safetensors")["idf"]
    change_arrays(idf=idf.long())
    with pytest.raises(GenRecError, match="must hold floats"):
        read_vectors(folder, 5)
    change_arrays(idf=idf * torch.nan)
    with pytest.raises(GenRecError, match="not finite"):
        read_vectors(folder, 5)


@pytest.mark.parametrize("name", ["text_vectors.json", "text_vectors.safetensors"])
def test_the_manifest_knows_both_files(tmp_path, write_dataset, name):
    settings = SCRATCH | {"data_path": write_films(write_dataset, tmp_path / "data"), "item_prior": True}
    write_checkpoint(tmp_path / "best", "GenRec", settings | {"text_vectors": "tfidf"})
    verify(tmp_path / "best")
    (tmp_path / "best" / name).unlink()
    with pytest.raises(GenRecError, match=f"is damaged: {name} is missing"):
        verify(tmp_path / "best")
