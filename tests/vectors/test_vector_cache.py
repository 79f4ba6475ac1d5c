"""The cache of arrays by content."""

from logging import WARNING

import numpy as np
import pytest

from recbole_genrec.vectors.vector_cache import cache_folder, cached, fingerprint_of_folder

ARRAYS = {"vectors": np.arange(6, dtype=np.float32).reshape(2, 3), "idf": np.array([1.5])}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RECBOLE_GENREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def ask():
    """Ask the cache for a key; gives what it gave, and whether it was made."""

    def ask(key, facts=("a",)):
        made = []

        def make():
            made.append(key)
            return ARRAYS, {"terms": list(facts)}

        arrays, facts = cached(key, make)
        assert arrays.keys() == ARRAYS.keys()
        assert all(
            np.array_equal(arrays[name], array) and arrays[name].dtype == array.dtype for name, array in ARRAYS.items()
        )
        return facts, bool(made)

    return ask


def test_arrays_are_made_once_for_each_key(folder, ask):
    assert ask({"texts": ["Heat"]}) == ({"terms": ["a"]}, True)
    assert ask({"texts": ["Heat"]}, ["b"]) == ({"terms": ["a"]}, False)
    assert ask({"texts": ["Heat", "Up"]}, ["b"]) == ({"terms": ["b"]}, True)
    assert len(list(folder.iterdir())) == 2 and all(path.suffix == ".safetensors" for path in folder.iterdir())


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "other"])
def test_a_damaged_file_is_made_anew(folder, ask, damage, caplog):
    ask("key")
    (path,) = folder.iterdir()
    content = path.read_bytes()
    changed = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes({"truncated": content[:-5], "changed": changed, "empty": b"", "other": b"{}"}[damage])
    with caplog.at_level(WARNING):
        assert ask("key") == ({"terms": ["a"]}, True)
    assert "is damaged and made anew" in caplog.text
    assert len(path.read_bytes()) == len(content)
    assert ask("key")[1] is False


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch, ask, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECBOLE_GENREC_CACHE", str(tmp_path / "file/cache"))
    with caplog.at_level(WARNING):
        assert ask("key")[1] and ask("key")[1]
    assert "cannot be written" in caplog.text


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("RECBOLE_GENREC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "recbole_genrec"


def test_a_fingerprint_follows_names_and_content(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_genrec.vectors.vector_cache._ENDS", 4)
    seen = set()
    for files in (
        {"a": b"x"},
        {"b": b"x"},
        {"a": b"y"},
        {"a": b"x", "b/c": b""},
        {"a": b"1234567890"},
        {"a": b"1234567891"},
    ):
        folder = tmp_path / str(len(seen))
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        seen.add(fingerprint_of_folder(folder))
        assert fingerprint_of_folder(folder) in seen
    assert len(seen) == 6
