"""Writing checkpoints: whole or not at all, and once what does not change."""

import os
import shutil

import pytest
import torch

from recbole_genrec import GenRecommender, NewItem
from recbole_genrec.checkpoint import checkpoint, training_state
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into, save_checkpoint
from recbole_genrec.checkpoint.folder import read_items, verify
from recbole_genrec.checkpoint.shared_files import SharedFiles
from recbole_genrec.checkpoint.training_state import TrainingState, optimizer_state
from recbole_genrec.errors import GenRecError

TRAINER = {"epoch": 3, "cur_step": 1, "best_valid_score": 0.1 + 0.2, "step": 12}
STATE = TrainingState(TRAINER)


def test_crash_while_writing_keeps_the_old_checkpoint(world, tmp_path, monkeypatch):
    config, model, _ = world()
    folder = tmp_path / "best"
    save_checkpoint(folder, model, config, STATE)

    def full_disk(path, optimizer):
        raise OSError("no space left")

    monkeypatch.setattr(training_state, "write_optimizer", full_disk)
    state = optimizer_state(torch.optim.AdamW(model.parameters()))
    with pytest.raises(GenRecError, match="best' cannot be written: no space"):
        save_checkpoint(folder, model, config, TrainingState({**TRAINER, "epoch": 4}, state))
    assert load_checkpoint_into(model, folder)["epoch"] == 3
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process of its own, with a limit on its files")
@pytest.mark.parametrize("limit", [1, 3_000, 30_000])
def test_a_disk_that_takes_no_more_keeps_the_old_checkpoint(world, tmp_path, limit):
    """Whichever file, and whichever library that writes it, meets the limit first."""
    import resource

    config, model, _ = world()
    folder, optimizer = tmp_path / "best", torch.optim.AdamW(model.parameters())
    model.backbone.embed(torch.tensor([[1]])).sum().backward()
    optimizer.step()
    save_checkpoint(folder, model, config, TrainingState(TRAINER, optimizer_state(optimizer)))
    largest = max(path.stat().st_size for path in folder.rglob("*"))
    child = os.fork()
    if not child:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            save_checkpoint(folder, model, config, TrainingState({**TRAINER, "epoch": 4}, optimizer_state(optimizer)))
        except GenRecError as error:
            code = 2 if "cannot be written" in str(error) and "\n" not in str(error) else 3
        finally:
            os._exit(code)
    assert largest > limit
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert load_checkpoint_into(model, folder)["epoch"] == 3
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_made(world, tmp_path):
    config, model, _ = world()
    (tmp_path / "file").write_text("")
    with pytest.raises(GenRecError, match="cannot be written: .*File exists"):
        save_checkpoint(tmp_path / "file" / "best", model, config, STATE)


def test_the_one_before_is_kept_where_it_is_asked_for(world, tmp_path):
    config, model, _ = world()
    last, previous = tmp_path / "last", tmp_path / "previous"
    for epoch in range(3):
        save_checkpoint(last, model, config, TrainingState({**TRAINER, "epoch": epoch}), previous)
    assert [load_checkpoint_into(model, folder)["epoch"] for folder in (last, previous)] == [2, 1]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "data") == ["last", "previous"]


def test_crash_between_the_renames_is_mended(world, tmp_path):
    config, model, _ = world()
    folder = tmp_path / "best"
    save_checkpoint(folder, model, config, STATE)
    folder.rename(tmp_path / ".best.old")
    assert verify(folder) == folder and folder.is_dir()
    assert load_checkpoint_into(model, folder)["epoch"] == 3


# ---- what the checkpoints of a run share ----

#: what training does not change.
UNCHANGED = ("items.json", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json")


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def inodes(folder, names=UNCHANGED):
    return [(folder / name).stat().st_ino for name in names]


@pytest.fixture
def saves(world, tmp_path):
    """A function that saves a run's checkpoint ``best`` or ``last``; gives its folder."""
    config, model, _ = world()
    shared, epochs = SharedFiles(), iter(range(100))

    def save(name="last"):
        with torch.no_grad():
            model.item_embedding.weight += 1
        previous = tmp_path / "previous" if name == "last" else None
        state = TrainingState({**TRAINER, "epoch": next(epochs)})
        save_checkpoint(tmp_path / name, model, config, state, previous, shared)
        return tmp_path / name

    save.model, save.config = model, config
    return save


def test_what_does_not_change_is_written_once(saves, tmp_path):
    last = saves()
    first = inodes(last)
    best, last = saves("best"), saves()
    assert inodes(best) == inodes(last) == inodes(tmp_path / "previous") == first
    names = ("extra.safetensors", "backbone/model.safetensors", "trainer.json")
    assert not set(inodes(last, names)) & set(inodes(best, names))
    for epoch, name in enumerate(("previous", "best", "last")):
        assert load_checkpoint_into(saves.model, tmp_path / name)["epoch"] == epoch
    save_checkpoint(tmp_path / "alone", saves.model, saves.config, STATE)
    alone, shared = content(tmp_path / "alone"), content(last)
    assert alone.keys() == shared.keys() and all(alone[name] == shared[name] for name in UNCHANGED)


@pytest.mark.parametrize("gone", ["previous", "best", "last"])
def test_a_checkpoint_is_complete_without_the_others(saves, tmp_path, gone):
    for name in ("last", "best", "last"):
        saves(name)
    shutil.rmtree(tmp_path / gone)
    for name in {"previous", "best", "last"} - {gone}:
        verify(tmp_path / name)
    verify(saves())


def _in_place(path):
    with path.open("r+b") as file:
        file.write(b" ")


def _replaced(path):
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes().replace(b"e", b"o", 1))
    copy.replace(path)


@pytest.mark.parametrize("change", [_in_place, _replaced, os.unlink])
@pytest.mark.parametrize("name", UNCHANGED[:2])
def test_a_file_that_somebody_has_changed_is_refused_and_not_handed_on(saves, tmp_path, change, name):
    best = saves("best")
    expected = (best / name).read_bytes()
    change(best / name)
    last = saves()
    with pytest.raises(GenRecError, match=f"{name} (has changed|is missing)"):
        verify(best)
    assert (verify(last) / name).read_bytes() == expected
    assert load_checkpoint_into(saves.model, last)["epoch"] == 1


def test_a_checkpoint_with_more_items_leaves_the_others_alone(saves, tmp_path):
    saves("best"), saves()
    before = content(tmp_path / "last")
    recommender = GenRecommender(tmp_path / "best", "cpu")
    recommender.add_items([NewItem("new", "Heat")])
    recommender.save(tmp_path / "best")
    assert "new" in read_items(verify(tmp_path / "best"))["tokens"]
    assert content(verify(tmp_path / "last")) == before
    verify(saves())


def test_copies_where_there_are_no_links(saves, tmp_path, monkeypatch):
    def no_links(source, target):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", no_links)
    folders = [saves("best"), saves(), saves("best")]
    assert len({(folder / "items.json").stat().st_ino for folder in folders}) == 2
    written = []
    monkeypatch.setattr(checkpoint, "write_items", lambda *arguments: written.append(arguments))
    assert (verify(saves()) / "items.json").is_file() and not written


def test_a_grown_tokenizer_is_written_anew(saves):
    saves("best")
    saves.model.backbone.tokenizer.add_tokens(["<new>"])
    assert "<new>" in (saves() / "tokenizer/tokenizer.json").read_text("utf-8")


def test_a_failed_save_is_no_source_of_links(saves, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training_state, "random_states", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            saves("best")
    assert not (tmp_path / "best").exists()
    verify(saves("best")), verify(saves())
