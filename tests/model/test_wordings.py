"""Wordings that are held out of training: it never sees them, and the test reports them beside those it has seen."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.retest import retest
from recbole_genrec.runs.run import build_model
from tests.model.conftest import BLACK, WHITE
from tests.model.promptllm_world import needs_chat, oracle
from tests.servers import ScriptedServer

TEMPLATE = {"version": 1, "prefix": "{instruction} ", "lead": " ", "item_prefix": ",", "end": "eos"}
WORDS = ["What comes after these?", "Name the film that follows:"]
UNSEEN = "One walks along. Then?"
FEW = {"epochs": 2, "eval_step": 2, "scratch_hidden_size": 16}


def template(name, **keys):
    Path(name).write_text(yaml.safe_dump(TEMPLATE | keys), "utf-8")
    return name


def built(model, settings):
    config = GenRecConfig(model, "tiny", config_dict=settings)
    data = SplitData([config])
    torch.manual_seed(1)
    model = build_model(config, data)
    return config, data, model.eval()


def test_training_is_that_without_the_held_out_wordings(checkerboard):
    own = checkerboard | FEW
    plain = run_recbole_genrec("GenRec", "tiny", config_dict=own | {"prompt": template("a.yaml", instructions=WORDS)})
    assert plain["tasks"] == {}
    held = template("b.yaml", instructions=WORDS, held_out=[UNSEEN, "And now?"])
    result = run_recbole_genrec("GenRec", "tiny", config_dict=own | {"prompt": held})
    assert result["curve"][-1]["train_loss"] == plain["curve"][-1]["train_loss"]
    assert result["test_result"] == plain["test_result"]
    assert result["tasks"].keys() == {"sequential"}
    assert result["tasks"]["sequential"].keys() == {"seen", "unseen", "unseen 2"}
    assert result["tasks"]["sequential"]["seen"] == result["test_result"]
    stored = yaml.safe_load((Path(result["checkpoint"]) / "prompt.yaml").read_text("utf-8"))
    assert stored["held_out"] == [UNSEEN, "And now?"] and stored["instructions"] == WORDS
    again = retest(Path(f"results/GenRec-tiny-{result['seed']}.json"))
    assert again["tasks"] == result["tasks"]


@pytest.mark.parametrize("model", ["GenRec", "PromptLLM"])
def test_a_held_out_wording_is_what_ranks(local, model):
    """The same scores as a model whose only instruction it is, with the same weights; and the own ones afterwards."""
    few_shot = {"few_shot": 2} if model == "PromptLLM" else {"adapter": "none"}
    held = local | few_shot | {"prompt": template("a.yaml", instructions=WORDS[:1], held_out=[UNSEEN])}
    only = local | few_shot | {"prompt": template("b.yaml", instructions=[UNSEEN])}
    (config, data, one), (_, _, other) = built(model, held), built(model, only)
    other.load_state_dict(one.state_dict())
    batch = next(iter(data.evaluation_loader(config, "test")))[0]
    own, expected = one.full_sort_predict(batch), other.full_sort_predict(batch)
    with one.worded(UNSEEN):
        worded = one.full_sort_predict(batch)
    assert torch.equal(worded, expected) and not torch.equal(worded, own)
    assert torch.equal(one.full_sort_predict(batch), own)


def test_tallrec(checkerboard, checkpoint, write_dataset, tmp_path):
    header = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
    titles = BLACK + WHITE
    rows = [(f"u{u}", titles[u * i % 12], 5 if (u + i) % 3 else 1, 100 + i) for u in range(12) for i in range(1, 7)]
    path = write_dataset(tmp_path / "rated", rows, [(title, title) for title in titles], inter_header=header)
    labels = {"threshold": {"rating": 4}, "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}
    labels |= {"eval_args": {"mode": "labeled"}, "metrics": ["LogLoss"], "valid_metric": "LogLoss"}
    settings = checkerboard | FEW | labels | {"data_path": path, "max_prompt_tokens": 512}
    prompt = yaml.safe_load((properties_folder() / "yes_no/tallrec.yaml").read_text("utf-8"))
    text = "Likes{liked}, dislikes{disliked}.\nAnd{candidate}? Say"
    Path("held.yaml").write_text(yaml.safe_dump(prompt | {"held_out": [text]}), "utf-8")
    Path("only.yaml").write_text(yaml.safe_dump(prompt | {"text": text}), "utf-8")
    plain = run_recbole_genrec("TALLRec", "tiny", config_dict=settings)
    result = run_recbole_genrec("TALLRec", "tiny", config_dict=settings | {"yes_no_prompt": "held.yaml"})
    seen = result["tasks"]["yes_no"]["seen"]
    assert plain["tasks"] == {} and seen == result["test_result"] == plain["test_result"]
    assert result["tasks"]["yes_no"]["unseen"] != seen
    settings |= {"backbone": checkpoint, "adapter": "none"}  # a tokenizer that knows neither
    (config, data, one), (_, _, other) = (
        built("TALLRec", settings | {"yes_no_prompt": f"{name}.yaml"}) for name in ("held", "only")
    )
    other.load_state_dict(one.state_dict())
    batch = next(iter(data.evaluation_loader(config, "test")))
    batch = batch[0] if isinstance(batch, tuple) else batch
    own = one.predict(batch)
    with one.worded(text):
        assert torch.equal(one.predict(batch), other.predict(batch))
    assert torch.equal(one.predict(batch), own) and not torch.equal(own, other.predict(batch))


@needs_chat
def test_a_server_is_asked_in_other_words(chat):
    questions = yaml.safe_load((properties_folder() / "chat/promptllm.yaml").read_text("utf-8"))
    questions["sequential"]["held_out"] = ["A user chose, in these words:\n{history}"]
    Path("mine.yaml").write_text(yaml.safe_dump(questions), "utf-8")
    with ScriptedServer(oracle) as server:
        settings = chat(server, chat_prompts="mine.yaml", eval_step=0, tasks={"sequential": 1})
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
    asked = [json.dumps(body["messages"]) for body in server.bodies]
    assert sum("in these words" in text for text in asked) * 2 == len(asked)
    assert result["tasks"]["sequential"].keys() == {"zero-shot", "zero-shot, unseen"}
    assert result["tasks"]["sequential"]["zero-shot"] == result["test_result"]


def test_it_can_be_left_out(checkerboard):
    held = template("a.yaml", instructions=WORDS, held_out=[UNSEEN])
    result = run_recbole_genrec(
        "GenRec", "tiny", config_dict=checkerboard | FEW | {"prompt": held, "test_tasks": False}
    )
    assert result["tasks"] == {}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"held_out": "what?"}, "'held_out' must be a list of texts, not 'what\\?'"),
        ({"held_out": [""]}, "'held_out' must be a list of texts"),
        ({"held_out": [UNSEEN], "prefix": "", "instructions": [""]}, "'held_out' .* needs 'instructions'"),
        ({"held_out": ["long " * 200]}, r"'max_prompt_tokens' \(96\) leaves no room"),
    ],
)
def test_bad_wordings_are_refused(checkerboard, keys, message):
    held = template("a.yaml", **{"instructions": WORDS} | keys)
    with pytest.raises(GenRecError, match=message):
        built("GenRec", checkerboard | {"prompt": held})
