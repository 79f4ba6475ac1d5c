"""PromptLLM: scores of a local model, and chats with a server that a script or a real model answers."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.batches import questions
from recbole_genrec.batches.questions import TrainingCounts, draw_examples
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.distributed.world import World
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.model.promptllm import PromptLLM
from recbole_genrec.runs.run import build_model
from recbole_genrec.training.untrained import PromptLLMTrainer
from tests.model.conftest import BLACK, WHITE
from tests.model.test_p5 import HEADER, KIND
from tests.servers import ScriptedServer, completion, save_chat_model

KEY = "sk-very-secret-0123456789"
needs_chat = pytest.mark.skipif(
    find_spec("openai") is None or find_spec("rapidfuzz") is None, reason="needs the extra 'chat'"
)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A tiny LLaMA over bytes that has learnt nothing."""
    return save_chat_model(tmp_path_factory.mktemp("checkpoint"), "")


@pytest.fixture
def local(checkerboard, checkpoint):
    """Settings of ``ranking: scoring``."""
    return checkerboard | {"backbone": checkpoint, "max_prompt_tokens": 512}


@pytest.fixture
def chat(checkerboard, monkeypatch):
    """Settings of ``ranking: chat`` with a server."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def settings(server, **changes):
        return checkerboard | {
            "ranking": "chat",
            "chat_model": "small",
            "base_url": getattr(server, "url", server),
            "retry_wait": 0.01,
            "request_timeout": 5.0,
            "max_prompt_tokens": 512,
            **changes,
        }

    return settings


def built(settings):
    config = GenRecConfig("PromptLLM", "tiny", config_dict=settings)
    data = SplitData([config])
    return config, data, build_model(config, data)


def saved():
    return json.loads(Path("results/PromptLLM-tiny-2020.json").read_text("utf-8"))


# ---- a local model ----


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


def test_a_user_of_two_training_interactions_is_an_example(tmp_path, write_dataset):
    """Two more are those of validation and test."""
    rows = [(f"u{user}", f"i{item}", item) for user, length in enumerate((4, 20)) for item in range(length)]
    settings = {"data_path": write_dataset(tmp_path, rows), "topk": [1], "valid_metric": "Hit@1"}
    train = SplitData([GenRecConfig("SASRecAll", "tiny", config_dict=settings)]).parts[0]
    examples = {len(example.history): example for example in draw_examples(train, 2, 7)}
    tokens = {length: train.id2token("item_id", example.history).tolist() for length, example in examples.items()}
    assert tokens[1] == ["i0"] and train.id2token("item_id", examples[1].target) == "i1"
    assert tokens[10] == [f"i{item}" for item in range(7, 17)]  # no more than ten items of history
    assert train.id2token("item_id", examples[10].target) == "i17"
    with pytest.raises(GenRecError, match="asks for 3 examples, but there are only 2 users with two training"):
        draw_examples(train, 3, 7)
    assert draw_examples(train, 0, 7) == []


@pytest.mark.parametrize("n_history", [5, 40, 400])
def test_a_question_that_is_too_long_loses_about_as_much_as_it_must(local, n_history, monkeypatch):
    _, _, model = built(local)
    monkeypatch.setattr(model.writer, "prompt", lambda task, fields: fields)
    room = model.arguments["prompt"].max_prompt_tokens - model.max_target_tokens
    size = 2 * room // n_history  # so that half of the items fit
    tokens = model._tokens("direct", lambda dropped: "x" * (size * (n_history - dropped)), n_history)
    fitting = [n for n in range(n_history + 1) if len(model.backbone.encode("x" * (size * n))) < room]
    kept = len(tokens) // size
    assert max(fitting) - 1 - n_history // 8 <= kept <= max(fitting) + 1 and len(tokens) <= room
    assert len(model._tokens("direct", lambda dropped: "x" * 9, n_history)) == 10  # and one that begins it


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
        ({"item_embedding": "separator"}, "'item_embedding: none'"),
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


# ---- the tasks ----


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

    monkeypatch.setattr(model, "_answer", answer)
    for task in ("rating", "explanation", "review"):
        model._evaluate_texts(task, data.parts[2].inter_feat.place, config)
    assert asked == {"rating": 9, "explanation": 6, "review": 3}


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


def test_counts_of_no_interactions(monkeypatch):
    monkeypatch.setattr(questions, "train_sequences", lambda dataset: (*np.zeros((2, 0), np.int64), np.zeros(1, int)))
    counts = TrainingCounts(SimpleNamespace(item_num=4))
    assert counts.least_seen.tolist() == counts.candidates(np.array([2]), 9).tolist() == [1, 2, 3]


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


# ---- a scripted server ----


def history_of(body):
    """Titles of the last list in a question, without candidates."""
    asked = body["messages"][-1]["content"].split("A user chose")[-1].split("The next one may")[0]
    return re.findall(r"^- (.+)$", asked, re.MULTILINE)


def oracle(body, number=0):
    """Knows the answer: users walk along black items or along white ones, in a fixed circle."""
    last = history_of(body)[-1]
    circle = BLACK if last in BLACK else WHITE
    place = circle.index(last)
    return json.dumps({"titles": [circle[(place + step) % 6] for step in range(1, 6)]})


def prose(body, number=0):
    return "Sure!\n" + "\n".join(f"{place}. {title}" for place, title in enumerate(json.loads(oracle(body))["titles"]))


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


def test_counts_are_those_of_plain_loops(tmp_path, write_dataset):
    draw = np.random.default_rng(3)
    chosen = [draw.choice(12, 12, p=np.arange(1, 13) / 78) for _ in range(20)]
    chosen[0][-3], chosen[1][0] = 12, 13  # one user's last training item and the next user's first
    rows = [(f"u{user}", f"i{item}", time) for user, own in enumerate(chosen) for time, item in enumerate(own)]
    settings = {"data_path": write_dataset(tmp_path, rows), "topk": [1], "valid_metric": "Hit@1"}
    train = SplitData([GenRecConfig("SASRecAll", "tiny", config_dict=settings)]).parts[0]
    _, items, offsets = train_sequences(train)
    sequences = [items[begin:end].tolist() for begin, end in zip(offsets, offsets[1:])]
    seen = Counter(item for sequence in sequences for item in sequence)
    pairs = Counter(pair for sequence in sequences for pair in zip(sequence, sequence[1:]))
    counts = TrainingCounts(train)
    catalogue = range(1, train.item_num)
    assert counts.least_seen.tolist() == sorted(catalogue, key=lambda item: (seen[item], item))
    popular = sorted(catalogue, key=lambda item: (-seen[item], item))
    for history in [[4, 2], [3, 1, 7], *([item] for item in catalogue)]:
        after = sorted((b for a, b in pairs if a == history[-1]), key=lambda b: (-pairs[history[-1], b], b))
        expected = list(dict.fromkeys([*after, *popular]))
        for count in (1, 4, 50):
            assert counts.candidates(np.array(history), count).tolist() == expected[:count]
            unseen = [item for item in expected if item not in (2, 5)]
            assert counts.candidates(np.array(history), count, {2, 5}).tolist() == unseen[:count]


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


FAULTS = {
    "429": {"status": 429, "body": b"{}", "headers": {"Retry-After": "0"}},
    "500": {"status": 500, "body": b"{}"},
    "cut": {"cut": "within", "text": "{}"},
    "slow": {"delay": 3.0},
    "malformed": {"body": b'{"choices"'},
}


@needs_chat
def test_faults_that_pass_change_nothing(chat):
    seen, lock, faults = set(), threading.Lock(), list(FAULTS.values())

    def moody(body, number):
        question = json.dumps(body, sort_keys=True)
        with lock:
            first = question not in seen
            seen.add(question)
        return faults[len(seen) % len(faults)] if first else oracle(body)

    with ScriptedServer(moody) as server:
        settings = chat(server, eval_step=0, request_timeout=1.5, concurrency=4)
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
    assert result["test_result"]["hit@1"] == 1
    assert result["usage"]["retries"] >= result["usage"]["requests"] == len(seen)


@needs_chat
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_one_error_and_the_next_run_goes_on(chat, fault):
    with ScriptedServer(lambda body, number: oracle(body) if number < 5 else FAULTS[fault]) as server:
        settings = chat(server, eval_step=0, concurrency=1, request_attempts=2, request_timeout=1.5)
        with pytest.raises(GenRecError, match="5 answers of this run are kept in 'chat_cache'"):
            run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
        assert len(server.bodies) == 7
        assert not Path("results").exists()
        server.script = oracle
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings | {"request_timeout": 60.0})
        assert result["usage"]["from_cache"] == 5
        assert len(server.bodies) == 7 + result["usage"]["requests"] - 5


@needs_chat
def test_a_second_run_asks_nothing(chat):
    with ScriptedServer(oracle) as server:
        settings = chat(server, input_price=1.0, output_price=2.0)
        first = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
        asked = len(server.bodies)
        second = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
        assert len(server.bodies) == asked
    assert first["test_result"] == second["test_result"]
    assert first["usage"]["cost"] == second["usage"]["cost"] == first["usage"]["spent"] > 0
    assert second["usage"]["spent"] == 0


@needs_chat
def test_the_key_is_in_no_file(chat, tmp_path):
    with ScriptedServer(oracle) as server:
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=chat(server))
        assert set(server.keys) == {f"Bearer {KEY}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert KEY not in str(result)


@needs_chat
def test_a_chat_has_no_loss_and_moves(chat):
    with ScriptedServer(oracle) as server:
        _, data, model = built(chat(server))
    assert isinstance(model.to("cpu"), PromptLLM)
    with pytest.raises(GenRecError, match="has no loss"):
        model.calculate_loss({})


RUN = "import json, sys; from recbole_genrec import run_recbole_genrec as run; "
RUN += "run('PromptLLM', 'tiny', config_dict=json.loads(sys.argv[1]))"


@needs_chat
def test_a_killed_run_repeats_no_finished_request(chat):
    """Killed with SIGKILL with three requests under way, then run to its end."""
    reached = threading.Event()

    def holding(body, number):
        if number < 11:
            return oracle(body)
        if number == 13:
            reached.set()
        return {"delay": 60}

    with ScriptedServer(holding) as server:
        settings = chat(server, concurrency=3, eval_step=0, request_timeout=120.0)
        command = [sys.executable, "-c", RUN, json.dumps(settings)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert reached.wait(300)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert len(list(Path("chat_cache").rglob("*.json"))) == 11  # all that was answered is kept
        server.script = oracle
        result = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
    assert result["test_result"]["hit@1"] == 1
    assert result["usage"]["from_cache"] == 11
    assert set(server.answered.values()) == {1}  # no finished request was sent again
    assert len(server.bodies) == result["usage"]["requests"] + 3


# ---- a real server ----


@pytest.fixture(scope="module")
def real_server(tmp_path_factory):
    """``transformers serve`` with a tiny LLaMA that has learnt one answer."""
    transformers = shutil.which("transformers", path=str(Path(sys.executable).parent))
    if transformers is None or find_spec("fastapi") is None or find_spec("uvicorn") is None:
        pytest.skip("needs transformers[serving]")
    titles = ["Toy Story", "heat", "The Sting", "Nowhere", "Heat", "Up"]
    folder = save_chat_model(tmp_path_factory.mktemp("served"), json.dumps({"titles": titles}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [transformers, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = open(tmp_path_factory.mktemp("log") / "serve.log", "w+b")
    run = subprocess.Popen(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 180
        while not _is_up(port):
            if run.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                pytest.fail(f"transformers serve did not start: {log.read()[-2000:]}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        run.kill()
        run.wait()
        log.close()


def _is_up(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@needs_chat
def test_a_real_server_answers(chat, real_server):
    url, model = real_server
    settings = chat(url, chat_model=model, eval_users=4, eval_step=0, few_shot=1, request_timeout=60.0)
    settings["chat_options"] = {"max_tokens": 120, "temperature": None}
    result = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
    grounding = result["generation"]["grounding"]
    assert (grounding["answers"], grounding["refused"], grounding["titles"]) == (4, 0, 4 * 6)
    assert (grounding["exact"], grounding["invented"], grounding["repeated"]) == (4 * 4, 4, 4)
    assert result["usage"]["input_tokens"] > 0 and result["usage"]["output_tokens"] > 100
    again = run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
    assert again["usage"]["from_cache"] == again["usage"]["requests"] == result["usage"]["requests"]
    assert again["test_result"] == result["test_result"]


def test_completions_of_the_scripted_server_look_like_the_real_ones():
    body = {"model": "small", "messages": [{"role": "user", "content": "a b"}]}
    assert completion("c", body)["usage"] == {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
