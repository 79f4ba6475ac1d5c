"""Adapters of every kind: plain ``peft`` reads what is stored and gives the same logits; nothing else is trained."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, BartConfig, StableLmConfig, T5Config

from recbole_genrec.backbone.adapter import adapter_names
from recbole_genrec.backbone.loading import adapt, read_backbone, read_seq2seq
from recbole_genrec.backbone.new_tokens import add_tokens
from recbole_genrec.backbone.virtual_tokens import begin_with_words
from recbole_genrec.config.arguments import BackboneArguments
from recbole_genrec.errors import GenRecError
from tests.backbone.test_loading import CONFIGS, SHAPE, load, save_model
from tests.builders import byte_tokenizer, randomize, write_base

#: peft calls an argument and a property by names that transformers has given up.
pytestmark = pytest.mark.filterwarnings("ignore:.*(past_key_values|is_gradient_checkpointing).* is deprecated")
KINDS = ["lora", "prompt", "prefix", "ia3"]
V = 5
START = {"decoder_start_token_id": 0, "eos_token_id": 1}
SEQ2SEQ = {
    "t5": lambda: T5Config(vocab_size=259, d_model=16, d_ff=24, d_kv=4, num_layers=2, num_heads=2, **START),
    "bart": lambda: BartConfig(
        vocab_size=259, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=64, pad_token_id=0, **START,
    ),
}  # fmt: skip


def n_parameters(family, kind):
    """What an adapter should have: the sizes are those of ``CONFIGS``, LoRA's rank 2 on the default layers."""
    multi = family == "gpt2"
    keys = 16 if multi else 8  # width of all heads of keys
    per_layer = {
        "lora": 2 * (16 + 48) if multi else 2 * (16 + 16) + 2 * (16 + keys),
        "prompt": V * 16 / 2,  # once for both layers
        "prefix": V * 2 * keys,
        "ia3": {"gpt2": 48 + 64, "llama": keys + keys + 32}.get(family, 16 + keys + 32),
    }
    return 2 * per_layer[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", CONFIGS)
def test_it_trains_alone_and_plain_peft_reads_it(tmp_path, family, kind):
    torch.manual_seed(1)
    settings = {"adapter_tokens": V} if kind in ("prompt", "prefix") else {}
    settings |= {"lora_r": 2, "lora_dropout": 0.0} if kind == "lora" else {}
    backbone = load(save_model(tmp_path / "base", family), adapter=kind, **settings).train()
    trained = {name: p for name, p in backbone.model.named_parameters() if p.requires_grad}
    assert trained.keys() == adapter_names(backbone.model)
    assert sum(p.numel() for p in trained.values()) == n_parameters(family, kind)
    ids = torch.tensor([backbone.encode("abab" * 6)])
    frozen = {name: p.clone() for name, p in backbone.model.named_parameters() if name not in trained}
    optimizer, losses = torch.optim.AdamW(backbone.parameters(), lr=5e-2), []
    for _ in range(10):
        logits = backbone.logits(backbone(backbone.embed(ids)))[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.abs().sum() > 0 for p in trained.values()) or kind == "lora"  # B is zero at first
        assert all(p.grad is None for name, p in backbone.model.named_parameters() if name in frozen)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.005
    assert all(torch.equal(backbone.model.get_parameter(name), before) for name, before in frozen.items())

    backbone.eval().model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    plain = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter"
    )
    with torch.no_grad():
        ours = backbone.logits(backbone(backbone.embed(ids)))
        theirs = plain.eval()(input_ids=ids).logits[:, -ids.shape[1] :]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "prompt", "ia3"])
@pytest.mark.parametrize("family", SEQ2SEQ)
def test_an_encoder_reads_it_and_so_does_plain_peft(tmp_path, family, kind):
    arguments = BackboneArguments(backbone=write_base(tmp_path / "base", SEQ2SEQ[family]()), adapter=kind)
    backbone = adapt(read_seq2seq(arguments, []), arguments).eval()
    randomize(backbone.model)
    backbone.model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    base = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "base")
    plain = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    ids, lengths = torch.tensor([[5, 6, 7, 8], [9, 5, 0, 0]]), torch.tensor([4, 2])
    answer = torch.tensor([[0, 11, 12], [0, 13, 14]])
    with torch.no_grad():
        encoded = backbone.read(backbone.embed(ids), lengths)
        ours = backbone.logits(backbone(backbone.embed(answer), prompts=encoded))
        seen = torch.arange(4) < lengths[:, None]
        theirs = plain(input_ids=ids, attention_mask=seen.long(), decoder_input_ids=answer).logits
        without = base.eval()(input_ids=ids, attention_mask=seen.long(), decoder_input_ids=answer).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert kind != "prompt" or not torch.allclose(ours, without)
    # a prompt's states begin at 0, so that a state can be picked by its token's place
    table = plain.get_base_model().get_encoder()
    if kind == "prompt":
        before = plain.prompt_encoder["default"].embedding.weight
        states = table(inputs_embeds=torch.cat([before, backbone.embed(ids[0])])[None]).last_hidden_state
        torch.testing.assert_close(encoded.states[:1, :4], states[:, len(before) :], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_a_cache_holds_virtual_tokens_once(tmp_path, kind, kernel):
    """Prompts of several lengths in a cache, then more tokens of some rows: each has the states of a plain forward."""
    folder = save_model(tmp_path / "base")
    backbone = load(folder, adapter=kind, adapter_tokens=V, attn_implementation=kernel).eval()
    randomize(backbone.model, 0.5)
    ids, lengths = torch.randint(3, 250, (3, 6)), torch.tensor([6, 2, 4])
    more = torch.randint(3, 250, (2, 2))
    with torch.no_grad():
        cache = backbone.new_cache(3, 6)
        for row in range(3):
            backbone.fill(backbone.embed(ids[row : row + 1, : lengths[row]]), cache, torch.tensor([row]))
        rows = torch.tensor([0, 2])
        cache.select(rows)
        seen = torch.arange(6) < lengths[rows, None]
        mask = torch.cat([seen[:, None].expand(-1, 2, -1), torch.ones(2, 2, 2, dtype=torch.bool).tril()], 2)
        found = backbone(backbone.embed(more), lengths[rows, None] + torch.arange(2), mask, cache)
        for row, states, tokens in zip(rows, found, more):
            whole = torch.cat([ids[row, : lengths[row]], tokens])[None]
            torch.testing.assert_close(states, backbone(backbone.embed(whole))[0, -2:], rtol=1e-4, atol=1e-5)
    keys, _ = cache.layer(0)
    assert keys.tensor.shape[0] == 3 and keys.used == V + 6 + 2


def test_virtual_tokens_begin_as_words(tmp_path):
    folder = save_model(tmp_path / "base")
    prompt = load(folder, adapter="prompt", adapter_tokens=V).eval()
    table = prompt.causal_model.get_input_embeddings().weight
    vectors = prompt.model.prompt_encoder["default"].embedding.weight
    ids = torch.cdist(vectors.detach(), table).argmin(1)
    assert torch.equal(table[ids], vectors)
    prefix = load(folder, adapter="prefix", adapter_tokens=V).eval()
    for backbone in (prompt, prefix):
        torch.manual_seed(3)
        begin_with_words(backbone.model, 259)
    text = prefix.embed(torch.tensor([[5, 6, 7]]))
    torch.testing.assert_close(prefix(text), prompt(text))  # the keys and values of the same words


def refused(folder, message, **settings):
    with pytest.raises(GenRecError, match=message):
        load(folder, **settings)


def test_what_does_not_go_together_is_refused(tmp_path):
    folder = save_model(tmp_path / "base")
    for kind in ("prompt", "prefix"):
        refused(
            folder, f"'gradient_checkpointing: true' .* 'adapter: {kind}'", adapter=kind, gradient_checkpointing=True
        )
        refused(folder, "flex_attention' has no place", adapter=kind, attn_implementation="flex_attention")
        BackboneArguments(adapter=kind, gradient_checkpointing=True)  # a scratch model has no adapter
    for kind in ("prompt", "prefix", "ia3"):
        arguments = BackboneArguments(backbone=folder, adapter=kind)
        backbone = read_backbone(arguments, [])
        ids = add_tokens(backbone, ["<a_1>", "<a_2>"], 1)
        with pytest.raises(
            GenRecError, match=f"'adapter: {kind}' trains no embeddings, .* added 2 new tokens.* such as"
        ):
            adapt(backbone, arguments, ids)
    arguments = BackboneArguments(backbone=write_base(tmp_path / "t5", SEQ2SEQ["t5"]()), adapter="prefix")
    with pytest.raises(GenRecError, match="'adapter: prefix' is for causal language models"):
        adapt(read_seq2seq(arguments, []), arguments)
    refused(folder, "value of 'adapter': 'lorra'.*lora", adapter="lorra")


def test_a_family_whose_layers_peft_does_not_name(tmp_path):
    AutoModelForCausalLM.from_config(StableLmConfig(**{**SHAPE, "num_key_value_heads": 2})).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    refused(str(tmp_path), "'adapter: ia3' is not for a backbone of the family 'stablelm': .* llama", adapter="ia3")


def test_a_model_that_shows_its_tokens_something_else_is_refused(tmp_path, monkeypatch):
    """Of a family with other rules for what stands before a prompt, peft and this package would differ."""
    folder = save_model(tmp_path / "base")
    monkeypatch.setattr("recbole_genrec.backbone.backbone.virtual_states", lambda model: [
        (keys, values + 1) for keys, values in _states(model)
    ])  # fmt: skip
    refused(folder, "'adapter: prefix' cannot be used .* 'llama': its tokens do not see", adapter="prefix")


def _states(model):
    return [(layer.keys, layer.values) for layer in model.get_prompt(1).layers]


def test_a_stored_ia3_says_which_layers_it_scales(tmp_path):
    folder = save_model(tmp_path / "base")
    arguments = BackboneArguments(backbone=folder, adapter="ia3")
    adapted = adapt(read_backbone(arguments, []), arguments)
    adapted.model.save_pretrained(tmp_path / "best/adapter", save_embedding_layers=False)
    path = tmp_path / "best/adapter/adapter_config.json"
    stored = json.loads(path.read_text()) | {
        "target_modules": ["o_proj", "up_proj"],
        "feedforward_modules": ["up_proj"],
    }
    path.write_text(json.dumps(stored))
    again = adapt(read_backbone(arguments, []), arguments, checkpoint=tmp_path / "best")
    names = {name.split(".")[-3] for name in adapter_names(again.model)}
    assert names == {"o_proj", "up_proj"} and len(adapter_names(adapted.model)) == 6
    assert load_file(tmp_path / "best/adapter/adapter_model.safetensors").keys() == {
        name.removesuffix(".default") for name in adapter_names(adapted.model)
    }
    path.write_text(json.dumps(stored | {"feedforward_modules": [1]}))
    with pytest.raises(GenRecError, match="best' is damaged: adapter_config.json"):
        adapt(read_backbone(arguments, []), arguments, checkpoint=tmp_path / "best")
