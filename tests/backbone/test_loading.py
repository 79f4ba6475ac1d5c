"""Pretrained backbones of several families, saved to a folder by the test itself."""

import json
from importlib.util import find_spec

import peft
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    T5Config,
)

from recbole_genrec.backbone import loading
from recbole_genrec.backbone.adapter import adapter_names
from recbole_genrec.backbone.loading import adapt, load_backbone, read_backbone, read_seq2seq
from recbole_genrec.backbone.new_tokens import add_tokens
from recbole_genrec.config.arguments import BackboneArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.vectors.hidden_states import embed_texts
from tests.builders import SPECIAL, byte_tokenizer

SHAPE = {
    "vocab_size": 262,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(**SHAPE),
    "qwen2": lambda: Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "gemma2": lambda: Gemma2Config(**SHAPE, head_dim=8, query_pre_attn_scalar=8, sliding_window=64),
    "gpt2": lambda: GPT2Config(vocab_size=262, n_embd=16, n_layer=2, n_head=2, n_positions=128),
}
TARGETS = {"gpt2": ("c_attn",)}


def sentencepiece_like_tokenizer():
    """BPE that writes spaces as U+2581 and falls back to bytes, as LLaMA's own tokenizer does."""
    letters = [*SPECIAL.values(), *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abcdefghijkl<>/s|"]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(letters))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def save_model(folder, family="llama", tokenizer=None):
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(CONFIGS[family]()).save_pretrained(folder)
    (tokenizer or byte_tokenizer()).save_pretrained(folder)
    return str(folder)


def load(folder, **settings):
    return load_backbone(BackboneArguments(backbone=folder, **settings), [])


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_gives_the_logits_of_its_own_model(tmp_path, family):
    folder = save_model(tmp_path, family)
    backbone = load(folder, adapter="none").eval()
    ids = torch.tensor([backbone.encode("GoldenEye (1995)")])
    with torch.no_grad():
        logits = backbone.logits(backbone(backbone.embed(ids)))
        expected = AutoModelForCausalLM.from_pretrained(folder)(input_ids=ids).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert all(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.* is deprecated:FutureWarning")
@pytest.mark.parametrize("family", CONFIGS)
def test_lora_trains_the_adapter_only_and_lowers_the_loss(tmp_path, family):
    torch.manual_seed(1)
    backbone = load(
        save_model(tmp_path / "base", family),
        lora_target_modules=TARGETS.get(family, ("q_proj", "v_proj")),
        lora_r=4,
        lora_dropout=0.0,
        gradient_checkpointing=True,
    ).train()
    trainable = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    assert trainable and all(".lora_" in name for name in trainable)
    ids = torch.tensor([backbone.encode("abab" * 8)])
    optimizer = torch.optim.AdamW(trainable.values(), lr=3e-2)
    losses = []
    for _ in range(12):
        logits = backbone.logits(backbone(backbone.embed(ids)))[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02

    backbone.eval().model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    plain = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    with torch.no_grad():
        ours = backbone.logits(backbone(backbone.embed(ids)))
        torch.testing.assert_close(ours, plain(input_ids=ids).logits, rtol=1e-4, atol=1e-5)


def test_all_linear_adapts_every_linear_layer(tmp_path):
    backbone = load(save_model(tmp_path), lora_target_modules="all-linear")
    adapted = {name.split(".")[-4] for name, _ in backbone.named_parameters() if ".lora_A." in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_unknown_target_module_lists_those_that_exist(tmp_path):
    with pytest.raises(GenRecError, match=r"'q_proj'.*Its modules: c_attn, c_fc, c_proj, lm_head"):
        load(save_model(tmp_path, "gpt2"), lora_target_modules=["q_proj"])


def test_missing_padding_token_does_not_grow_the_vocabulary(tmp_path):
    folder = save_model(tmp_path)
    assert byte_tokenizer().pad_token_id is None
    backbone = load(folder)
    assert backbone.pad_id == backbone.eos_id == 1 and backbone.bos_id == 0
    assert len(backbone.tokenizer) == len(byte_tokenizer())


@pytest.mark.parametrize(("stored", "asked", "adapter", "expected"), [
    ("bfloat16", "auto", "lora", torch.bfloat16),
    ("bfloat16", "auto", "none", torch.float32),
    ("bfloat16", "bfloat16", "none", torch.bfloat16),
    ("float32", "float16", "lora", torch.float16),
])  # fmt: skip
def test_dtype_of_the_weights(tmp_path, stored, asked, adapter, expected):
    model = AutoModelForCausalLM.from_config(CONFIGS["llama"]()).to(getattr(torch, stored))
    model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    backbone = load(str(tmp_path), torch_dtype=asked, adapter=adapter)
    assert backbone.causal_model.get_input_embeddings().weight.dtype == expected


@pytest.mark.parametrize("build", [byte_tokenizer, sentencepiece_like_tokenizer])
def test_text_that_looks_like_a_special_token_is_plain_text(tmp_path, build):
    tokenizer = build()
    config = LlamaConfig(**{**SHAPE, "vocab_size": len(tokenizer)})
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    backbone = load(str(tmp_path))
    ids = backbone.encode("a</s>b <s>", " ")
    assert not {backbone.eos_id, backbone.bos_id} & set(ids)
    assert backbone.tokenizer.decode(ids).strip() == "a</s>b <s>"
    many = "</s><s>" * 2000
    ids = backbone.encode(many, " ")
    assert not {backbone.eos_id, backbone.bos_id} & set(ids)
    assert backbone.tokenizer.decode(ids).strip() == many


def test_scratch_needs_no_folder():
    arguments = BackboneArguments(scratch_hidden_size=16, scratch_vocab_size=300)
    backbone = load_backbone(arguments, ["GoldenEye (1995)", "Toy Story (1995)"])
    assert backbone.hidden_size == 16
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_folder_without_a_model(tmp_path):
    with pytest.raises(GenRecError, match="has no config.json"):
        load(str(tmp_path))
    with pytest.raises(GenRecError, match="does not exist"):
        load(str(tmp_path / "nothing"))


def test_hub_id_that_cannot_be_reached(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(GenRecError, match="Cannot load the backbone 'nobody/no-such-model'") as caught:
        load("nobody/no-such-model")
    assert "\n" not in str(caught.value) and caught.value.__suppress_context__


def test_model_that_is_no_causal_language_model(tmp_path):
    T5Config(vocab_size=300, d_model=16, num_layers=1, num_heads=2).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(GenRecError, match="Cannot load the backbone"):
        load(str(tmp_path))


def test_weights_that_lack_a_tensor(tmp_path):
    folder = save_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(GenRecError, match="lack 9 tensors of LlamaForCausalLM"):
        load(folder)


@pytest.mark.parametrize("kind", ["8bit", "4bit"])
def test_quantisation_says_what_is_missing(monkeypatch, tmp_path, kind):
    folder = save_model(tmp_path)
    with pytest.raises(GenRecError, match="needs 'adapter: lora'"):
        load(folder, quantization=kind, adapter="none")
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(GenRecError, match="needs bitsandbytes"):
        load(folder, quantization=kind)
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(GenRecError, match="needs a CUDA device"):
        load(folder, quantization=kind)


NAMES = ["<a_0>", "<a_1>", "<b_0>"]


def with_new_tokens(folder, seed=1, **settings):
    """A backbone with the tokens ``NAMES``, and their ids."""
    arguments = BackboneArguments(backbone=folder, **settings)
    backbone = read_backbone(arguments, ["ab", "ba"])
    ids = add_tokens(backbone, NAMES, seed)
    return adapt(backbone, arguments, ids), ids


@pytest.mark.parametrize("family", CONFIGS)
def test_new_tokens_are_drawn_like_the_old_ones(tmp_path, family):
    folder = save_model(tmp_path, family)
    state = torch.get_rng_state()
    backbone, ids = with_new_tokens(folder, adapter="none")
    n = ids[0]
    assert ids == [n, n + 1, n + 2] and n == len(backbone.tokenizer) - 3
    before = AutoModelForCausalLM.from_pretrained(folder)
    old, new = (model.get_input_embeddings().weight for model in (before, backbone.causal_model))
    assert len(new) == max(len(old), n + 3)  # most of these models have room for three tokens
    assert torch.equal(new[:n], old[:n])
    assert 0.5 < new[ids].std() / old[:n].std() < 2
    head = backbone.causal_model.get_output_embeddings().weight
    assert (head is new) == backbone.config.tie_word_embeddings
    assert 0.5 < head[ids].std() / old[:n].std() < 2
    again, _ = with_new_tokens(folder, adapter="none")
    other, _ = with_new_tokens(folder, adapter="none", seed=2)
    assert torch.equal(again.causal_model.get_input_embeddings().weight, new)
    assert not torch.equal(other.causal_model.get_input_embeddings().weight[ids], new[ids])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_full_table_grows():
    backbone, ids = with_new_tokens("scratch", scratch_hidden_size=16, scratch_vocab_size=300)
    n_before = len(backbone.tokenizer) - 3
    assert ids == [n_before, n_before + 1, n_before + 2]
    assert backbone.vocab_size == backbone.config.vocab_size == n_before + 3
    assert backbone.causal_model.get_output_embeddings().weight.shape[0] == n_before + 3


def test_a_name_that_the_tokenizer_has():
    with pytest.raises(GenRecError, match="has a token '<s>' already"):
        add_tokens(read_backbone(BackboneArguments(scratch_hidden_size=16), ["ab"]), ["<s>"], 0)


@pytest.mark.parametrize("build", [byte_tokenizer, sentencepiece_like_tokenizer])
def test_text_that_looks_like_a_new_token_is_plain_text(tmp_path, build):
    tokenizer = build()
    AutoModelForCausalLM.from_config(LlamaConfig(**{**SHAPE, "vocab_size": len(tokenizer)})).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    backbone, ids = with_new_tokens(str(tmp_path))
    before = backbone.encode("a<a_1>b", " ")
    assert not set(ids) & set(before)
    assert backbone.tokenizer.decode([*backbone.encode("ab", " "), *ids]).strip() == "ab<a_0><a_1><b_0>"
    backbone.tokenizer.save_pretrained(tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert saved.convert_tokens_to_ids(NAMES) == ids
    assert saved("<a_1>", add_special_tokens=False).input_ids == ids[1:2]  # a reader of prompts may write it


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.* is deprecated:FutureWarning")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", CONFIGS)
def test_beside_an_adapter_the_rows_of_new_tokens_are_trained(tmp_path, family, dtype):
    folder = save_model(tmp_path / "base", family)
    settings = {"lora_target_modules": TARGETS.get(family, ("q_proj", "v_proj")), "torch_dtype": dtype}
    backbone, ids = with_new_tokens(folder, **settings, lora_dropout=0.0)
    tied = backbone.config.tie_word_embeddings
    trainable = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    assert {f"model.{name}" for name in adapter_names(backbone.model)} == trainable.keys()
    rows = [p for name, p in trainable.items() if "trainable_tokens" in name]
    assert [p.shape for p in rows] == [(3, 16)] * (1 if tied else 2)
    assert all(p.dtype == torch.float32 for p in trainable.values())

    text = torch.tensor([[*backbone.encode("ab"), *ids, *ids]])
    everything = backbone.logits(backbone(backbone.embed(text)))
    chosen = torch.tensor([5, *ids, 7])
    some = backbone.logits(backbone(backbone.embed(text)), chosen)
    torch.testing.assert_close(some, everything[..., chosen], rtol=1e-2 if dtype == "bfloat16" else 1e-5, atol=1e-5)
    optimizer = torch.optim.AdamW(trainable.values(), lr=3e-2)
    losses = []
    for step in range(12):
        logits = backbone.logits(backbone(backbone.embed(text)), torch.tensor(ids) if step % 2 else None)
        labels = text[0, 2:] - (ids[0] if step % 2 else 0)
        loss = torch.nn.functional.cross_entropy(logits[0, 1:-1], labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.abs().sum() > 0 for p in rows)
        optimizer.step()
        losses.append(loss.item())
    assert losses[10] < losses[0] - 0.5 and losses[11] < losses[1]

    backbone.eval().model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    backbone.tokenizer.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        ours = backbone.logits(backbone(backbone.embed(text)))
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        base.resize_token_embeddings(max(262, len(backbone.tokenizer)))
        plain = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
        auto = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter", dtype=dtype)
        tolerance = {"rtol": 1e-2, "atol": 1e-2} if dtype == "bfloat16" else {}
        for loaded in (plain, auto):
            torch.testing.assert_close(ours, loaded(input_ids=text).logits.float(), **tolerance)


def test_an_output_head_with_a_bias_is_refused(tmp_path):
    config = PhiConfig(**{**SHAPE, "num_key_value_heads": 2}, partial_rotary_factor=1.0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(GenRecError, match="output head has a bias"):
        with_new_tokens(str(tmp_path))
    backbone, ids = with_new_tokens(str(tmp_path), adapter="none")
    text = torch.tensor([ids])
    assert torch.isfinite(backbone.logits(backbone(backbone.embed(text)))).all()


def test_vectors_of_texts_are_means_of_hidden_states(tmp_path):
    backbone = read_backbone(BackboneArguments(backbone=save_model(tmp_path)), [])
    texts = ["Heat", "", "The Thing", "Heat", "x" * 500]
    vectors = embed_texts(backbone, texts, "cpu", batch_size=2)
    for text, vector in zip(texts, vectors):
        ids = torch.tensor([backbone.encode(text)[:128]], dtype=torch.long)  # as many as the model has positions
        with torch.no_grad():
            expected = backbone.eval()(backbone.embed(ids))[0].mean(0) if text else torch.zeros(16)
        torch.testing.assert_close(torch.from_numpy(vector), expected, rtol=1e-4, atol=1e-5)


def test_a_stored_adapter_says_which_layers_it_adapts(tmp_path):
    """Not the settings of whoever loads it, whose default may be another one."""
    folder = save_model(tmp_path / "base")
    arguments = BackboneArguments(backbone=folder, lora_target_modules=("o_proj", "up_proj"))
    adapted = adapt(read_backbone(arguments, []), arguments)
    adapted.model.save_pretrained(tmp_path / "best/adapter", save_embedding_layers=False)
    usual = BackboneArguments(backbone=folder)
    assert adapter_names(load(folder).model) != adapter_names(adapted.model)
    loaded = adapt(read_backbone(usual, []), usual, checkpoint=tmp_path / "best")
    assert adapter_names(loaded.model) == adapter_names(adapted.model)
    path = tmp_path / "best/adapter/adapter_config.json"
    path.write_text(json.dumps({"target_modules": [1]}))
    with pytest.raises(GenRecError, match="best' is damaged: adapter_config.json has no list 'target_modules'"):
        adapt(read_backbone(usual, []), usual, checkpoint=tmp_path / "best")


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash attention is installed")
@pytest.mark.parametrize("family", ["llama", "t5", "bart"])
def test_a_kernel_that_is_not_there_is_one_line(family):
    arguments = BackboneArguments(
        scratch_hidden_size=16, scratch_vocab_size=300, attn_implementation="flash_attention_2"
    )
    with pytest.raises(GenRecError, match="'attn_implementation: flash_attention_2' cannot be used: .* Use 'sdpa' or"):
        read_backbone(arguments, ["a"]) if family == "llama" else read_seq2seq(arguments, ["a"], family)
