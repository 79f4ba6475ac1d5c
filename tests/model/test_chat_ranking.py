"""PromptLLM with ``ranking: chat``: lists that a scripted server names."""

import json
import re
from collections import Counter

import numpy as np
import pytest
import torch

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.distributed.world import World
from recbole_genrec.model.promptllm import PromptLLM
from recbole_genrec.training.untrained import PromptLLMTrainer
from tests.model.conftest import BLACK, WHITE
from tests.model.promptllm_world import built, history_of, needs_chat, oracle, prose, saved
from tests.servers import ScriptedServer


@needs_chat
@pytest.mark.parametrize("script", [oracle, prose])
def test_a_chat_that_knows_the_answer_is_right(chat, script):
    with ScriptedServer(script) as server:
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=chat(server, eval_step=0))
        assert result["test_result"]["hit@1"] == 1
        assert len(server.bodies) <= 48
        assert f"Which {5} items" in server.bodies[0]["messages"][-1]["content"]
    report = saved()
    grounding = report["generation"]["grounding"]
    assert grounding["answers"] == report["generation"]["lists"] == 48
    assert grounding["exact"] == grounding["titles"] == 5 * 48
    assert grounding["repaired"] == (48 if script is prose else 0)
    assert report["generation"]["filled_lists"] == grounding["refused"] == 0
    assert report["usage"]["requests"] == len(server.bodies)
    assert report["usage"]["input_tokens"] > 0
    assert (report["parameters"]["total"], report["epochs"], report["checkpoint"]) == (0, 0, None)


@needs_chat
def test_the_report_says_what_was_invented_repeated_and_refused(chat):
    def careless(body, number):
        if history_of(body)[-1] in WHITE:
            return "I cannot do that."
        return json.dumps({"titles": ["heat", "Heat", "Alien!", "Star Wars", "The Stingg"]})

    with ScriptedServer(careless) as server:
        run_recbole_genrec("PromptLLM", "tiny", config_dict=chat(server))
    generation = saved()["generation"]
    counts = {"answers": 48, "refused": 24, "titles": 120, "exact": 48, "repeated": 24, "invented": 24, "fuzzy": 24}
    assert generation["grounding"] == counts | {"repaired": 0, "out_of_candidates": 0}
    assert generation["filled_lists"] == 48 and generation["valid_share"] == 1


@needs_chat
def test_lists_are_filled_with_what_training_has_seen_least(chat, tmp_path, write_dataset):
    """Title n has been in training n times, more than once for all but the first; a list names the most popular one."""
    titles = WHITE + BLACK
    rows = []
    for user in range(len(titles)):  # the last two items of a user are no training
        seen = titles[user:] + ["Heat", "Big"]
        rows += [(f"u{user}", title, 100 + time) for time, title in enumerate(seen)]
    data_path = write_dataset(tmp_path / "unequal", rows[::-1], [(title, title) for title in titles[::-1]])
    popular = titles[-1]
    with ScriptedServer(lambda body, number: json.dumps({"titles": [popular]})) as server:
        config, data, model = built(chat(server, data_path=data_path))
        interaction, *_ = next(iter(data.evaluation_loader(config, "test")))
        scores = model.full_sort_predict(interaction)
    counts = Counter(title for user in range(len(titles)) for title in titles[user:])
    assert [counts[title] for title in titles] == list(range(1, 13))
    for row in scores:
        assert torch.isfinite(row).sum() == 5 and row[0] == -torch.inf
        listed = data.dataset.id2token("item_id", row.topk(5).indices.numpy())
        assert listed.tolist() == [popular, *titles[:4]]


@needs_chat
@pytest.mark.parametrize("candidates", [0, 3])
def test_what_a_user_has_seen_is_not_listed(chat, candidates):
    """The server names seen items first; the rest of the list is filled up, and hits nothing by chance."""

    def nostalgic(body, number):
        return json.dumps({"titles": history_of(body)[-1:] + json.loads(oracle(body))["titles"][:1]})

    with ScriptedServer(nostalgic) as server:
        config, data, model = built(chat(server, repeatable=False, chat_candidates=candidates))
        interaction, left_out, *_ = next(iter(data.evaluation_loader(config, "test")))
        scores = model.full_sort_predict(interaction)
        asked = [body["messages"][-1]["content"] for body in server.bodies]
    assert len(left_out[0]) and (scores[left_out] == -torch.inf).all()
    assert (torch.isfinite(scores).sum(1) == 5).all()
    assert scores.argmax(1).tolist() == interaction["item_id"].tolist()
    assert model.statistics["filled_lists"] == len(scores)
    if candidates:
        for text in asked:
            body = {"messages": [{"content": text}]}
            (target,) = json.loads(oracle(body))["titles"][:1]  # which a user comes back to
            given = re.findall(r"^- (.+)$", text.split("candidates:")[1], re.MULTILINE)
            assert len(given) == 3 and not set(given) & set(history_of(body)) - {target}


@needs_chat
def test_candidates_come_from_training_interactions(chat):
    """The candidates' question has the right next item, since training users went there most often; the list stays
    within them."""
    with ScriptedServer(oracle) as server:
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=chat(server, chat_candidates=3, eval_step=0))
        assert result["test_result"]["hit@1"] == 1
        text = server.bodies[0]["messages"][-1]["content"]
    candidates = re.findall(r"^- (.+)$", text.split("candidates:")[1], re.MULTILINE)
    assert len(candidates) == 3
    assert result["generation"]["grounding"]["out_of_candidates"] > 0


@needs_chat
def test_sampled_candidates_are_those_of_all_models(chat):
    mode = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni7"}
    with ScriptedServer(oracle) as server:
        settings = chat(server, eval_args=mode, eval_step=0, eval_batch_size=5)  # smaller than a user's candidates
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
        lists = [body["messages"][-1]["content"].split("candidates:")[1] for body in server.bodies]
    assert result["test_result"]["hit@1"] == 1
    named = [re.findall(r"^- (.+)$", text, re.MULTILINE) for text in lists]
    assert all(1 < len(set(candidates)) == len(candidates) <= 8 for candidates in named)
    answers = [json.loads(oracle(body))["titles"][0] for body in server.bodies]
    places = [candidates.index(answer) / (len(candidates) - 1) for candidates, answer in zip(named, answers)]
    assert 0.3 < np.mean(places) < 0.7  # RecBole has the target first


@needs_chat
def test_a_chat_has_no_loss_and_moves(chat):
    with ScriptedServer(oracle) as server:
        _, data, model = built(chat(server))
    assert isinstance(model.to("cpu"), PromptLLM)
    with pytest.raises(GenRecError, match="has no loss"):
        model.calculate_loss({})


def test_a_chat_needs_one_process(local, chat, monkeypatch):
    """A local model takes several, each its share of the users."""
    _, _, of_own = built(local)
    _, _, chatting = built(chat("http://127.0.0.1:9"))
    config = GenRecConfig("PromptLLM", "tiny", config_dict=local)
    monkeypatch.setattr("recbole_genrec.training.trainer.current", lambda: World(rank=0, size=2))
    monkeypatch.setattr(World, "spread", lambda world, tensors: None)
    monkeypatch.setattr(World, "from_first", lambda world, make: make())
    PromptLLMTrainer(config, of_own).tensorboard.close()
    with pytest.raises(GenRecError, match="in one process: leave '--nproc' at 1"):
        PromptLLMTrainer(config, chatting)
