"""PromptLLM's tasks beside the ranking, with a local model and with a scripted server."""

import json
import re

import pytest

from recbole_genrec import GenRecError, run_recbole_genrec
from tests.model.conftest import KEY
from tests.model.promptllm_world import built, needs_chat
from tests.model.test_p5 import HEADER, KIND
from tests.servers import ScriptedServer


@pytest.fixture
def reviews(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    rows = []
    for user in range(12):
        for time_ in range(5 + user % 4):
            item = (user + time_) % 9
            text = f"A {'good' if item % 3 == 0 else 'bad'} {KIND[item % 3]} for us all. More words follow here."
            rows.append((f"u{user}", f"i{item}", 1000 + time_, 5 if item % 3 == 0 else 2, text, f"my {KIND[item % 3]}"))
    items = [(f"i{item}", f"{KIND[item % 3]} number {item}") for item in range(9)]
    return {
        "data_path": write_dataset(tmp_path / "data", rows, items, inter_header=HEADER),
        "topk": [1, 3],
        "valid_metric": "NDCG@3",
        "n_candidates": 4,
        "max_target_tokens": 8,
        "max_prompt_tokens": 1024,
        "show_progress": False,
        "tasks": {"sequential": 1, "direct": 1, "rating": 1, "explanation": 1, "review": 1},
    }


@pytest.mark.parametrize("few_shot", [0, 2])
def test_a_local_model_does_all_tasks(reviews, checkpoint, few_shot):
    settings = reviews | {"backbone": checkpoint, "few_shot": few_shot}
    tasks = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)["tasks"]
    assert tasks.keys() == {"direct", "rating", "explanation", "review"}
    kind = "2-shot" if few_shot else "zero-shot"
    assert all(found.keys() == {kind} for found in tasks.values())
    assert 0 <= tasks["rating"][kind]["mae"] <= 3
    assert tasks["explanation"][kind]["examples"] == tasks["rating"][kind]["examples"] == 12
    assert len(tasks["review"][kind]["shown"]) == 3
    assert tasks["direct"][kind].keys() == {"hit@1", "hit@3", "ndcg@1", "ndcg@3"}


def test_interactions_without_the_texts_of_a_task_are_no_test_of_it(
    tmp_path, write_dataset, checkpoint, monkeypatch, caplog
):
    """A third lacks the review, another third the summary, which the review task needs both."""
    monkeypatch.chdir(tmp_path)
    rows = [
        (
            f"u{u}",
            f"i{(u + t) % 9}",
            t,
            4,
            "" if t == 5 and u % 3 == 0 else f"A kite {u} for all.",
            "" if u % 3 == 1 else "fine",
        )
        for u in range(9)
        for t in range(6)
    ]
    data_path = write_dataset(tmp_path / "data", rows, [(f"i{i}", f"kite {i}") for i in range(9)], inter_header=HEADER)
    tasks = dict.fromkeys(("sequential", "rating", "explanation", "review"), 1)
    settings = {"data_path": data_path, "backbone": checkpoint, "tasks": tasks, "topk": [1], "valid_metric": "Hit@1"}
    with caplog.at_level("INFO"):
        config, data, model = built(settings | {"max_prompt_tokens": 512})
    assert "PromptLLM: no" not in caplog.text
    asked = {}

    def answer(task, places):
        asked[task] = asked.get(task, 0) + len(places)
        return [4.0] * len(places) if task == "rating" else ["text"] * len(places)

    monkeypatch.setattr(model.answers, "answer", answer)
    for task in ("rating", "explanation", "review"):
        model._evaluate_texts(task, data.parts[2].inter_feat.place, config)
    assert asked == {"rating": 9, "explanation": 6, "review": 3}


@pytest.mark.parametrize("n_history", [5, 40, 400])
def test_a_question_that_is_too_long_loses_about_as_much_as_it_must(local, n_history, monkeypatch):
    _, _, model = built(local)
    monkeypatch.setattr(model.writer, "prompt", lambda task, fields: fields)
    room = model.arguments["prompt"].max_prompt_tokens - model.max_target_tokens
    size = 2 * room // n_history  # so that half of the items fit
    tokens = model.answers.tokens("direct", lambda dropped: "x" * (size * (n_history - dropped)), n_history)
    fitting = [n for n in range(n_history + 1) if len(model.backbone.encode("x" * (size * n))) < room]
    kept = len(tokens) // size
    assert max(fitting) - 1 - n_history // 8 <= kept <= max(fitting) + 1 and len(tokens) <= room
    assert len(model.answers.tokens("direct", lambda dropped: "x" * 9, n_history)) == 10  # and one that begins it


def test_a_question_that_does_not_fit_is_one_error(reviews, checkpoint):
    settings = reviews | {"backbone": checkpoint, "max_prompt_tokens": 100, "max_target_tokens": 64}
    with pytest.raises(GenRecError, match="'max_prompt_tokens' .100. is too short for 'direct'"):
        run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)


@needs_chat
def test_a_chat_does_all_tasks(reviews):
    def reviewer(body, number):
        text = body["messages"][-1]["content"]
        asked = text.split("\n\n")[-1]
        if "rate" in asked.splitlines()[-2]:
            item = int(re.search(r"number (\d+)\?", asked)[1])
            return json.dumps({"rating": 5 if item % 3 == 0 else 2}) if item else "I cannot say."
        if "Explain" in asked:
            return '{"explanation": "A good car for us all."}'
        if "Sum it up" in asked:
            return json.dumps({"summary": "my " + re.search(r"A \w+ (\w+) for", asked)[1]})
        return json.dumps({"titles": re.findall(r"^- (.+)$", asked.split("recommended:")[-1], re.MULTILINE)})

    with ScriptedServer(reviewer) as server:
        chat = {"ranking": "chat", "chat_model": "small", "base_url": server.url, "few_shot": 1}
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=reviews | chat)
        questions = [body["messages"][-1]["content"] for body in server.bodies]
    tasks = result["tasks"]
    rating = tasks["rating"]["1-shot"]
    unread = sum("rate kite number 0?" in text or "rate car number 0?" in text for text in questions)
    assert rating["examples"] == 12 and rating["unread"] == unread > 0
    assert rating["mae"] < 0.5  # all but those that could not be read
    assert tasks["review"]["1-shot"]["rouge-1"] == pytest.approx(100)
    assert tasks["explanation"]["1-shot"]["shown"][0]["generated"] == "A good car for us all."
    grounding = tasks["direct"]["1-shot"]["grounding"]
    assert grounding["exact"] == grounding["titles"] > 12 and grounding["answers"] == 12
    assert all(text.startswith("Examples from other users:\n\n") for text in questions)
    assert result["usage"]["requests"] == len(questions)
