"""Files and folders that appear whole or not at all."""

import os

import pytest

from recbole_genrec.files import write
from recbole_genrec.files.write import replacing, replacing_folder, settle, write_text


def test_a_file_replaces_another_in_a_folder_that_is_made(tmp_path):
    write_text(tmp_path / "a/x.json", "1")
    write_text(tmp_path / "a/x.json", "é")
    assert (tmp_path / "a/x.json").read_bytes() == "é".encode()
    assert os.listdir(tmp_path / "a") == ["x.json"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "x", "old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_text() == "old"


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(write, "sync", lambda path: synced.append((path.read_text(), (tmp_path / "x").exists())))
    write_text(tmp_path / "x", "all")
    assert synced == [("all", False)]


def test_several_processes_write_under_names_of_their_own(tmp_path, monkeypatch):
    with replacing(tmp_path / "x", shared=True) as mine:
        monkeypatch.setattr(os, "getpid", lambda: 1)
        with replacing(tmp_path / "x", shared=True) as other:
            assert mine != other
            other.write_text("other")
        mine.write_text("mine")
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_text() == "mine"


def folder_with(folder, text):
    with replacing_folder(folder) as fresh:
        (fresh / "x").write_text(text)


def test_a_folder_replaces_another_and_keeps_it_where_it_is_asked_to(tmp_path):
    for number in range(3):
        with replacing_folder(tmp_path / "a/last", tmp_path / "a/previous") as fresh:
            assert not list(fresh.iterdir())
            (fresh / "x").write_text(str(number))
    assert sorted(os.listdir(tmp_path / "a")) == ["last", "previous"]
    assert [(tmp_path / "a" / name / "x").read_text() for name in ("previous", "last")] == ["1", "2"]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path):
    folder_with(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt), replacing_folder(tmp_path / "a") as fresh:
        (fresh / "x").write_text("half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a/x").read_text() == "old"


def test_a_crash_at_any_moment_leaves_the_old_or_the_new_folder(tmp_path, monkeypatch):
    """Each rename and removal in turn is the last thing that happens; then somebody looks, and writes again."""
    calls, rename, remove = [], write.Path.rename, write.shutil.rmtree

    def dying(call):
        def step(*arguments, **options):
            calls.append(call)
            if len(calls) > moment:
                raise SystemExit
            return call(*arguments, **options)

        return step

    for moment in range(20):
        folder = tmp_path / str(moment) / "a"
        folder_with(folder, "old")
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(write.Path, "rename", dying(rename))
            patch.setattr(write.shutil, "rmtree", dying(remove))
            try:
                folder_with(folder, "new")
                break
            except SystemExit:
                pass
        settle(folder)
        assert (folder / "x").read_text() in ("old", "new")
        folder_with(folder, "newer")
        assert os.listdir(folder.parent) == ["a"] and (folder / "x").read_text() == "newer"
    assert moment > 3


def test_the_working_folder_settles(tmp_path, monkeypatch):
    folder_with(tmp_path / "a", "old")
    monkeypatch.chdir(tmp_path / "a")
    settle(".")
    assert os.listdir() == ["x"]
