"""Every family of causal language models: it computes what the engine means, or is refused by name before training.

Models are tiny and random, with weights large enough that positions matter.
"""

import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from transformers import AutoConfig, AutoModelForCausalLM

from recbole_genrec import GenRec, GenRecError
from recbole_genrec.backbone.adapter import adapter_names
from recbole_genrec.backbone.backbone import Backbone
from recbole_genrec.backbone.self_check import self_check
from recbole_genrec.batches.packing import Windows
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.decoding.scoring import score_by_teacher_forcing
from recbole_genrec.interactions.dataset import train_sequences
from tests.builders import byte_tokenizer, randomize

LONGEST = 48
#: a response that does not simply continue the history, so that each target is a branch.
TEMPLATE = "version: 1\nprefix: 'Saw:'\nitem_prefix: ','\nresponse_prefix: ' Next:'\nend: eos\n"
TOKENS = {"vocab_size": 259, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 1}
SHAPE = TOKENS | {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SHAPE |= {"num_key_value_heads": 1, "max_position_embeddings": 256}
MHA = SHAPE | {"num_key_value_heads": 2}
GPT = TOKENS | {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 256, "n_ctx": 256}
ONE_KEY = {key: value for key, value in SHAPE.items() if key != "num_key_value_heads"}
HEAD = {"head_dim": 8}
EXPERTS = {"moe_intermediate_size": 8, "num_experts": 2, "num_local_experts": 2, "num_experts_per_tok": 1}
EYES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 28}
#: family and configuration, and the layers that LoRA adapts where nobody names any.
QV, ALL = {"q_proj", "v_proj"}, None
FAMILIES = {
    "llama": ("llama", SHAPE, QV),
    "mistral": ("mistral", SHAPE | {"sliding_window": LONGEST}, QV),
    "ministral": ("ministral", SHAPE | HEAD | {"sliding_window": LONGEST}, QV),
    "mixtral": ("mixtral", SHAPE | EXPERTS, QV),
    "qwen2": ("qwen2", SHAPE | {"tie_word_embeddings": True}, QV),
    "qwen3": ("qwen3", SHAPE | HEAD, QV),
    "qwen3-moe": ("qwen3_moe", SHAPE | HEAD | EXPERTS, QV),
    "gemma": ("gemma", SHAPE | HEAD, QV),
    "gemma2": ("gemma2", SHAPE | HEAD | {"query_pre_attn_scalar": 8, "sliding_window": LONGEST}, QV),
    "gemma3": ("gemma3_text", SHAPE | HEAD | {"query_pre_attn_scalar": 8, "sliding_window": LONGEST}, QV),
    "gemma3, sees": ("gemma3", {"text_config": SHAPE | HEAD | {"query_pre_attn_scalar": 8}, "vision_config": EYES}, QV),
    "phi": ("phi", MHA | {"partial_rotary_factor": 1.0}, QV | {"fc1", "fc2"}),
    "phi3": ("phi3", SHAPE, ALL),
    "gpt2": ("gpt2", GPT, {"c_attn"}),
    "gpt-bigcode": ("gpt_bigcode", GPT, {"c_attn"}),
    "gpt-j": ("gptj", GPT | {"rotary_dim": 4}, QV),
    "codegen": ("codegen", GPT | {"rotary_dim": 4, "n_head": 4}, {"qkv_proj"}),
    "gpt-neox": ("gpt_neox", MHA, {"query_key_value"}),
    "starcoder2": ("starcoder2", SHAPE, QV),
    "opt": (
        "opt",
        MHA | {"ffn_dim": 24, "word_embed_proj_dim": 8, "pad_token_id": 1, "do_layer_norm_before": False},
        QV,
    ),
    "xglm": ("xglm", TOKENS | {"d_model": 16, "ffn_dim": 24, "num_layers": 2, "attention_heads": 2}, QV),
    "biogpt": ("biogpt", MHA, QV),
    "falcon": ("falcon", ONE_KEY | {"alibi": False}, {"query_key_value"}),
    "falcon-new": (
        "falcon",
        MHA | {"alibi": False, "new_decoder_architecture": True, "num_kv_heads": 1},
        {"query_key_value"},
    ),
    "smollm3": ("smollm3", SHAPE | {"no_rope_layer_interval": 2}, QV),
    "olmo": ("olmo", SHAPE, QV),
    "olmo2": ("olmo2", SHAPE, QV),
    "olmo3": ("olmo3", SHAPE | {"sliding_window": LONGEST}, QV),
    "granite": (
        "granite",
        SHAPE | {"logits_scaling": 3.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.7},
        QV,
    ),
    "granite-moe": ("granitemoe", SHAPE | EXPERTS, QV),
    "cohere": ("cohere", SHAPE | {"logit_scale": 0.25}, QV),
    "cohere2": ("cohere2", SHAPE | {"sliding_window": LONGEST}, QV),
    "stablelm": ("stablelm", SHAPE, QV),
    "glm4": ("glm4", SHAPE | HEAD, QV),
    "exaone4": ("exaone4", SHAPE | {"sliding_window": LONGEST}, QV),
    "nemotron": ("nemotron", SHAPE, QV),
    "ernie": ("ernie4_5", SHAPE, QV),
    "gpt-oss": ("gpt_oss", SHAPE | HEAD | EXPERTS | {"sliding_window": LONGEST}, QV),
}
NO_POSITIONS = "takes no position ids, so responses cannot branch off"
ELSEWHERE = "do not stand where their position ids and mask put them"
REFUSED = {
    "bloom": ("bloom", TOKENS | {"hidden_size": 16, "n_layer": 2, "n_head": 2}, NO_POSITIONS),
    "mpt": ("mpt", TOKENS | {"d_model": 16, "n_heads": 2, "n_layers": 2}, NO_POSITIONS),
    "falcon-alibi": ("falcon", MHA | {"alibi": True}, NO_POSITIONS),
    "mamba": ("mamba", TOKENS | {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2}, NO_POSITIONS),
    "rwkv": ("rwkv", TOKENS | {"hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16}, NO_POSITIONS),
    "xlstm": ("xlstm", TOKENS | {"hidden_size": 16, "num_hidden_layers": 2, "num_heads": 2}, NO_POSITIONS),
    "jamba": ("jamba", SHAPE | {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False}, ELSEWHERE),
    "lfm2": ("lfm2", SHAPE | {"layer_types": ["conv", "full_attention"]}, ELSEWHERE),
    # its local layers count columns: right for a prompt, wrong for what is packed
    "gpt-neo": ("gpt_neo", SHAPE | {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]}
                | {"window_size": LONGEST}, ELSEWHERE),
    "mistral, long": ("mistral", SHAPE | {"sliding_window": LONGEST - 1}, "above the window of 47 tokens"),
    "gemma3, long": ("gemma3_text", SHAPE | HEAD | {"sliding_window": 32}, "above the window of 32 tokens"),
    "llama4, long": ("llama4_text", SHAPE | {"attention_chunk_size": 32}, "above the window of 32 tokens"),
}  # fmt: skip


def random_model(family, settings, std=0.3):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(std=std)
    return model


@pytest.fixture(scope="module")
def world(tmp_path_factory, write_dataset):
    """Settings, the training part and test rows of eight users and six films, whose histories take several windows."""
    titles = ["Heat", "Alien", "Brazil", "Up", "Big", "Seven"]
    rows = [(f"u{u}", f"m{(u + t * t) % len(titles)}", 100 + t) for u in range(8) for t in range(u % 2 + 10)]
    films = [(f"m{number}", title) for number, title in enumerate(titles)]
    settings = {"data_path": write_dataset(tmp_path_factory.mktemp("films"), rows, films), "topk": [3]}
    settings |= {"valid_metric": "NDCG@3", "max_prompt_tokens": LONGEST, "embedding_dropout": 0, "hidden_dropout": 0}
    settings |= {"lora_dropout": 0.0, "lora_r": 2}
    config = GenRecConfig("GenRec", "tiny", config_dict=settings)
    train, _, test = data_preparation(config, create_dataset(config))
    return settings, train._dataset, next(iter(test))[0]


@pytest.fixture
def build(world, tmp_path):
    """A GenRec over a random model of a family, LoRA around it unless settings of GenRec say otherwise."""

    def genrec(family, settings, **more):
        random_model(family, settings).save_pretrained(tmp_path / "base")
        byte_tokenizer().save_pretrained(tmp_path / "base")
        (tmp_path / "branching.yaml").write_text(TEMPLATE, "utf-8")
        files = {"backbone": str(tmp_path / "base"), "prompt": str(tmp_path / "branching.yaml")}
        return GenRec(GenRecConfig("GenRec", "tiny", config_dict=world[0] | files | more), world[1])

    return genrec


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_is_unpacked_and_search_is_exact(build, world, family):
    model = build(*FAMILIES[family][:2])
    randomize(model, 0.1)
    model.eval()
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in adapter_names(model.backbone.model)}
    assert adapted == FAMILIES[family][2] or (FAMILIES[family][2] is None and len(adapted) > 1)
    check_loss(model, world[1])
    check_lists(model, world[2])


@pytest.mark.parametrize("adapter", ["prompt", "prefix"])
@pytest.mark.parametrize("family", FAMILIES)
def test_so_it_is_behind_virtual_tokens(build, world, family, adapter):
    """That one prompt has the logits of plain peft, the model checks itself when it is built."""
    virtual = {"adapter": adapter, "adapter_tokens": 5, "max_prompt_tokens": LONGEST - 5}
    model = build(*FAMILIES[family][:2], **virtual)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "backbone.model.prompt_encoder.default.embedding.weight"
    }
    check_loss(model.eval(), world[1])
    check_lists(model, world[2])


def check_loss(model, train):
    """Loss and gradient of packed windows are those of one prompt for each target, fed plainly."""
    _, items, offsets = train_sequences(train)
    windows = model.packer.plan(items, offsets, 1, np.random.default_rng(0))
    packed = model.packer.pack(items, windows, np.zeros(len(windows), np.int64))
    assert packed.n_targets > len(windows) > 8 and packed.input_ids.shape[1] > LONGEST
    loss = model.calculate_loss(packed) * packed.n_decisions

    alone = [
        (first, place, place + 1)
        for first, target, stop in zip(windows.first, windows.target, windows.stop)
        for place in range(target, stop)
    ]
    batch = model.packer.pack(items, Windows(*map(np.array, zip(*alone))), np.zeros(len(alone), np.int64))
    hidden = model.backbone(model.backbone.embed(batch.input_ids)).flatten(0, 1)[batch.labels.cell]
    plain = model.decision_loss(hidden, batch.labels.label)
    torch.testing.assert_close(loss, plain, rtol=1e-4, atol=1e-4)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    one, other = (torch.cat([g.flatten() for g in torch.autograd.grad(value, trained)]) for value in (loss, plain))
    assert other.norm() > 0 and (one - other).norm() <= 1e-3 * other.norm()


def check_lists(model, rows):
    """The best three by search are those of every item fed whole and alone."""
    found = model.full_sort_predict(rows).topk(3)
    embeds, lengths = model.embed_prompts(model.prompts(rows["item_id_list"], rows["item_length"]))
    every = torch.arange(1, model.n_items)
    for row, (states, length) in enumerate(zip(embeds, lengths)):
        with torch.no_grad():
            scores = score_by_teacher_forcing(model.backbone, model.trie, states[None, :length], every, "trie")
        best = scores.topk(3)
        torch.testing.assert_close(found.values[row], best.values, rtol=1e-3, atol=1e-3)
        assert torch.equal(found.indices[row], best.indices + 1)


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_cannot_branch_is_refused_by_name(build, family):
    name, settings, reason = REFUSED[family]
    with pytest.raises(GenRecError, match=reason) as raised:
        build(name, settings)
    said = str(raised.value)
    assert "base'" in said and "\n" not in said and (name in said or "window of" in said)


@pytest.mark.parametrize("family", ["llama", "qwen3-moe", "gemma2", "gpt2"])
def test_half_precision_is_no_reason_to_refuse(family):
    model = random_model(*FAMILIES[family][:2]).to(torch.bfloat16)
    self_check(Backbone(model, byte_tokenizer()), "base", LONGEST)


@pytest.mark.parametrize("family", ["jamba", "lfm2", "gpt-neo"])
def test_half_precision_hides_no_fault(family):
    name, settings, reason = REFUSED[family]
    with pytest.raises(GenRecError, match=reason):
        self_check(Backbone(random_model(name, settings).to(torch.bfloat16), byte_tokenizer()), "base", LONGEST)


def test_a_family_that_passes_nothing_on_to_the_kernel_takes_the_plain_mask():
    """It still trains, without the kernel for branches."""
    model = random_model("llama", SHAPE)
    backbone = Backbone(model, byte_tokenizer())
    self_check(backbone, "base", LONGEST)
    assert backbone.mask_kind == "branches"
    forward = type(model.model).forward

    def without_branches(*args, branches=None, **kwargs):  # as a family whose code passes no further arguments on
        return forward(model.model, *args, **kwargs)

    model.model.forward = without_branches
    self_check(backbone, "base", LONGEST)
    assert backbone.mask_kind == "dense"


def test_an_unknown_head_is_refused():
    model = random_model("llama", SHAPE)
    head = model.lm_head.forward
    model.lm_head.forward = lambda hidden: head(hidden)
    self_check(Backbone(model, byte_tokenizer()), "base", LONGEST)
    forward = type(model).forward

    def squared(*args, **kwargs):
        output = forward(model, *args, **kwargs)
        output.logits = output.logits**2
        return output

    model.forward = squared
    with pytest.raises(GenRecError, match="'base' is of the family 'llama', .* its head makes other scores"):
        self_check(Backbone(model, byte_tokenizer()), "base", LONGEST)
