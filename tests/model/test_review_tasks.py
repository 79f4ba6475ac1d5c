"""P5's families about whole reviews: what they train on, how they are tested, and what they refuse."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.batches.item_reviews import ItemReviews
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.interactions.interaction_text import sentences
from recbole_genrec.model import review_tasks
from recbole_genrec.model.review_metrics import distinct
from recbole_genrec.model.text_metrics import text_metrics
from tests.backbone.test_adapters import SEQ2SEQ
from tests.builders import stopping_in_epoch, write_base
from tests.model.review_world import HELD_OUT, KNOWN, REVIEWS, review_shop
from tests.model.test_p5 import HEADER, built

FAMILIES = ("review_generation", "item_summary")


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return REVIEWS | {"data_path": review_shop(tmp_path, write_dataset)}


def test_a_run_tests_them_beside_the_baselines(settings, caplog):
    caplog.set_level("INFO")
    run_recbole_genrec("P5", "tiny", config_dict=settings | {"epochs": 1})
    tasks = json.loads(Path("results/P5-tiny-2020.json").read_text("utf-8"))["tasks"]
    assert tasks.keys() == {"sequential", *FAMILIES}
    for family, whole in zip(FAMILIES, ("central review", "central title")):
        kinds = tasks[family]
        assert kinds.keys() == {"seen", "unseen", "central sentence", whole, "token frequencies", "held-out texts"}
        assert len({found["examples"] for found in kinds.values()}) == 1 and kinds["seen"]["examples"] > 10
        for kind in ("seen", "unseen", "central sentence", whole):
            assert {"rouge-1", "rouge-2", "rouge-l", "distinct-1", "distinct-2", "self-bleu"} <= {
                name.lower() for name in kinds[kind]
            }
            assert len(kinds[kind]["shown"]) == 3
        assert ("perplexity" in kinds["seen"]) and "perplexity" not in kinds[whole]
        assert 1 < kinds["seen"]["perplexity"] < 400  # no worse than a guess among all tokens
        assert kinds["seen"]["tokens"] == kinds["unseen"]["tokens"] > kinds["seen"]["examples"]
        assert re.search(rf"{family}: test\n\n\| text \| examples \|", caplog.text)
    assert 1 <= tasks["item_summary"]["seen"]["reviews a prompt"] <= 2
    assert "rouge-1 of review" in tasks["item_summary"]["central sentence"]
    assert "review" in tasks["item_summary"]["seen"]["shown"][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_metrics_are_those_of_the_texts(settings, family):
    config, data, model = built(settings)
    model.eval()
    places = data.parts[2].inter_feat.place
    found = review_tasks.evaluate_reviews(model, family, {"seen": 0}, places, config)
    store, texts = model.data.store, model.data.texts
    rows = []
    for place in places:
        known = [p for p in model.data.seen if model.data.items[p] == model.data.items[place]]
        others = [p for p in known if store.users[p] != store.users[place] and texts["review"][p]]
        if others and (family == "review_generation" or texts["summary"][place] != "Five Stars"):
            rows.append(place)
    assert review_tasks.test_rows(model.data, family, places).tolist() == rows
    assert len(rows) < len(places) or family == "review_generation"
    true = [texts["review" if family == "review_generation" else "summary"][place] for place in rows]
    examples = [model.data.example(family, 0, place, None, with_candidates=False) for place in rows]
    written = [text for example in examples for text in model.write_texts([example])]
    assert found["seen"]["examples"] == len(rows)
    for name, value in text_metrics(written, true).items():
        assert found["seen"][name] == pytest.approx(value)
    assert found["seen"]["distinct-2"] == pytest.approx(distinct(written, 2))
    assert found["held-out texts"]["distinct-1"] == pytest.approx(distinct(true, 1))
    lengths = [len(model.backbone.tokenizer(f" {text}", add_special_tokens=False).input_ids) for text in true]
    limit = settings["max_review_tokens"] if family == "review_generation" else settings["max_target_tokens"]
    assert found["seen"]["cut targets"] == sum(length + 1 > limit for length in lengths)
    assert found["seen"]["tokens"] == sum(min(length + 1, limit) for length in lengths)
    assert found["token frequencies"]["tokens"] == found["seen"]["tokens"]
    assert found["token frequencies"]["perplexity"] < 400  # a uniform guess among all tokens
    picked = review_tasks.baselines(model.data, family, rows)["central sentence"]
    for text, place in zip(picked, rows, strict=True):
        assert any(text in sentences(texts["review"][other]) for other in model.data.reviews.others(place))
    assert found["central sentence"]["rouge-1"] == pytest.approx(text_metrics(picked, true)["rouge-1"])


def everything_read(config, data, model):
    """All texts that a model trains on, is asked with, or is compared with beside the truth."""
    decode = model.backbone.tokenizer.decode
    loader, texts = data.train_loader(config, model), model._fixed_texts()
    for number in range(3):
        loader.set_epoch(number)
        for batch in loader:
            texts += [decode(row) for row in (*batch.prompts.input_ids, *batch.target_ids)]
    for family in FAMILIES:
        rows = review_tasks.test_rows(model.data, family, data.parts[2].inter_feat.place)
        examples = [model.data.example(family, 0, place, None, with_candidates=False) for place in rows]
        texts += [decode(row) for row in model.writer.write_prompts(examples).input_ids]
        texts += [text for picked in review_tasks.baselines(model.data, family, rows).values() for text in picked]
    return texts


@pytest.mark.parametrize("leaks", [False, True])
def test_no_held_out_review_is_read(settings, monkeypatch, leaks):
    """Validation and test reviews hold a word of their own; where they are let in, it is found."""
    if leaks:
        honest = ItemReviews.__init__
        monkeypatch.setattr(
            ItemReviews,
            "__init__",
            lambda self, places, items, users: honest(self, np.arange(len(items)), items, users),
        )
    longer = {"examples_per_user": 20, "max_review_tokens": 60, "summary_review_tokens": 40, "max_prompt_tokens": 256}
    texts = everything_read(*built(settings | longer))
    assert any(KNOWN in text for text in texts)
    assert any(HELD_OUT in text for text in texts) == leaks


def test_they_resume_and_come_back_from_a_checkpoint(settings):
    settings |= {"epochs": 3, "test_tasks": False}
    whole = run_recbole_genrec("P5", "tiny", config_dict=settings | {"checkpoint_dir": "whole"})
    parts = settings | {"checkpoint_dir": "parts", "results_dir": "parts"}
    with stopping_in_epoch(1), pytest.raises(KeyboardInterrupt):
        run_recbole_genrec("P5", "tiny", config_dict=parts)
    resumed = run_recbole_genrec("P5", "tiny", config_dict=parts | {"resume": "auto"})
    models = []
    for result in (whole, resumed):
        _, data, model = built(settings, seed=7, item_index=result["checkpoint"])
        load_checkpoint_into(model, result["checkpoint"])
        models.append(model.eval())
    place = review_tasks.test_rows(model.data, "item_summary", data.parts[2].inter_feat.place)[:4]
    for family in FAMILIES:
        examples = [model.data.example(family, 0, one, None, with_candidates=False) for one in place]
        assert models[0].write_texts(examples) == models[1].write_texts(examples)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        (4, "review_generation", r"the interactions have no column 'review_text' \('review_field'\)"),
        (4, "item_summary", r"the interactions have no column 'review_text' \('review_field'\)"),
        (5, "item_summary", r"the interactions have no column 'summary' \('summary_field'\)"),
    ],
)
def test_data_without_a_column_are_refused(tmp_path, write_dataset, monkeypatch, columns, asked, message):
    monkeypatch.chdir(tmp_path)
    path = review_shop(tmp_path, write_dataset, header=HEADER[:columns])
    with pytest.raises(GenRecError, match=rf"'tasks' asks for '{asked}', but {message}\.") as caught:
        built(REVIEWS | {"data_path": path, "tasks": {"sequential": 1, asked: 1}})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("review", "title", "n_items", "asked", "message"),
    [
        ("", "fine", 9, "review_generation", "no training interaction has a text in the column 'review_text'"),
        ("fine", "", 9, "item_summary", "no training interaction has a text in the column 'summary'"),
        ("fine", "Five Stars", 9, "item_summary", "no training review with a title of its own in the column 'summary'"),
        ("fine", "fine", 99, "item_summary", "is of an item that another user has reviewed, too"),
    ],
)
def test_data_with_nothing_to_learn_are_refused(
    tmp_path, write_dataset, monkeypatch, review, title, n_items, asked, message
):
    monkeypatch.chdir(tmp_path)
    rows = [
        (f"u{user}", f"i{(user * 5 + time) % n_items}", time, 4, review, title)
        for user in range(6)
        for time in range(5)
    ]
    items = [(f"i{item}", f"thing {item}") for item in range(n_items)]
    path = write_dataset(tmp_path / "data", rows, items, inter_header=HEADER)
    with pytest.raises(GenRecError, match=message):
        built(REVIEWS | {"data_path": path, "tasks": {"sequential": 1, asked: 1}})


def test_a_test_without_a_row_says_so(tmp_path, write_dataset, monkeypatch):
    """Held-out reviews are all empty."""
    monkeypatch.chdir(tmp_path)
    rows = [
        (f"u{user}", f"i{(user + time) % 5}", time, 4, "a fine card" if time < 4 else "", "fine")
        for user in range(6)
        for time in range(6)
    ]
    items = [(f"i{item}", f"thing {item}") for item in range(5)]
    path = write_dataset(tmp_path / "data", rows, items, inter_header=HEADER)
    config, data, model = built(REVIEWS | {"data_path": path})
    for family in FAMILIES:
        found = review_tasks.evaluate_reviews(model, family, {"seen": 0}, data.parts[2].inter_feat.place, config)
        assert found == {"seen": {"examples": 0}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"summary_reviews": 9}, r"'summary_reviews' \(9\) of 'summary_review_tokens' \(16\) do not fit .* do\."),
        ({"summary_reviews": 0}, "'summary_reviews' must be"),
        ({"max_review_tokens": 0}, "'max_review_tokens' must be"),
        ({"tasks": {"sequential": 1, "review_summary": 1}}, "'review_summary'.*item_summary"),
        ({"task_prompts": "mine.yaml"}, r"Prompts of 'review_generation' in 'mine' tell \{rating\}, .* column 'stars'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, changes, message):
    shipped = yaml.safe_load((properties_folder() / "task" / "p5.yaml").read_text("utf-8"))
    shipped["review_generation"] = ["{user} gave {item} {rating} stars:", "{item}:"]
    Path("mine.yaml").write_text(yaml.safe_dump(shipped), "utf-8")
    with pytest.raises(GenRecError, match=message):
        built(settings | ({"RATING_FIELD": "stars"} if "task_prompts" in changes else {}), **changes)


def test_a_review_longer_than_the_positions_of_a_bart_is_refused(settings, tmp_path):
    special = {"pad_token": "<pad>", "eos_token": "</s>", "mask_token": "<mask>"}
    base = write_base(tmp_path / "base", SEQ2SEQ["bart"](), special)
    settings |= {"backbone": base, "adapter": "none", "max_prompt_tokens": 64}
    settings["tasks"] = {"sequential": 1, "review_generation": 1}
    with pytest.raises(GenRecError, match=r"'max_review_tokens' \(65\) is above the backbone's longest sequence, 64\."):
        built(settings, max_review_tokens=65)
    assert "review_generation" in built(settings, max_review_tokens=64)[2].shares


def test_promptllm_has_none_of_them(settings):
    with pytest.raises(GenRecError, match="'tasks' asks for 'item_summary', which P5 alone has"):
        GenRecConfig("PromptLLM", "tiny", config_dict={"tasks": {"item_summary": 1}})


def test_they_are_off_by_default(settings):
    _, _, model = built({key: value for key, value in settings.items() if key != "tasks"})
    assert not model.shares.keys() & set(FAMILIES)
