"""GenRec whose prompts tell values of interactions: what it learns from them, and the same answers by every way in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.quick_start import load_data_and_model

from recbole_genrec import GenRecError, GenRecommender, ItemId, run_recbole_genrec
from recbole_genrec.cli.main import main
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.runs.retest import retest
from recbole_genrec.serve.export import export
from recbole_genrec.serve.history_reader import Title
from tests.builders import SCRATCH
from tests.model.context_world import write_context_world

START = 900_000_000


@pytest.fixture
def world(tmp_path, write_dataset, monkeypatch):
    """A function that gives settings of a small model on :mod:`tests.model.context_world`, at unix times."""
    monkeypatch.chdir(tmp_path)

    def make(by, **settings):
        return {
            **SCRATCH,
            "data_path": write_context_world(write_dataset, tmp_path / by, by, START),
            "prompt": "continuation-rated",
            "topk": [1],
            "valid_metric": "NDCG@1",
            "epochs": 30,
            "eval_step": 15,
            "learning_rate": 0.01,
            "embedding_dropout": 0.0,
            "hidden_dropout": 0.0,
            "show_progress": False,
            "train_batch_tokens": 0,
            "train_batch_size": 6,
            **settings,
        }

    return make


@pytest.mark.parametrize("history", ["text", "both"])
def test_it_learns_what_the_text_of_the_context_alone_tells(world, history):
    """The next item follows from the rating of the last: nothing but ``({rating} stars)`` tells it."""
    seeing = run_recbole_genrec("GenRec", "tiny", config_dict=world("rating", history=history))
    assert seeing["test_result"]["hit@1"] > 0.8  # half of them without


@pytest.mark.parametrize(
    "settings", [{}, {"history": "both", "context": ["gap", "rating"]}, {"max_prompt_tokens": 40, "item_prior": True}]
)
def test_every_way_gives_the_same_scores(world, settings, capsys):
    """Exact search, all scores, pairs, the loss of a single prompt, the test again, and the recommender."""
    result = run_recbole_genrec("GenRec", "tiny", config_dict=world("rating", epochs=2, eval_step=1, **settings))
    folder = result["checkpoint"]
    _, model, _, _, _, test = load_data_and_model(folder)
    model.eval()
    interaction = next(iter(test))[0]
    best = model.full_sort_predict(interaction)
    model.scores_all_items = True
    scores, target = model.full_sort_predict(interaction), interaction["item_id"]
    torch.testing.assert_close(scores[:, 1:].exp().sum(1), torch.ones(len(scores)))
    torch.testing.assert_close(best.max(1), scores.max(1))
    own = scores.gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(model.predict(interaction), own, atol=1e-5, rtol=1e-5)
    twice = interaction[torch.arange(len(target)).repeat(2)]
    torch.testing.assert_close(model.predict(twice), own.repeat(2), atol=1e-5, rtol=1e-5)
    batch = model.pack_interaction(interaction)
    loss = model.calculate_loss(batch) * batch.n_decisions
    torch.testing.assert_close(loss, -own.sum(), atol=1e-3, rtol=1e-4)
    assert retest("results/GenRec-tiny-2020.json")["test_result"] == result["test_result"]

    recommender, tokens, clock = GenRecommender.from_checkpoint(folder), model.catalogue.item_tokens, model.clock
    for row in (0, 5):
        length = int(interaction["item_length"][row])
        columns = [interaction[f"{name}_list"][row, :length].tolist() for name in ("item_id", "exact_time", "rating")]
        history = [
            ItemId(tokens[item - 1], time=time + clock.first, values={"rating": rating})
            for item, time, rating in zip(*columns)
        ]
        found = {each.item_id: each.probability for each in recommender.recommend([history], 4)[0]}
        expected = [scores[row, item].exp().item() for item in range(1, 5)]
        assert [found[token] for token in tokens] == pytest.approx(expected, abs=1e-5)
    user = interaction["user_id"][5].item() - 1
    capsys.readouterr()
    assert main(["recommend", "--checkpoint", folder, f"--user=u{user}", "--topk=4", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["item_id"] for entry in listed["history"]][:-1] == [entry.item_id for entry in history]


def test_packed_training_is_that_of_single_prompts(world):
    settings = world("rating", epochs=1, max_prompt_tokens=512)
    folder = run_recbole_genrec("GenRec", "tiny", config_dict=settings)["checkpoint"]
    config, model, _, train, _, _ = load_data_and_model(folder)
    model.eval()
    packed = [
        (batch.n_decisions, model.calculate_loss(batch)) for batch in model.training_loader(config, train.dataset)
    ]
    single = model.pack_interaction(train.dataset[np.arange(len(train.dataset))])
    total = sum(count * loss for count, loss in packed)
    torch.testing.assert_close(total, model.calculate_loss(single) * single.n_decisions, atol=1e-3, rtol=1e-5)


def test_entries_without_values_leave_the_words_out(world):
    folder = run_recbole_genrec("GenRec", "tiny", config_dict=world("rating", epochs=1))["checkpoint"]
    recommender = GenRecommender.from_checkpoint(folder)
    plain = recommender.recommend([["Anchor", "Boat"]], 4)
    assert plain == recommender.recommend([[ItemId("a"), Title("Boat")]], 4)
    rated = [ItemId("a", values={"rating": 1}), ItemId("b", time=START)]
    assert plain != recommender.recommend([rated], 4)
    ranker = recommender.ranker
    batch = recommender._read([rated, [Title("Ship", time=START + 5, values={"rating": 2.5}), "Boat"]])
    prompts = batch.packer.prompts(batch.items, batch.first, batch.stop, batch.context)
    texts = [ranker.backbone.tokenizer.decode(row, skip_special_tokens=True) for row in prompts.input_ids]
    assert texts == ["Anchor (1 stars)\nBoat\n", "Ship (2.5 stars)\nBoat\n"]
    reasons = recommender.explain(rated, 2)
    assert len(reasons.changes) == 2
    with pytest.raises(GenRecError, match="'ratings'.*'rating'"):
        recommender.recommend([[ItemId("a", values={"ratings": 1})]])
    with pytest.raises(GenRecError, match=r"values of interactions \(\{rating\}\).*'prompt: continuation'"):
        export(folder, "exported", merged=True)
    assert not Path("exported").exists()


def test_what_cannot_read_it_is_refused(world, tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text('version: 1\nend: "\\n"\nitem_suffix: " {stars}\\n"\n')
    for model, settings, message in (
        ("GenRec", {"history": "vectors"}, r"'history: vectors' shows no text"),
        ("GenRec", {"prompt": str(own)}, r"'prompt' needs the column 'stars' of .*tiny.inter"),
        ("PromptLLM", {}, "which GenRec alone reads"),
    ):
        given = world("rating") | settings
        if model == "PromptLLM":
            given = {key: given[key] for key in ("data_path", "prompt", "topk", "valid_metric")}
        with pytest.raises(GenRecError, match=message):
            run_recbole_genrec(model, "tiny", config_dict=given)


def test_times_that_are_no_clock_are_refused(world, write_dataset, tmp_path):
    path = write_context_world(write_dataset, tmp_path / "ordinal", "time")
    with pytest.raises(GenRecError, match=r"\{gap\}, which needs times in seconds or milliseconds"):
        run_recbole_genrec("GenRec", "tiny", config_dict=world("rating") | {"data_path": path})


def test_a_tokenizer_from_scratch_learns_the_words(world):
    settings = world("rating", epochs=1, scratch_vocab_size=400)
    folder = run_recbole_genrec("GenRec", "tiny", config_dict=settings)["checkpoint"]
    backbone = GenRecommender.from_checkpoint(folder).ranker.backbone
    assert len(backbone.encode(" (5 stars, minutes later)\n", context="x")) <= 6
    config = GenRecConfig("GenRec", "tiny", config_dict=settings)
    assert config.model_class.context_columns(config) == {"exact_time": "prompt", "rating": "prompt"}
    asked = replace(config.model_class._template_of(config), name="other")
    assert asked.value_columns == ("rating",)
