"""Checkpoints of adapters beside LoRA, and checkpoints that call the setting by its former name."""

import json
from dataclasses import replace

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into, save_checkpoint
from recbole_genrec.checkpoint.folder import BACKBONE_PREFIX, fingerprint, read_settings, read_state_dict
from recbole_genrec.config.arguments import BackboneArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.runs.reopen import load_data_and_model, read_config
from recbole_genrec.serve.checkpoint_ranker import CheckpointRanker
from tests.builders import STATE, randomize, write_base

pytestmark = pytest.mark.filterwarnings("ignore:.*(past_key_values|is_gradient_checkpointing).* is deprecated")


@pytest.fixture
def base(tmp_path):
    return write_base(tmp_path / "base")


@pytest.mark.parametrize("kind", ["prompt", "prefix", "ia3"])
def test_the_weights_that_are_stored_are_those_that_are_given(world, base, tmp_path, kind):
    """Such as the running average of the weights, which is better than the model's own."""
    config, model, batch = world(backbone=base, adapter=kind, decoding="full")
    randomize(model)
    average = {name: tensor * 0.5 for name, tensor in model.kept_state().items()}
    save_checkpoint(tmp_path / "best", model, config, replace(STATE, weights=average))
    model.load_state_dict(average, strict=False)
    stored = read_state_dict(tmp_path / "best")
    assert stored.keys() == average.keys() and all(torch.equal(stored[name], average[name]) for name in stored)
    _, other, _ = world(backbone=base, adapter=kind, decoding="full", seed=3)
    load_checkpoint_into(other, tmp_path / "best")
    assert torch.equal(other.full_sort_predict(batch), model.full_sort_predict(batch))

    plain = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "best/adapter").eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        ours = model.backbone.logits(model.backbone(model.backbone.embed(ids)))
        torch.testing.assert_close(plain(input_ids=ids).logits[:, -4:], ours, rtol=1e-5, atol=1e-5)


def test_another_number_of_virtual_tokens_does_not_fit(world, base, tmp_path):
    config, model, _ = world(backbone=base, adapter="prompt", adapter_tokens=3)
    save_checkpoint(tmp_path / "best", model, config, STATE)
    _, other, _ = world(backbone=base, adapter="prompt", adapter_tokens=4)
    with pytest.raises(GenRecError, match=r"'backbone.model.prompt_encoder.* is \[3, 16\] there and \[4, 16\] here"):
        load_checkpoint_into(other, tmp_path / "best")
    _, other, _ = world(backbone=base, adapter="prefix", adapter_tokens=3)
    with pytest.raises(GenRecError, match=r"is \[3, 16\] there and \[3, 32\] here"):
        load_checkpoint_into(other, tmp_path / "best")
    _, other, _ = world(backbone=base)
    with pytest.raises(GenRecError, match="belongs to another model: it lacks"):
        load_checkpoint_into(other, tmp_path / "best")


def under_its_former_name(folder, value):
    """Rewrite a checkpoint as one of the time of ``lora: true | false``."""
    settings = json.loads((folder / "config.json").read_text())
    del settings["adapter"], settings["adapter_tokens"]
    (folder / "config.json").write_text(json.dumps(settings | {"lora": value}))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["config.json"] = fingerprint(folder / "config.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(("present", "former"), [("lora", True), ("none", False)])
def test_a_checkpoint_of_the_time_of_lora_opens(world, base, tmp_path, present, former):
    config, model, batch = world(backbone=base, adapter=present, decoding="full")
    config.final_config_dict |= {"adapter": present, "adapter_tokens": None}
    randomize(model)
    folder = tmp_path / "best"
    save_checkpoint(folder, model, config, STATE)
    under_its_former_name(folder, former)
    assert read_settings(folder)["adapter"] == present and "lora" not in read_settings(folder)
    assert BackboneArguments.from_config(read_config(folder)).adapter == present
    assert ((folder / "adapter").is_dir()) == former
    _, again, *_ = load_data_and_model(folder)
    assert torch.equal(again.eval().full_sort_predict(batch), model.full_sort_predict(batch))
    ranker = CheckpointRanker(folder)
    for name, tensor in model.kept_state().items():
        if name.startswith(BACKBONE_PREFIX):
            assert torch.equal(ranker.state_dict()[name], tensor)
