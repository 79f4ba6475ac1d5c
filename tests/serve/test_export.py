"""Exports: plain transformers and plain peft give the recommender's scores, by the model card's own code."""

import json
import re

import peft
import pytest
import torch
import transformers
import yaml

from recbole_genrec.checkpoint.checkpoint import save_checkpoint
from recbole_genrec.cli.main import main
from recbole_genrec.errors import GenRecError
from recbole_genrec.serve.export import export
from tests.builders import SCRATCH, STATE, write_base, write_checkpoint
from tests.results import run_result

TITLES = ["Toy Story", "GoldenEye", "Four Rooms", "Four Rooms", "Get Shorty", "Copycat", "Babe", "Seven", "Braveheart"]
SMALL = {**SCRATCH, "decoding": "full", "max_prompt_tokens": 400}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
SHAPE = {"vocab_size": 262, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
BASES = {
    "llama": lambda: transformers.LlamaConfig(**SHAPE, num_attention_heads=2),
    "qwen2": lambda: transformers.Qwen2Config(
        **SHAPE, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True
    ),
    "t5": lambda: transformers.T5Config(
        vocab_size=262, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=2
    ),
}
LORA = {"adapter": "lora", "lora_r": 2}
P5_PLAIN = {"whole_word_embedding": False, "tasks": {"sequential": 1}}
SEQUENCE_PLAIN = {"mask_pointer": False, "mask_ratio": 0, "user_embedding": False, "item_id_embedding": False}
CASES = {
    "scratch": ("GenRec", None, {}),
    "instruction": ("GenRec", None, {"prompt": "instruction"}),
    "vocabulary": ("GenRec", None, {"normalization": "vocab", "prompt": "instruction"}),
    "new tokens": ("GenRec", None, {"item_indexing": "semantic", "semantic_steps": 5}),
    "whole": ("GenRec", "llama", {"adapter": "none"}),
    "adapter": ("GenRec", "llama", LORA),
    "adapter, new tokens": ("GenRec", "llama", {**LORA, "item_indexing": "independent"}),
    "adapter, new tokens, tied": ("GenRec", "qwen2", {**LORA, "item_indexing": "independent"}),
    "ia3": ("GenRec", "llama", {"adapter": "ia3"}),
    "prompt": ("GenRec", "llama", {"adapter": "prompt", "adapter_tokens": 4}),
    "prefix": ("GenRec", "qwen2", {"adapter": "prefix", "adapter_tokens": 4}),
    "p5": ("P5", None, P5_PLAIN),
    "p5, ia3": ("P5", "t5", {**P5_PLAIN, "adapter": "ia3", "item_indexing": "sequential"}),
    "p5, prompt": ("P5", "t5", {**P5_PLAIN, "adapter": "prompt", "adapter_tokens": 4, "item_indexing": "sequential"}),
    "p5, adapter": ("P5", "t5", {**P5_PLAIN, **LORA, "lora_target_modules": ["q", "v"]}),
    "sequence": ("GenRecSeq2Seq", None, SEQUENCE_PLAIN),
    "tiger": ("TIGER", None, {"user_tokens": 0, "semantic_steps": 5}),
    "tiger, adapter": ("TIGER", "t5", {"user_tokens": 0, "semantic_steps": 5, **LORA, "lora_target_modules": ["q"]}),
}
WITH_ADAPTER = [name for name, (_, _, settings) in CASES.items() if settings.get("adapter", "none") != "none"]
VIRTUAL = [name for name, (_, _, settings) in CASES.items() if settings.get("adapter") in ("prompt", "prefix")]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(is_gradient_checkpointing|past_key_values).* is deprecated:FutureWarning"
)


@pytest.fixture
def world(tmp_path, write_dataset, monkeypatch):
    """A function that builds a model with random weights, stores it and gives it with its configuration."""
    monkeypatch.chdir(tmp_path)

    def build(name="GenRec", family=None, **settings):
        rows = [(f"u{u}", f"m{(u + t) % len(TITLES)}", 100 + t) for u in range(9) for t in range(5)]
        items = [(f"m{i}", title) for i, title in enumerate(TITLES)]
        data_path = write_dataset(tmp_path / "data", rows, items)
        if family:
            settings["backbone"] = write_base(tmp_path / "base", BASES[family](), SPECIAL)
        config, model, _ = write_checkpoint("best", name, {"data_path": data_path, **SMALL, **settings})
        return config, model

    return build


def run_card(folder, capsys):
    """Run the model card's code from the folder above; gives its variables and the lines it prints."""
    code = re.search(r"```python\n(.+?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)[1]
    names = {}
    capsys.readouterr()
    exec(compile(code, "README.md", "exec"), names)
    return names, capsys.readouterr().out.splitlines()


@torch.no_grad()
def plain_scores(names, prompt, normalization):
    """Log-probability of every item by teacher forcing, without a line of the package."""
    model, end, scores = names["model"], names["end"], []
    for identifier in names["identifiers"]:
        answer = [*identifier, end]
        if model.config.is_encoder_decoder:
            start = [model.config.decoder_start_token_id]
            fed = {"input_ids": torch.tensor([prompt]), "decoder_input_ids": torch.tensor([start + answer[:-1]])}
            logits = model(**fed).logits[0]
        else:
            logits = model(input_ids=torch.tensor([prompt + answer[:-1]])).logits[0, -len(answer) :]
        score = 0.0
        for place, token in enumerate(answer):
            possible = {
                other[place] for other in ([*i, end] for i in names["identifiers"]) if other[:place] == answer[:place]
            }
            chosen = logits[place, sorted(possible)] if normalization == "trie" else logits[place]
            score += float(logits[place, token] - chosen.logsumexp(0))
        scores.append(score)
    return torch.tensor(scores)


def recommender_scores(model, histories):
    """The recommender's scores of all items, for nobody's histories of places in the catalogue."""
    width = max(map(len, histories))
    rows = torch.tensor([[place + 1 for place in h] + [0] * (width - len(h)) for h in histories])
    nobody = torch.zeros(len(histories), dtype=torch.long)
    asked = {model.ITEM_SEQ: rows, model.ITEM_SEQ_LEN: torch.tensor(list(map(len, histories))), model.USER_ID: nobody}
    return model.full_sort_predict({**asked, model.ITEM_ID: nobody})[:, 1:]


def check_scores(folder, model, normalization, capsys):
    names, printed = run_card(folder, capsys)
    histories = [names["history"], [4], [8, 2, 2, 7]]
    expected = recommender_scores(model, histories)
    for history, row in zip(histories, expected):
        prompt = list(names["start"])
        for place, item in enumerate(history):
            prompt += [*(names["between"] if place else []), *names["identifiers"][item], *names["suffix"]]
        prompt += names["response"]
        torch.testing.assert_close(plain_scores(names, prompt, normalization), row, rtol=0, atol=1e-5)
    best = expected[0].argsort(descending=True).tolist()
    items = names["items"]
    assert printed == [f"{items['tokens'][place]} {items['texts'][place]}" for place in best]
    return names


@pytest.mark.parametrize("case", [case for case in CASES if case not in VIRTUAL])
def test_a_merged_export_gives_the_recommenders_scores(world, tmp_path, capsys, case):
    name, family, settings = CASES[case]
    _, model = world(name, family, **settings)
    made = export("best", "plain", merged=True)
    assert made.items == len(TITLES) and (made.difference is not None) == (case in WITH_ADAPTER)
    assert made.difference is None or made.difference < 1e-5
    names = check_scores(tmp_path / "plain", model, settings.get("normalization", "trie"), capsys)
    rows = names["model"].get_input_embeddings().weight.shape[0]
    config = json.loads((tmp_path / "plain/config.json").read_text())
    assert config["vocab_size"] == rows and config["architectures"] == [type(names["model"]).__name__]
    assert "auto_map" not in config and "quantization_config" not in config
    tokenizer = transformers.AutoTokenizer.from_pretrained("plain")
    assert len(tokenizer) <= rows
    assert tokenizer("Seven").input_ids == model.backbone.tokenizer("Seven").input_ids


@pytest.mark.parametrize("case", WITH_ADAPTER)
def test_an_adapter_export_is_pefts_own(world, tmp_path, capsys, case):
    name, family, settings = CASES[case]
    _, model = world(name, family, **settings)
    export("best", "adapter")
    assert (tmp_path / "adapter/adapter_model.safetensors").read_bytes() == (
        tmp_path / "best/adapter/adapter_model.safetensors"
    ).read_bytes()
    names = check_scores(tmp_path / "adapter", model, "trie", capsys)
    assert isinstance(names["model"], peft.PeftModel)


@pytest.mark.parametrize("case", VIRTUAL)
def test_virtual_tokens_are_not_merged(world, case):
    name, family, settings = CASES[case]
    world(name, family, **settings)
    kind = settings["adapter"]
    with pytest.raises(GenRecError, match=f"is of virtual tokens \\('adapter: {kind}'\\), which no plain"):
        export("best", "plain", merged=True)


def test_the_card_tells_where_the_model_comes_from_and_what_was_measured(world, tmp_path):
    config, _ = world(**CASES["adapter"][2], family="llama")
    users = {"evaluated": 5, "of": 9}
    result = run_result(seed=config["seed"], test_result={"ndcg@3": 0.125}, users=users)
    result.changed(checkpoint=str(tmp_path / "best")).write("results")
    export("best", "plain", merged=True)
    text = (tmp_path / "plain/README.md").read_text("utf-8")
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert metadata["library_name"] == "transformers" and metadata["datasets"] == ["tiny"]
    assert "base_model" not in metadata  # a folder of this machine is no name on the hub
    measured = metadata["model-index"][0]["results"]
    assert {(r["dataset"]["split"], r["metrics"][0]["value"]) for r in measured} == {
        ("validation", 0.25),
        ("test", 0.125),
    }
    assert "| ndcg@3 | 0.2500 | 0.1250 |" in text and "\nTest: 5 of 9 users.\n" in text
    assert "```\n<s>Toy Story\nGoldenEye\nFour Rooms\n\n```" in text

    result.changed(checkpoint="another/best").write("results")
    export("best", "plain", merged=True, overwrite=True)
    assert "| ndcg@3 | 0.2500 |  |" in (tmp_path / "plain/README.md").read_text("utf-8")

    next((tmp_path / "results").glob("*.json")).write_text("{", "utf-8")
    with pytest.raises(GenRecError, match="GenRec-tiny-.*json is not JSON"):
        export("best", "plain", merged=True, overwrite=True)


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("GenRec", {"history": "both"}, "with 'history: both', .* 'history: text' can"),
    ("GenRec", {"edge_embedding": True}, "with 'edge_embedding: true'"),
    ("GenRec", {"item_prior": True}, "with 'item_prior: true'"),
    ("P5", {"tasks": {"sequential": 1}}, "'whole_word_embedding: true'"),
    ("GenRecSeq2Seq", {}, "'mask_pointer: true'"),
    ("TIGER", {"semantic_steps": 5}, "'user_tokens: 2000', .* 'user_tokens: 0' can"),
    ("GenRecSeq2Seq", {**SEQUENCE_PLAIN, "item_id_embedding": True}, "'item_id_embedding: true'"),
])  # fmt: skip
def test_what_a_language_model_alone_cannot_do_is_refused(world, tmp_path, name, settings, message):
    world(name, **settings)
    with pytest.raises(GenRecError, match=message):
        export("best", "plain", merged=True)
    assert not (tmp_path / "plain").exists()


def test_every_tensor_beside_the_language_model_has_a_setting_that_refuses_it(world, tmp_path):
    for name, (model_name, family, settings) in CASES.items():
        _, model = world(model_name, family, **settings)
        others = [key for key in model.state_dict() if not key.startswith("backbone.model.")]
        assert not others, name


def test_quantised_weights_are_not_merged(world, tmp_path):
    config, model = world(**CASES["adapter"][2], family="llama")
    config.final_config_dict["quantization"] = "4bit"
    save_checkpoint("best", model, config, STATE)
    with pytest.raises(GenRecError, match="beside 4bit weights"):
        export("best", "plain", merged=True)
    assert export("best", "adapter").kind == "adapter"


def test_a_failed_export_leaves_what_was_there(world, tmp_path, monkeypatch):
    world()
    export("best", "plain", merged=True)
    before = (tmp_path / "plain/model.safetensors").read_bytes()
    monkeypatch.setattr("recbole_genrec.serve.export.write_card", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export("best", "plain", merged=True, overwrite=True)
    assert (tmp_path / "plain/model.safetensors").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


class TestCommandLine:
    def test_it_exports(self, world, capsys):
        world(**CASES["adapter"][2], family="llama")
        assert main(["export", "--checkpoint=best", "--output=out/plain", "--merged"]) == 0
        assert re.fullmatch(
            r"out/plain: merged model of 9 items; log-probabilities .* at most\n", capsys.readouterr().out
        )
        assert main(["export", "--checkpoint=best", "--output=out/plain"]) == 2
        assert "'out/plain' exists: name another folder, or add --overwrite." in capsys.readouterr().err
        assert main(["export", "--checkpoint=best", "--output=base", "--overwrite"]) == 2
        assert "replaces an earlier export, and 'base' is none" in capsys.readouterr().err

    def test_mistakes(self, world, capsys):
        world()
        for arguments, message in (
            (["--output=plain"], "--checkpoint is missing"),
            (["--checkpoint=best", "--output=plain"], "holds a whole model and no adapter: add --merged."),
            (["--checkpoint=nowhere", "--output=plain"], "'nowhere' does not exist"),
            (["--checkpoint=best", "--outputs=plain"], "Did you mean '--output'?"),
            (["--checkpoint=best", "--output=plain", "--merged=2"], "--merged is a flag"),
        ):
            assert main(["export", *arguments]) == 2
            assert message in capsys.readouterr().err
        assert main(["export", "--help"]) == 0 and "--merged" in capsys.readouterr().out
