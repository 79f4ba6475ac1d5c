"""PromptLLM with a local model: its prompts, its lists, its settings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.batches.questions import draw_examples
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.interactions.split import SplitData
from tests.model.promptllm_world import built


def test_few_shot_examples_stand_before_the_history_as_text(local):
    _, data, model = built(local | {"few_shot": 2})
    texts = ["", *model.catalogue.texts]
    items = np.array([3, 4])
    prompt = model.packer.prompts(items, np.array([0]), np.array([2]))
    examples = "".join(
        "".join(f"{texts[item]}\n" for item in [*example.history, example.target]) + "\n" for example in model.examples
    )
    written = model.backbone.tokenizer.decode(prompt.input_ids[0])
    assert written == f"<s>{examples}{texts[3]}\n{texts[4]}\n"


def test_examples_are_of_training_users_and_follow_the_seed(local):
    config = GenRecConfig("PromptLLM", "tiny", config_dict=local)
    train = SplitData([config]).parts[0]
    users, items, offsets = train_sequences(train)
    sequences = [items[begin:end].tolist() for begin, end in zip(offsets, offsets[1:])]
    examples = draw_examples(train, 5, 7)
    assert all([*example.history.tolist(), example.target] in sequences for example in examples)
    same, other = draw_examples(train, 5, 7), draw_examples(train, 5, 8)
    assert [example.target for example in same] == [example.target for example in examples]
    assert [e.history.tolist() for e in other] != [e.history.tolist() for e in examples]
    with pytest.raises(GenRecError, match="'few_shot' asks for 1000 examples, but there are only 48 users"):
        draw_examples(train, 1000, 7)


@pytest.mark.parametrize("prompt", ["continuation", "instruction"])
def test_exact_lists_equal_scoring_every_item(local, prompt):
    settings = local | {"few_shot": 1, "prompt": prompt}
    _, data, model = built(settings)
    interaction, *_ = next(iter(data.evaluation_loader(built(settings)[0], "test")))
    _, _, full = built(settings | {"decoding": "full"})
    model.eval(), full.eval()
    best = full.full_sort_predict(interaction).topk(model.k)
    found = model.full_sort_predict(interaction)
    torch.testing.assert_close(found.topk(model.k).values, best.values)


def test_nothing_is_trained_whatever_epochs_says(local):
    result = run_recbole_genrec("PromptLLM", "tiny", config_dict=local | {"epochs": 7})
    assert result["parameters"]["trainable"] == 0 and result["parameters"]["total"] > 0
    assert (result["epochs"], result["checkpoint"]) == (0, None)
    assert result["best_valid_result"].keys() == result["test_result"].keys()
    assert result["generation"]["valid_share"] == 1
    assert not list(Path().rglob("*.safetensors"))
    without = run_recbole_genrec("PromptLLM", "tiny", config_dict=local | {"eval_step": 0})
    assert without["best_valid_result"] is None
    assert without["test_result"] == result["test_result"]


def test_it_stands_beside_trained_models(local):
    settings = local | {"epochs": 1, "backbone": "scratch", "PromptLLM": {"backbone": local["backbone"]}}
    results = run_recbole_genrec("PromptLLM,GenRec,SASRec", "tiny", config_dict=settings)
    assert [result["model"] for result in results] == ["PromptLLM", "GenRec", "SASRec"]
    assert [result["epochs"] for result in results] == [0, 1, 1]
    table = Path("results/PromptLLM+GenRec+SASRec-tiny-2020.md").read_text("utf-8")
    assert table.count("\n| ") == 5
    assert len({tuple(result["test_result"]) for result in results}) == 1


def test_weights_keep_their_own_precision(local, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(local["backbone"]).bfloat16().save_pretrained(folder)
    AutoTokenizer.from_pretrained(local["backbone"]).save_pretrained(folder)
    _, _, model = built(local | {"backbone": str(folder)})
    assert next(model.parameters()).dtype == torch.bfloat16


def test_a_model_that_knows_nothing_is_warned_of(checkerboard, caplog):
    built(checkerboard)
    assert "'backbone: scratch' knows nothing" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ranking": "talk"}, "'ranking': 'talk'"),
        ({"ranking": "chat"}, "needs 'chat_model'"),
        ({"ranking": "chat", "chat_model": "gpt"}, "no API key in the environment variable 'OPENAI_API_KEY'"),
        ({"few_shot": -1}, "'few_shot'"),
        ({"few_shot": 40}, "'max_prompt_tokens' .512. leaves no room for a history"),
        ({"item_indexing": "random"}, "'item_indexing' must be 'title'"),
        ({"edge_embedding": True}, "'edge_embedding: false'"),
        ({"item_prior": True}, "'item_prior: false'"),
        ({"chat_prompts": "other"}, "question prompts 'other'"),
        ({"api_key_env": "sk-abc"}, "must be the name of an environment variable, in capitals, not the key itself"),
        ({"base_url": "localhost:8000"}, "'base_url' must begin with http"),
        ({"base_url": "http://me:secret@host/v1"}, "'base_url' must hold no user"),
        ({"chat_options": "none"}, "'chat_options' must be a mapping"),
        ({"chat_options": {"model": "x"}}, "'chat_options' cannot hold 'model'"),
        ({"concurrency": 0}, "'concurrency'"),
        ({"json_mode": 1}, "'json_mode' must be true or false"),
    ],
)
def test_settings_that_cannot_be_are_refused(local, monkeypatch, changes, message):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(GenRecError, match=message) as caught:
        built(local | changes)
    assert "sk-abc" not in str(caught.value) and "secret" not in str(caught.value)


def test_the_chat_is_checked_before_another_model_trains(local):
    settings = local | {"backbone": "scratch", "PromptLLM": {"ranking": "chat"}}
    with pytest.raises(GenRecError, match="needs 'chat_model'"):
        run_recbole_genrec("GenRec,PromptLLM", "tiny", config_dict=settings)
    assert not Path("results").exists()


@pytest.mark.parametrize("prompt", ["continuation", "instruction"])
@pytest.mark.parametrize("few_shot", [0, 2])
def test_a_sentence_about_the_user_stands_before_the_history(local, prompt, few_shot):
    _, _, model = built(local | {"few_shot": few_shot, "prompt": prompt, "max_prompt_tokens": 1024})

    def written():
        prompts = model.packer.prompts(np.array([3, 4]), np.array([0]), np.array([2]))
        return model.backbone.tokenizer.decode(prompts.input_ids[0])

    neutral = written()
    with model.about_user("The user is female."):
        named = written()
    titles = ["", *model.catalogue.texts]
    own = f"{titles[3]}\n{titles[4]}\n"
    if prompt == "instruction":
        own = f"{model.template.prefix_text()} {titles[3]}, {titles[4]}{model.template.response_prefix}"
    assert neutral.endswith(own)
    assert named == f"{neutral.removesuffix(own)}The user is female.\n{own}"
    assert written() == neutral


def test_a_chat_is_told_of_the_user_right_before_the_question(local):
    _, _, model = built(local)
    model.writer.preface = "The user is {k}.\n"
    text = model.writer.messages("sequential", model.writer.about_items(np.array([3])))[-1]["content"]
    assert text.startswith("The user is {k}.\nA user chose")
