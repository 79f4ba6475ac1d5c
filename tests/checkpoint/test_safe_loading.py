"""Files that come from somebody else run no code: pickles in the place of every file that the package reads."""

import json
import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from recbole_genrec import GenRecError, GenRecommender, run_recbole_genrec
from recbole_genrec.chat.reply_cache import AnswerCache
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into, save_checkpoint
from recbole_genrec.checkpoint.folder import fingerprint
from recbole_genrec.checkpoint.training_state import optimizer_state
from recbole_genrec.config.yaml_settings import parse_value, read_yaml
from recbole_genrec.evaluation.outcomes import Outcomes
from recbole_genrec.prompt.question_prompts import load_questions
from recbole_genrec.prompt.task_prompts import load_tasks
from recbole_genrec.prompt.template import load_template
from recbole_genrec.report.stored_runs import read_results
from recbole_genrec.runs.reopen import load_as_recbole
from recbole_genrec.runs.search_space import read_space
from recbole_genrec.serve.export import export
from tests.builders import SCRATCH, STATE, write_base, write_checkpoint, write_films

# isort: split
# stock RecBole imports only once the plugin's patches are in place


pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.* is deprecated:FutureWarning")


class Malicious:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, mark):
        self.mark = Path(mark)

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def mark(tmp_path):
    """The file that is there if code has run; the test fails where it is at its end."""
    path = tmp_path / "code-has-run"
    yield path
    assert not path.exists()


@pytest.fixture
def pickled(mark):
    """Bytes that leave the mark when somebody unpickles them: the plain form, and torch's."""
    path = mark.with_name("evil.pth")
    torch.save({"state_dict": Malicious(mark)}, path)
    return {"plain": pickle.dumps(Malicious(mark)), "torch": path.read_bytes()}


def test_the_malicious_files_work(tmp_path):
    """The other tests would hold of files that do nothing."""
    for number, read in enumerate((pickle.load, partial(torch.load, weights_only=False))):
        mark, path = tmp_path / f"mark{number}", tmp_path / "evil"
        if number:
            torch.save(Malicious(mark), path)
        else:
            path.write_bytes(pickle.dumps(Malicious(mark)))
        with open(path, "rb") as file:
            read(file)
        assert mark.exists()


# ---- checkpoints and backbones ----


@pytest.fixture
def checkpoint(tmp_path, write_dataset, monkeypatch):
    """A function that stores a small GenRec in ``best``; gives its configuration and model."""
    monkeypatch.chdir(tmp_path)
    data_path = write_films(write_dataset, tmp_path / "data")

    def build(**settings):
        config, model, _ = write_checkpoint("best", "GenRec", {"data_path": data_path, **SCRATCH, **settings})
        optimizer = optimizer_state(torch.optim.AdamW(model.parameters()))
        save_checkpoint("best", model, config, replace(STATE, optimizer=optimizer, average=[torch.zeros(1)]))
        return config, model

    return build


def forge(folder, name, content):
    """Replace a file of a checkpoint, and let the manifest say that it is right."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["files"][name] = fingerprint(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


READERS = {
    "extra.safetensors": "weights",
    "backbone/model.safetensors": "weights",
    "items.json": "weights",
    "trainer.json": "weights",
    "optimizer.safetensors": "training",
    "optimizer.json": "training",
    "config.json": "settings",
    "manifest.json": "settings",
}


@pytest.mark.parametrize("kind", ["plain", "torch"])
@pytest.mark.parametrize("name", READERS)
def test_a_pickle_in_a_checkpoint_is_refused(checkpoint, tmp_path, pickled, name, kind):
    _, model = checkpoint()
    folder = tmp_path / "best"
    if name == "manifest.json":
        (folder / name).write_bytes(pickled[kind])
    else:
        forge(folder, name, pickled[kind])
    with pytest.raises(GenRecError, match=f"damaged: {Path(name).name}"):
        if READERS[name] == "settings":
            load_as_recbole(folder)
        else:
            optimizer = torch.optim.AdamW(model.parameters()) if READERS[name] == "training" else None
            load_checkpoint_into(model, folder, optimizer)


CALL = "!!python/object/apply:pathlib.Path.touch\nargs: [!!python/object/apply:pathlib.Path [{mark}]]\n"


def test_a_yaml_of_a_checkpoint_that_calls_python_is_refused(checkpoint, tmp_path, mark):
    checkpoint()
    forge(tmp_path / "best", "prompt.yaml", CALL.format(mark=mark).encode())
    with pytest.raises((GenRecError, yaml.YAMLError)):
        GenRecommender.from_checkpoint(tmp_path / "best")


@pytest.mark.parametrize("read", [read_yaml, load_template, load_tasks, load_questions], ids=lambda read: read.__name__)
def test_a_yaml_that_calls_python_is_refused(tmp_path, mark, read):
    path = tmp_path / "mine.yaml"
    path.write_text(CALL.format(mark=mark), "utf-8")
    with pytest.raises(GenRecError, match="mine.yaml"):
        read(str(path))


def test_values_and_search_spaces_are_not_evaluated(tmp_path, mark):
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    assert parse_value("item_text", code) == code
    with pytest.raises(GenRecError, match="not valid YAML"):
        parse_value("topk", f"!!python/object/apply:pathlib.Path.touch [{mark}]")
    path = tmp_path / "genrec.space"
    path.write_text(f"topk choice [{code}]\n", "utf-8")
    with pytest.raises(GenRecError, match="line 1"):
        read_space(path, {"topk"}, "random")


@pytest.mark.parametrize("kind", ["plain", "torch"])
def test_pickled_weights_of_a_backbone_are_refused(checkpoint, tmp_path, pickled, kind):
    folder = write_base(tmp_path / "base")
    (tmp_path / "base/model.safetensors").unlink()
    (tmp_path / "base/pytorch_model.bin").write_bytes(pickled[kind])
    message = r"base': it has no model\.safetensors\. .* a pickle, such as pytorch_model\.bin, can run code"
    with pytest.raises(GenRecError, match=message):
        checkpoint(backbone=folder)
    (tmp_path / "base/model.safetensors").write_bytes(pickled[kind])
    with pytest.raises(Exception, match="(?i)header"):
        checkpoint(backbone=folder)


@pytest.mark.parametrize("kind", ["plain", "torch"])
def test_pickles_beside_a_checkpoints_weights_are_not_looked_at(checkpoint, tmp_path, pickled, kind):
    checkpoint()
    shutil.copytree("best", "forged")
    for name in ("pytorch_model.bin", "backbone/pytorch_model.bin", "tokenizer/tokenizer.bin"):
        forge(tmp_path / "forged", name, pickled[kind])
    expected, found = (GenRecommender.from_checkpoint(folder).recommend([["Heat"]]) for folder in ("best", "forged"))
    assert found == expected
    for folder in ("best", "forged"):
        export(folder, f"{folder}-plain", merged=True)
    assert Path("forged-plain/model.safetensors").read_bytes() == Path("best-plain/model.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["plain", "torch"])
def test_a_checkpoint_with_nothing_but_pickled_weights_is_refused(checkpoint, tmp_path, pickled, kind):
    folder = tmp_path / "best"
    checkpoint()
    (folder / "backbone/model.safetensors").rename(tmp_path / "aside")
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    del manifest["files"]["backbone/model.safetensors"]
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    forge(folder, "backbone/pytorch_model.bin", pickled[kind])
    for read in (GenRecommender.from_checkpoint, lambda folder: export(folder, tmp_path / "plain", merged=True)):
        with pytest.raises(GenRecError, match="a pickle, such as pytorch_model.bin, can run code"):
            read(folder)


@pytest.mark.parametrize("kind", ["plain", "torch"])
def test_a_pickled_adapter_is_refused(checkpoint, tmp_path, pickled, kind):
    folder = tmp_path / "best"
    checkpoint(backbone=write_base(tmp_path / "base"), lora_r=2)
    (folder / "adapter/adapter_model.safetensors").unlink()
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    del manifest["files"]["adapter/adapter_model.safetensors"]
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    forge(folder, "adapter/adapter_model.bin", pickled[kind])
    for read in (
        GenRecommender.from_checkpoint,
        load_as_recbole,
        lambda folder: export(folder, tmp_path / "plain"),
        lambda folder: export(folder, tmp_path / "plain", merged=True),
    ):
        with pytest.raises(GenRecError, match="damaged"):
            read(folder)
    assert not (tmp_path / "plain").exists()


# ---- results and caches ----


@pytest.mark.parametrize("kind", ["plain", "torch"])
def test_pickles_among_results_are_refused(tmp_path, pickled, kind):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/GenRec-tiny-2020.json").write_bytes(pickled[kind])
    with pytest.raises(GenRecError, match="GenRec-tiny-2020.json"):
        read_results(tmp_path / "results")
    (tmp_path / "x.npz").write_bytes(pickled[kind])
    with pytest.raises(GenRecError, match="x.npz does not hold"):
        Outcomes.read(tmp_path / "x.npz")


def test_an_array_of_objects_is_refused(tmp_path, mark):
    np.savez(tmp_path / "x.npz", items=np.array([Malicious(mark)], object))
    with pytest.raises(GenRecError, match="x.npz does not hold"):
        Outcomes.read(tmp_path / "x.npz")


@pytest.mark.parametrize("kind", ["plain", "torch"])
def test_a_pickle_among_the_answers_of_a_server_is_asked_for_again(tmp_path, pickled, kind):
    cache = AnswerCache(tmp_path / "cache")
    path = cache.path("ab" * 32)
    path.parent.mkdir(parents=True)
    path.write_bytes(pickled[kind])
    assert cache.get("ab" * 32) is None


def test_the_runner_reads_no_pickle_that_lies_in_the_checkpoint_folder(checkpoint, tmp_path, pickled):
    checkpoint()
    Path("saved").mkdir()
    for name in (
        "tiny-GenRecDataset",
        "tiny-SequentialDataset",
        "tiny-for-GenRec-dataloader",
        "tiny-for-SASRec-dataloader",
    ):
        Path(f"saved/{name}.pth").write_bytes(pickled["plain"])
    settings = {**SCRATCH, "data_path": str(tmp_path / "data"), "epochs": 1, "show_progress": False}
    small = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1}
    results = run_recbole_genrec("GenRec,SASRec", "tiny", config_dict={**settings, "SASRec": small})
    assert [result["model"] for result in results] == ["GenRec", "SASRec"]
