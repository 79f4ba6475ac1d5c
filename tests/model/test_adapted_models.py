"""Models behind adapters: what is trained is the adapter and the model's own vectors, and every model that may does."""

import pytest
import torch
from transformers import LlamaConfig

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.checkpoint.folder import read_state_dict
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.model.genrec import GenRec
from recbole_genrec.runs.run import build_model
from tests.backbone.test_adapters import SEQ2SEQ
from tests.builders import randomize, write_base

pytestmark = pytest.mark.filterwarnings("ignore:.*(past_key_values|is_gradient_checkpointing).* is deprecated")
SHORT = {"epochs": 2, "max_prompt_tokens": 128, "learning_rate": 0.01, "warmup_steps": 0}
V = 3
#: parameters of each adapter around a LLaMA of one layer, 16 wide, 2 heads, and 32 in the feed-forward layer.
SIZES = {"prompt": V * 16, "prefix": V * 2 * 16, "ia3": 16 + 16 + 32, "lora": 2 * 2 * (16 + 16)}


def built(name, settings):
    config = GenRecConfig(name, "tiny", config_dict=settings)
    data = SplitData([config])
    return config, data, build_model(config, data)


def behind(settings, base, adapter, **more):
    more |= {"adapter_tokens": V} if adapter in ("prompt", "prefix") else {}
    more |= {"lora_r": 2} if adapter == "lora" else {}
    return settings | SHORT | {"backbone": base, "adapter": adapter} | more


@pytest.mark.parametrize("adapter", SIZES)
def test_gradients_reach_the_adapter_and_the_vectors_of_items(checkerboard, tmp_path, adapter):
    vectors = {"history": "both", "item_prior": True, "item_prior_loss": 0.5, "edge_embedding": True}
    settings = behind(checkerboard, write_base(tmp_path / "base"), adapter, **vectors)
    config, data, model = built("GenRec", settings)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    own = {name: p for name, p in trained.items() if not name.startswith("backbone.")}
    assert own.keys() == {"item_embedding.weight", "edge_embedding.weight"}
    assert sum(p.numel() for name, p in trained.items() if name not in own) == SIZES[adapter]
    for parameter in own.values():
        torch.nn.init.normal_(parameter)
    model.calculate_loss(next(iter(model.training_loader(config, data.parts[0])))).backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert with_gradient <= trained.keys() and own.keys() <= with_gradient
    assert (trained.keys() - with_gradient) == {name for name in trained if "lora_A" in name}  # B is zero at first

    result = run_recbole_genrec("GenRec", "tiny", config_dict=settings)
    assert result["parameters"]["trainable"] == sum(p.numel() for p in trained.values())


@pytest.mark.parametrize("adapter", ["prompt", "ia3"])
@pytest.mark.parametrize("name", ["P5", "GenRecSeq2Seq"])
def test_encoder_decoders_train_behind_them(checkerboard, tmp_path, name, adapter):
    base = write_base(tmp_path / "base", SEQ2SEQ["t5" if name == "P5" else "bart"](), {
        "pad_token": "<pad>", "eos_token": "</s>", "mask_token": "<mask>"
    })  # fmt: skip
    more = {"item_indexing": "sequential"} | ({"pretrain_epochs": 1} if name == "GenRecSeq2Seq" else {})
    settings = behind(checkerboard, base, adapter, **more, max_prompt_tokens=200 if name == "P5" else 60)
    result = run_recbole_genrec(name, "tiny", config_dict=settings)
    assert result["generation"]["valid_share"] == 1
    assert result["parameters"]["trainable"] < result["parameters"]["total"] / 2


def test_a_mask_is_pointed_at_behind_virtual_tokens(checkerboard, tmp_path):
    """The start token carries the encoder's state of the mask: the loss is that of one sequence fed plainly."""
    special = {"pad_token": "<pad>", "eos_token": "</s>", "mask_token": "<mask>"}
    base = write_base(tmp_path / "base", SEQ2SEQ["bart"](), special)
    more = {"item_indexing": "sequential", "train_stage": "finetune", "targets_per_user": 0, "max_prompt_tokens": 60}
    config, data, model = built("GenRecSeq2Seq", behind(checkerboard, base, "prompt", **more))
    randomize(model.eval())
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.mul_(10)
    rows = next(iter(data.evaluation_loader(config, "valid")))[0][:3]
    batch, backbone = model.pack_interaction(rows), model.backbone
    virtual = backbone.model.prompt_encoder["default"].embedding.weight[None]
    (embeds, lengths), cells = model.encode_prompts(batch.prompts), model._pointer(batch.prompts)
    assert cells.tolist() == (lengths - 2).tolist()  # the end token is behind the mask
    expected = []
    for row, (cell, length) in enumerate(zip(cells, lengths)):
        fed = torch.cat([virtual, embeds[row : row + 1, :length]], 1)
        states = backbone.causal_model.get_encoder()(inputs_embeds=fed).last_hidden_state
        start = backbone.start(1) + states[:, V + cell][:, None]
        decoder = backbone.causal_model.get_decoder()
        expected.append(decoder(inputs_embeds=start, encoder_hidden_states=states).last_hidden_state[0, 0])
    found = model(rows["item_id_list"], rows["item_length"], rows["user_id"])
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-5)
    loss = model.calculate_loss(batch) * batch.n_decisions  # from other cells than search
    torch.testing.assert_close(loss, -model.predict(rows).sum(), rtol=1e-4, atol=1e-4)


def test_a_model_that_adds_tokens_is_refused(checkerboard, tmp_path):
    base = write_base(tmp_path / "base", SEQ2SEQ["t5"]())
    with pytest.raises(GenRecError, match="'adapter: prompt' trains no embeddings"):
        built("TIGER", behind(checkerboard, base, "prompt"))
    with pytest.raises(GenRecError, match="'adapter: ia3' trains no embeddings"):
        built("GenRec", behind(checkerboard, write_base(tmp_path / "llama"), "ia3", item_indexing="independent"))


def test_virtual_tokens_count_among_the_positions(checkerboard, tmp_path):
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    base = write_base(tmp_path / "base", LlamaConfig(vocab_size=259, max_position_embeddings=130, **shape))
    for adapter, message in (
        ("prefix", r"\(128\), with 3 virtual tokens, is above .* sequence, 130"),
        ("lora", None),
    ):
        settings = behind(checkerboard, base, adapter)
        if message:
            with pytest.raises(GenRecError, match=message):
                built("GenRec", settings)
        else:
            assert isinstance(built("GenRec", settings)[2], GenRec)


@pytest.mark.parametrize("adapter", ["prefix", "ia3"])
def test_a_warm_start_takes_the_adapter_along(checkerboard, tmp_path, adapter):
    settings = behind(checkerboard, write_base(tmp_path / "base"), adapter)
    first = run_recbole_genrec("GenRec", "tiny", config_dict=settings)
    _, _, model = built("GenRec", settings | {"warm_start": first["checkpoint"], "seed": 5})
    stored = {name: p for name, p in model.named_parameters() if p.requires_grad}
    _, _, fresh = built("GenRec", settings | {"seed": 5})
    source = read_state_dict(first["checkpoint"])
    assert all(torch.equal(p, source[name]) for name, p in stored.items())
    assert any(not torch.equal(p, source[name]) for name, p in fresh.named_parameters() if p.requires_grad)
    other = {"adapter": "lora"} if adapter == "ia3" else {"adapter_tokens": 4}
    key = "adapter" if adapter == "ia3" else "adapter_tokens"
    with pytest.raises(GenRecError, match=f"'warm_start': '{key}' is"):
        built("GenRec", settings | other | {"warm_start": first["checkpoint"]})
