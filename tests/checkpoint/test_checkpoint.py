"""Checkpoint folders: what is in them, what comes back, and what is refused."""

import json
import random
import re
import shutil

import numpy as np
import peft
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from recbole_genrec.checkpoint import folder as checkpoint_files
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into, save_checkpoint
from recbole_genrec.checkpoint.folder import verify
from recbole_genrec.checkpoint.training_state import TrainingState, optimizer_state, restore_random_states
from recbole_genrec.errors import GenRecError
from recbole_genrec.runs.reopen import load_as_recbole
from tests.builders import MOVIES, randomize, write_base

TRAINER = {"epoch": 3, "cur_step": 1, "best_valid_score": 0.1 + 0.2, "step": 12}
STATE = TrainingState(TRAINER)


@pytest.fixture
def base(tmp_path):
    """A folder with a tiny random LLaMA and a byte-level tokenizer."""
    return write_base(tmp_path / "base")


def logits(causal_model):
    with torch.no_grad():
        return causal_model(input_ids=torch.arange(1, 40)[None]).logits


def test_scratch_model_comes_back_bit_for_bit(world, tmp_path):
    config, model, batch = world(decoding="full")
    folder = tmp_path / "saved/best"
    save_checkpoint(folder, model, config, STATE)
    expected = model.full_sort_predict(batch)

    _, other, _ = world(decoding="full", seed=2)
    assert not torch.equal(other.full_sort_predict(batch), expected)
    assert load_checkpoint_into(other, folder) == TRAINER
    assert torch.equal(other.full_sort_predict(batch), expected)


def test_scratch_backbone_is_a_folder_of_transformers(world, tmp_path):
    config, model, _ = world()
    save_checkpoint(tmp_path / "best", model, config, STATE)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "best/backbone")
    assert torch.equal(logits(plain), logits(model.backbone.model))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "best/tokenizer")
    assert tokenizer("Toy Story").input_ids == model.backbone.tokenizer("Toy Story").input_ids


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.* is deprecated:FutureWarning")
def test_adapter_loads_with_plain_peft(world, base, tmp_path):
    config, model, batch = world(backbone=base, lora_r=2, decoding="full")
    randomize(model)
    folder = tmp_path / "best"
    save_checkpoint(folder, model, config, STATE)
    assert not (folder / "backbone").exists()
    plain = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder / "adapter")
    assert torch.equal(logits(plain.eval()), logits(model.backbone.model))

    _, other, _ = world(backbone=base, lora_r=2, decoding="full")
    load_checkpoint_into(other, folder)
    assert torch.equal(other.full_sort_predict(batch), model.full_sort_predict(batch))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.* is deprecated:FutureWarning")
def test_adapter_with_new_tokens_loads_with_plain_peft(world, base, tmp_path):
    settings = {"backbone": base, "lora_r": 2, "decoding": "full", "item_indexing": "independent"}
    config, model, batch = world(**settings)
    randomize(model)
    folder = tmp_path / "best"
    save_checkpoint(folder, model, config, STATE)
    plain = peft.AutoPeftModelForCausalLM.from_pretrained(folder / "adapter").eval()
    ids = torch.tensor([[*model.catalogue.identifiers[0], 5, *model.catalogue.identifiers[-1]]])
    with torch.no_grad():
        expected = model.backbone.model(input_ids=ids).logits
        assert torch.equal(plain(input_ids=ids).logits, expected)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    assert [tokenizer.decode(item) for item in model.catalogue.identifiers] == model.catalogue.texts

    _, other, _ = world(**settings, item_index=str(folder))
    load_checkpoint_into(other, folder)
    assert torch.equal(other.full_sort_predict(batch), model.full_sort_predict(batch))
    stored = load_as_recbole(folder)["state_dict"]  # RecBole's loader
    _, other, _ = world(**settings, seed=3)
    other.load_state_dict(stored)
    assert torch.equal(other.full_sort_predict(batch), model.full_sort_predict(batch))
    other.load_state_dict({name: tensor for name, tensor in stored.items() if "base_layer" not in name})
    with pytest.raises(RuntimeError, match="Missing key.*trainable_tokens_delta"):
        other.load_state_dict({name: tensor for name, tensor in stored.items() if "trainable_tokens" not in name})


def test_full_training_of_a_pretrained_model(world, base, tmp_path):
    config, model, batch = world(backbone=base, adapter="none", decoding="full")
    randomize(model)
    save_checkpoint(tmp_path / "best", model, config, STATE)
    _, other, _ = world(backbone=base, adapter="none", decoding="full")
    load_checkpoint_into(other, tmp_path / "best")
    assert torch.equal(other.full_sort_predict(batch), model.full_sort_predict(batch))


def test_files_hold_no_pickle_and_say_what_they_are(world, tmp_path):
    config, model, _ = world()
    folder = tmp_path / "best"
    save_checkpoint(
        folder, model, config, TrainingState(TRAINER, optimizer_state(torch.optim.AdamW(model.parameters())))
    )
    files = {path for path in folder.rglob("*") if path.is_file()}
    assert {path.suffix for path in files} <= {".json", ".yaml", ".safetensors", ".jinja"}
    items = json.loads((folder / "items.json").read_text())
    assert items["texts"] == [MOVIES[int(token[1:])] for token in items["tokens"]]
    assert list(map(tuple, items["identifiers"])) == model.catalogue.identifiers
    settings = json.loads((folder / "config.json").read_text())
    assert settings["model"] == "GenRec" and settings["scratch_hidden_size"] == 16
    manifest = json.loads((folder / "manifest.json").read_text())["files"]
    assert {folder / name for name in manifest} == files - {folder / "manifest.json"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_optimizer_and_random_numbers_come_back(world, tmp_path):
    config, model, _ = world()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    save_checkpoint(tmp_path / "last", model, config, TrainingState(TRAINER, optimizer_state(optimizer)))
    expected = [torch.rand(3), random.random(), np.random.rand(), torch.randn(3)]

    _, other, _ = world(seed=2)
    fresh = torch.optim.AdamW(other.parameters(), fused=True)
    load_checkpoint_into(other, tmp_path / "last", fresh)
    assert fresh.param_groups[0]["betas"] == (0.9, 0.98)
    one, two = optimizer.state_dict()["state"], fresh.state_dict()["state"]
    assert one.keys() == two.keys()
    assert all(torch.equal(slots[key], two[index][key]) for index, slots in one.items() for key in slots)
    restore_random_states(tmp_path / "last")
    again = [torch.rand(3), random.random(), np.random.rand(), torch.randn(3)]
    assert torch.equal(expected[0], again[0]) and expected[1:3] == again[1:3] and torch.equal(expected[3], again[3])


def test_recbole_form_rebuilds_configuration_and_weights(world, tmp_path):
    config, model, batch = world(learning_rate=0.123, item_text="{title}", decoding="full")
    save_checkpoint(tmp_path / "best", model, config, STATE)
    stored = load_as_recbole(tmp_path / "best")
    assert stored["epoch"] == 3 and stored["other_parameter"] is None
    rebuilt = stored["config"]
    differing = {k for k, v in config.final_config_dict.items() if rebuilt.final_config_dict.get(k) != v}
    assert not differing
    train, _, _ = data_preparation(rebuilt, create_dataset(rebuilt))
    other = rebuilt.model_class(rebuilt, train._dataset).eval()
    other.load_state_dict(stored["state_dict"])
    assert torch.equal(other.full_sort_predict(batch), model.full_sort_predict(batch))


def test_settings_are_never_evaluated(world, tmp_path):
    config, model, _ = world()
    trap = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
    config.final_config_dict["item_text"] = config.final_config_dict["prompt"] = trap
    save_checkpoint(tmp_path / "best", model, config, STATE)
    assert load_as_recbole(tmp_path / "best")["config"]["item_text"] == trap
    assert not (tmp_path / "ran").exists()


def _missing(folder):
    (folder / "items.json").unlink()


def _truncated_json(folder):
    path = folder / "trainer.json"
    path.write_text(path.read_text()[:-5])


def _flipped_byte(folder):
    path = folder / "extra.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _broken_manifest(folder):
    (folder / "manifest.json").write_text('{"format": 1, "files"')


def _later_format(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))


@pytest.mark.parametrize(("damage", "message"), [
    (_missing, "is damaged: items.json is missing"),
    (_truncated_json, "is damaged: trainer.json has changed"),
    (_flipped_byte, "is damaged: extra.safetensors has changed"),
    (_broken_manifest, "is damaged: manifest.json is not JSON"),
    (_later_format, "is not of format 1"),
    (shutil.rmtree, "does not exist"),
    (lambda folder: (folder / "manifest.json").unlink(), "has no manifest.json"),
])  # fmt: skip
def test_damage_is_named(world, tmp_path, damage, message):
    config, model, _ = world()
    folder = tmp_path / "best"
    save_checkpoint(folder, model, config, STATE)
    damage(folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(GenRecError, match=re.escape(message)):
        load_checkpoint_into(model, folder)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("settings", "message"), [
    ({"titles": MOVIES[:-1]}, "another dataset .* 8 items there, 7 here"),
    ({"titles": ["Toys", *MOVIES[1:]]}, "another item text, indexing or tokenizer; .item_index."),
    ({"scratch_layers": 2}, "belongs to another model: it lacks 'backbone.model.model.layers.1"),
    ({"scratch_intermediate_size": 64}, r"is \[16, 32\] there and \[16, 64\] here"),
    ({"history": "text", "item_prior": False}, "it holds 'item_embedding.weight', which this model has not"),
])  # fmt: skip
def test_checkpoint_of_another_dataset_or_model(world, tmp_path, settings, message):
    config, model, _ = world()
    save_checkpoint(tmp_path / "best", model, config, STATE)
    _, other, _ = world(**settings)
    with pytest.raises(GenRecError, match=message):
        load_checkpoint_into(other, tmp_path / "best")


def test_optimizer_of_another_model(world, tmp_path):
    config, model, _ = world()
    state = optimizer_state(torch.optim.AdamW(model.parameters()))
    save_checkpoint(tmp_path / "best", model, config, TrainingState(TRAINER, state))
    other = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(GenRecError, match="optimizer state"):
        load_checkpoint_into(model, tmp_path / "best", other)


def sign(folder):
    """Make the manifest fit what is there, as somebody who edits a checkpoint would."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    entries = {name: checkpoint_files.fingerprint(folder / name) for name in names if name != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": entries}))


def _edit_json(name, change):
    def edit(folder):
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return edit


def _edit_tensor(name, value):
    def edit(folder):
        tensors = load_file(folder / "extra.safetensors")
        tensors[name] = value(tensors[name])
        save_file(tensors, folder / "extra.safetensors")

    return edit


@pytest.mark.parametrize(("edit", "message"), [
    (_edit_json("items.json", lambda items: items.pop("pieces")), "items.json lacks the key 'pieces'"),
    (_edit_json("items.json", lambda items: items["texts"].pop()), "'texts' has 7 entries for 8 items"),
    (_edit_json("items.json", lambda items: items["identifiers"][2].append("x")), r"['identifiers'][2][2] is 'x'"),
    (_edit_json("trainer.json", lambda state: state.update(epoch="3")), "['epoch'] is '3', not a whole number"),
    (_edit_json("optimizer.json", lambda stored: stored["param_groups"][0].update(lr="x")), "has 'x' for 'lr'"),
    (_edit_tensor("item_embedding.weight", lambda tensor: tensor * float("nan")), "are not finite"),
    (_edit_tensor("item_embedding.weight", lambda tensor: tensor[:2].clone()), "is [2, 16] there and [9, 16] here"),
    (_edit_tensor("item_embedding.weight", lambda tensor: tensor.bool()), "is of type torch.bool there"),
    (lambda folder: (folder / "items.json").write_text("[" * 5000), "items.json is not JSON"),
    (lambda folder: (folder / "items.json").unlink(), "items.json cannot be read: No such file"),
])  # fmt: skip
def test_an_edited_checkpoint_is_refused_by_name(world, tmp_path, edit, message):
    config, model, _ = world()
    folder, optimizer = tmp_path / "best", torch.optim.AdamW(model.parameters())
    save_checkpoint(folder, model, config, TrainingState(TRAINER, optimizer_state(optimizer)))
    edit(folder)
    sign(folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(GenRecError, match=re.escape(message)) as raised:
        load_checkpoint_into(model, folder, optimizer)
    assert str(folder) in str(raised.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_file_that_the_manifest_does_not_name(world, tmp_path):
    config, model, _ = world()
    folder = tmp_path / "best"
    save_checkpoint(folder, model, config, STATE)
    (folder / "README.md").write_text("mine")
    assert verify(folder) == folder
    (folder / "adapter").mkdir()
    shutil.copy(folder / "backbone/model.safetensors", folder / "adapter/adapter_model.safetensors")
    with pytest.raises(GenRecError, match="adapter/adapter_model.safetensors is not in its manifest"):
        load_checkpoint_into(model, folder)
