"""Atomic files appear together, or nothing changes."""

import os

import pytest

from recbole_genrec import GenRecError
from recbole_genrec.interactions.converter import convert
from recbole_genrec.interactions.converter.atomic_writer import AtomicWriter
from recbole_genrec.interactions.converter.movielens import MovieLens


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, GenRecError])
def test_an_interrupted_conversion_leaves_nothing(ml_zip, tmp_path, monkeypatch, error):
    def interrupted(self, *args):
        raise error("stop")
        yield

    monkeypatch.setattr(MovieLens, "metadata", interrupted)
    before = tree(tmp_path)
    with pytest.raises(error):
        convert("ml-25m", ml_zip, tmp_path / "a" / "b", user_core=1)
    assert tree(tmp_path) == before


def test_an_interrupted_conversion_keeps_what_was_there(ml_zip, tmp_path, monkeypatch):
    convert("ml-25m", ml_zip, tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "ml-25m").iterdir()}

    def interrupted(self, *args):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(MovieLens, "metadata", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert("ml-25m", ml_zip, tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "ml-25m").iterdir()} == before


def test_a_conversion_replaces_an_earlier_one(ml_zip, tmp_path):
    convert("ml-25m", ml_zip, tmp_path, user_core=2)
    shorter = (tmp_path / "ml-25m/ml-25m.inter").read_bytes()
    convert("ml-25m", ml_zip, tmp_path)
    assert len((tmp_path / "ml-25m/ml-25m.inter").read_bytes()) > len(shorter)


def test_the_interactions_come_last(tmp_path, monkeypatch):
    moved = []
    replace = type(tmp_path).replace
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, to: moved.append(self.suffix) or replace(self, to))
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/tiny.inter").write_bytes(b"old")
    with AtomicWriter(tmp_path, "tiny") as writer:
        for suffix in ("inter", "user", "item"):
            writer.open(suffix).write(suffix.encode())
        assert (tmp_path / "tiny/tiny.inter").read_bytes() == b"old"
    assert sorted(moved[:2]) == [".item", ".user"] and moved[2:] == [".inter"]
    assert tree(tmp_path / "tiny") == ["tiny.inter", "tiny.item", "tiny.user"]
    assert (tmp_path / "tiny/tiny.inter").read_bytes() == b"inter"


def test_a_file_in_the_way(ml_zip, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(GenRecError, match="Cannot write .*out"):
        convert("ml-25m", ml_zip, tmp_path / "out")


def test_a_full_disk(ml_zip, tmp_path, monkeypatch):
    def full(self, *args):
        raise OSError(28, os.strerror(28))
        yield

    monkeypatch.setattr(MovieLens, "interactions", full)
    with pytest.raises(GenRecError, match=r"Cannot write .*ml-25m: No space left on device\."):
        convert("ml-25m", ml_zip, tmp_path / "out")
    assert not (tmp_path / "out").exists()
