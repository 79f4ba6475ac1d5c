"""PEPLER on a small world whose reviews and ratings follow from the item; P5's explanations beside it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.batches.explanation_rows import Row
from recbole_genrec.checkpoint.folder import read_state_dict
from recbole_genrec.cli.explain import explain
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.model.greedy_text import greedy_texts
from recbole_genrec.model.pepler import PEPLER
from recbole_genrec.prompt.task_prompts import load_tasks
from recbole_genrec.runs.explained import explain as explain_stored
from recbole_genrec.runs.retest import retest
from recbole_genrec.runs.run import build_model
from tests.builders import stopping_in_epoch, write_base

HEADER = ("user_id:token", "item_id:token", "timestamp:float", "rating:float", "review_text:token_seq", "topic:token")
TOPICS = ["engine", "hair", "string"]
SMALL = {
    "scratch_hidden_size": 32,
    "scratch_layers": 1,
    "scratch_intermediate_size": 64,
    "scratch_vocab_size": 320,
    "embedding_dropout": 0.0,
    "hidden_dropout": 0.0,
    "max_target_tokens": 24,
    "max_prompt_tokens": 40,
    "feature_reviews": 2,
    "topk": [3],
    "valid_metric": "NDCG@3",
    "learning_rate": 0.01,
    "train_batch_size": 32,
    "warmup_steps": 5,
    "epochs": 2,
    "show_progress": False,
}
N_USERS, N_ITEMS = 16, 9


def review(user, item):
    good = "good" if item % 3 == 0 else "bad"
    return f"All of us found the {TOPICS[item % 3]} was {good}. More words of user {user} follow here."


def shop(folder, write_dataset, columns=6, change=None):
    """Reviews of which the item decides the topic; ``change(user, last, text)`` gives others."""
    rows = []
    for user in range(N_USERS):
        count = 6 + user % 3
        for time in range(count):
            item = (user + time) % N_ITEMS
            text = review(user, item)
            text = change(user, time == count - 1, text) if change else text
            rating = 5 if item % 3 == 0 else 2
            rows.append((f"u{user}", f"i{item}", 1000 + time, rating, text, TOPICS[item % 3])[:columns])
    items = [(f"i{item}", f"Toy number {item}") for item in range(N_ITEMS)]
    return write_dataset(folder, rows, items, inter_header=HEADER[:columns])


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return SMALL | {"data_path": shop(tmp_path / "data", write_dataset)}


def built(settings, model="PEPLER", **changes):
    config = GenRecConfig(model, "tiny", config_dict=settings | changes)
    data = SplitData([config])
    torch.manual_seed(0)
    return config, data, build_model(config, data).eval()


def tasks_of(model):
    return json.loads(Path(f"results/{model}-tiny-2020.json").read_text("utf-8"))["tasks"]


def test_it_learns_what_the_item_decides(settings):
    result = run_recbole_genrec("PEPLER", "tiny", config_dict=settings | {"epochs": 25, "rating_loss": 1})
    explained, rated = (tasks_of("PEPLER")[family]["seen"] for family in ("explanation", "rating"))
    assert explained["examples"] == rated["examples"] == N_USERS
    assert explained["fmr"] > 0.8 and explained["fcr"] == 1 and explained["features"] == 3  # by chance: a third
    assert explained["rouge-1"] > 85 and len(explained["shown"]) == 3
    assert rated["mae"] <= rated["rmse"] < 1  # the mean for all: 1.4
    assert result["valid_metric"] == "loss" and result["valid_score_bigger"] is False
    assert result["best_valid_score"] == min(epoch["valid_result"]["loss"] for epoch in result["curve"])


def test_the_loss_is_that_of_the_language_model_row_by_row(settings):
    """Each row by itself, through transformers' own loss; texts and ratings are missing in some."""
    _, _, model = built(settings, rating_loss=0.5, explain_about="predicted")
    rows = model._rows(model.data.seen[:9])
    rows[2], rows[4], rows[5] = rows[2]._replace(text=""), rows[4]._replace(rating=""), rows[5]._replace(feature="")
    expected = 0.0
    for row in rows:
        user, item = model.user_vectors.weight[row.user], model.item_vectors.weight[row.item]
        if row.rating:
            expected += 0.5 * (model.rating_head.mean + user @ item - float(row.rating)) ** 2
        if not row.text:
            continue
        feature = model.backbone.encode(f" {row.feature}", "x") if row.feature else []
        text = [*model.backbone.encode(f" {row.text}", "x")[:23], model.backbone.eos_id]
        fed = model.backbone.embed(torch.tensor([[*feature, model.backbone.bos_id, *text]]))
        fed = torch.cat([user[None, None], item[None, None], fed], 1)
        labels = torch.tensor([[-100] * (fed.shape[1] - len(text)) + text])
        loss = model.backbone.causal_model(inputs_embeds=fed, labels=labels).loss
        expected += loss * len(text) / model.mean_length
    found = model.calculate_loss(model.writer.write(rows))
    torch.testing.assert_close(found, expected / len(rows))


def test_validation_loss_is_the_loss_of_all_rows_together(settings):
    _, data, model = built(settings)
    places = data.parts[1].inter_feat.place
    expected = float(model.calculate_loss(model.writer.write(model._rows(places))).detach())
    assert model.validation_loss(places, 5) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("adapter", ["none", "prefix", "lora"])
def test_generation_is_that_of_feeding_everything_again(settings, tmp_path, adapter):
    """With prompts of several lengths, and with virtual tokens before them."""
    base = write_base(tmp_path / "base")
    _, _, model = built(settings, backbone=base, adapter=adapter, adapter_tokens=3, lora_r=2, explain_about="own")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    rows = [Row(1 + n, 1 + n % 8, "feature" * (n % 3), "", "") for n in range(8)]
    expected = []
    for row in rows:
        embeds, tokens = model.embed_rows(model.writer.write([row])), []
        while len(tokens) < model.longest_text:
            token = int(model.backbone.logits(model.backbone(embeds)[:, -1]).argmax())
            if token == model.backbone.eos_id:
                break
            tokens.append(token)
            embeds = torch.cat([embeds, model.backbone.embed(torch.tensor([[token]]))], 1)
        expected.append(model.backbone.tokenizer.decode(tokens, skip_special_tokens=True).strip())
    assert model.generate(rows) == expected
    assert len(set(expected)) > 4


def test_a_text_ends_where_all_have_ended(settings):
    _, _, model = built(settings)
    with torch.no_grad():
        model.backbone.causal_model.get_input_embeddings().weight.zero_()  # all logits are equal: the first token, pad
    batch = model.writer.write([Row(1, 1, "", "", "")])
    assert greedy_texts(model.backbone, model.embed_rows(batch), batch.lengths, 5) == [""]


# ---- stages ----


def state_of(checkpoint):
    return read_state_dict(Path(checkpoint))


def test_the_first_stage_trains_the_vectors_alone(settings):
    _, _, start = built(settings)
    more = {"prompt_epochs": 2, "epochs": 0, "rating_model": "mlp"}
    result = run_recbole_genrec("PEPLER", "tiny", config_dict=settings | more)
    assert result["epochs"] == 2
    trained = state_of(result["checkpoint"])
    other = run_recbole_genrec("PEPLER", "tiny", config_dict=settings | more | {"learning_rate": 0.02})
    other = state_of(other["checkpoint"])
    frozen = [name for name in trained if name.startswith("backbone.")]
    assert frozen and all(torch.equal(trained[name], other[name]) for name in frozen)
    for name in ("user_vectors.weight", "item_vectors.weight", "rating_head.perceptron.0.weight"):
        assert not torch.equal(trained[name], other[name])
    both = run_recbole_genrec("PEPLER", "tiny", config_dict=settings | more | {"epochs": 1})
    assert not any(torch.equal(state_of(both["checkpoint"])[name], trained[name]) for name in frozen)
    assert len(start._language_model) == len(list(start.backbone.parameters()))


def test_each_stage_stops_early_and_the_second_starts_from_the_best_of_the_first(settings, monkeypatch):
    """Validation gets worse from the second epoch on; epoch 10 begins the second stage."""
    losses = iter([3.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    monkeypatch.setattr(PEPLER, "validation_loss", lambda *_: next(losses))
    frozen, freeze = [], PEPLER.freeze_language_model

    def noted(model, is_frozen):
        frozen.append((is_frozen, model.user_vectors.weight.detach().clone()))
        freeze(model, is_frozen)

    monkeypatch.setattr(PEPLER, "freeze_language_model", noted)
    more = {"prompt_epochs": 9, "epochs": 9, "stopping_step": 1}
    result = run_recbole_genrec("PEPLER", "tiny", config_dict=settings | more)
    assert [epoch["epoch"] for epoch in result["curve"]] == [1, 2, 3, 4, 10, 11]
    assert result["best_valid_score"] == 2.0
    assert [is_frozen for is_frozen, _ in frozen] == [True, False, False]
    best = state_of(result["checkpoint"])["user_vectors.weight"]  # written in epoch 2
    assert torch.equal(frozen[2][1], best) and not torch.equal(frozen[1][1], best)


@pytest.mark.parametrize("stop", [1, 2, 3], ids=["within the first", "at the second", "within the second"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(settings, stop):
    more = settings | {"prompt_epochs": 2, "epochs": 2, "embedding_dropout": 0.1}
    whole = run_recbole_genrec("PEPLER", "tiny", config_dict=more | {"checkpoint_dir": "whole"})
    with stopping_in_epoch(stop), pytest.raises(KeyboardInterrupt):
        run_recbole_genrec("PEPLER", "tiny", config_dict=more)
    resumed = run_recbole_genrec("PEPLER", "tiny", config_dict=more | {"resume": "auto"})
    assert resumed["best_valid_score"] == whole["best_valid_score"]
    assert resumed["tasks"] == whole["tasks"]
    expected = state_of(Path(whole["checkpoint"]).parent / "last")
    for name, tensor in state_of(Path(resumed["checkpoint"]).parent / "last").items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


# ---- features in prompts ----


def prompts_of_test(settings, model, about):
    """The prompts of the test rows of a model, as tokens."""
    config, data, built_model = built(settings, model, explain_about=about, **OF_MODEL[model])
    places = data.parts[2].inter_feat.place
    if model == "PEPLER":
        batch = built_model.writer.write([row._replace(text="", rating="") for row in built_model._rows(places)])
        return batch.input_ids.tolist(), built_model
    examples = [built_model.data.example("explanation", 0, place, None, False) for place in places.tolist()]
    return built_model.writer.write_prompts(examples).input_ids.tolist(), built_model


OF_MODEL = {"PEPLER": {}, "P5": {"task_prompts": "p5-about", "max_prompt_tokens": 160, "n_candidates": 4}}


@pytest.mark.parametrize("model", ["PEPLER", "P5"])
def test_the_text_of_a_test_review_never_reaches_its_prompt(tmp_path, write_dataset, monkeypatch, model):
    """Every test review is another one: ``predicted`` prompts stay the same, those of the oracle do not."""
    monkeypatch.chdir(tmp_path)
    other = shop(
        tmp_path / "other",
        write_dataset,
        change=lambda user, last, text: "The zebra and the hair and the zebra." if last else text,
    )
    same = shop(tmp_path / "same", write_dataset)
    found = {}
    for about in ("predicted", "own"):
        for name, path in (("same", same), ("other", other)):
            found[about, name], _ = prompts_of_test(SMALL | {"data_path": path}, model, about)
    assert found["predicted", "same"] == found["predicted", "other"]
    assert found["own", "same"] != found["own", "other"]
    assert len({tuple(row) for row in found["predicted", "same"]}) > 2


def test_the_prompt_of_a_training_row_leaves_its_own_review_out(settings, tmp_path, write_dataset):
    """User u0's first review alone is about a topic that no other review of the user or the item has."""

    def change(user, last, text):
        return "The zebra was good for us all." if user in (0, 1) and "hair" in text else text

    path = shop(tmp_path / "rare", write_dataset, change=change)
    _, _, model = built(settings | {"data_path": path}, explain_about="predicted", feature_reviews=1)
    data, features = model.data, model.features
    own, predicted = features.own(np.arange(len(data.items))), data.texts["feature"]
    assert "zebra" in features.names
    for place in data.seen:
        others = [p for p in data.seen if p != place]
        near = [
            p for p in others if data.store.users[p] == data.store.users[place] or data.items[p] == data.items[place]
        ]
        if own[place] == "zebra" and not any(own[p] == "zebra" for p in near):
            assert predicted[place] != "zebra"


def test_results_say_that_the_own_feature_is_an_oracle(settings):
    run_recbole_genrec("PEPLER", "tiny", config_dict=settings | {"explain_about": "own", "epochs": 1})
    (kind,) = tasks_of("PEPLER")["explanation"]
    assert kind == "seen, own feature (oracle)"
    assert tasks_of("PEPLER")["explanation"][kind]["about"] == "own"


def test_the_command_says_what_an_explanation_is_about(settings, capsys):
    more = {"explain_about": "own", "feature_field": "topic", "epochs": 1}
    result = run_recbole_genrec("PEPLER", "tiny", config_dict=settings | more)
    capsys.readouterr()
    for about in ("engine", "hair", "string"):
        explain(result["checkpoint"], "u3", "i4", about)
        printed = capsys.readouterr().out
        assert printed.startswith("Toy number 4: ") and f"About {about!r}, as asked." in printed
    explain(result["checkpoint"], "u3", "i4")
    assert "the feature that other reviews predict" in capsys.readouterr().out
    explain(result["checkpoint"], "nobody", "i4", "zebra", json=True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["about"] == "zebra" and answer["is_given"] and not answer["is_feature"] and not answer["knows_user"]


def test_a_word_in_the_prompt_changes_what_is_written(tmp_path, write_dataset, monkeypatch):
    """Topics are drawn anew for every review, so that the prompt alone tells them."""
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)

    def change(user, last, text):
        return f"All of us found the {TOPICS[draws.integers(3)]} was fine."

    path = shop(tmp_path / "data", write_dataset, change=change)
    more = {"data_path": path, "explain_about": "own", "epochs": 40}
    checkpoint = run_recbole_genrec("PEPLER", "tiny", config_dict=SMALL | more)["checkpoint"]
    for user, item in (("u1", "i2"), ("u5", "i7")):
        for about in TOPICS:
            assert explain_stored(checkpoint, user, item, about).text == f"All of us found the {about} was fine."


def test_p5_explains_with_and_without_a_feature(settings, capsys):
    shares = {"tasks": {"sequential": 1, "explanation": 2}, "epochs": 1}
    result = run_recbole_genrec("P5", "tiny", config_dict=settings | shares | OF_MODEL["P5"] | {"task_prompts": "p5"})
    found = tasks_of("P5")["explanation"]
    assert found.keys() == {"seen", "unseen"} and {"usr", "fmr", "fcr", "div", "rouge-1"} <= found["seen"].keys()
    capsys.readouterr()
    explain(result["checkpoint"], "u3", "i4")
    assert capsys.readouterr().out.startswith("Toy number 4: ")
    with pytest.raises(GenRecError, match="trained without features"):
        explain(result["checkpoint"], "u3", "i4", "hair")
    more = shares | OF_MODEL["P5"] | {"explain_about": "predicted"}
    result = run_recbole_genrec("P5", "tiny", config_dict=settings | more)
    explain(result["checkpoint"], "u3", "i4", "hair")
    assert "About 'hair', as asked." in capsys.readouterr().out


def test_both_models_explain_the_same_test_rows(settings):
    more = {"P5": OF_MODEL["P5"] | {"task_prompts": "p5"}, "epochs": 1, "max_prompt_tokens": 160}
    run_recbole_genrec("PEPLER,P5", "tiny", config_dict=settings | more)
    mine, other = (tasks_of(name)["explanation"]["seen"] for name in ("PEPLER", "P5"))
    assert mine.keys() == other.keys()
    assert [row["true"] for row in mine["shown"]] == [row["true"] for row in other["shown"]]
    for name in ("examples", "features", "feature_examples"):
        assert mine[name] == other[name]
    assert tasks_of("PEPLER")["rating"]["seen"].keys() == tasks_of("P5")["rating"]["seen"].keys()
    table = Path("results/PEPLER+P5-tiny-2020.md").read_text("utf-8")
    assert "rmse" in table


# ---- users and items that training has not seen, ratings, ranking ----


def test_unknown_users_and_items_have_the_mean_of_the_trained_vectors(settings):
    _, _, model = built(settings)
    model.trained_items[3] = False
    with torch.no_grad():
        users = model._vectors("user", torch.tensor([0, 2]))
        items = model._vectors("item", torch.tensor([3, 4]))
        torch.testing.assert_close(
            users, torch.stack([model.user_vectors.weight[1:].mean(0), model.user_vectors.weight[2]])
        )
        known = torch.cat([model.item_vectors.weight[1:3], model.item_vectors.weight[4:]])
        torch.testing.assert_close(items, torch.stack([known.mean(0), model.item_vectors.weight[4]]))
    text, about = model.explain(0, 3)
    assert isinstance(text, str) and about == ""


@pytest.mark.parametrize("rating_model", ["mf", "mlp"])
def test_predicted_ratings_stay_on_the_scale_and_rank(settings, rating_model):
    _, data, model = built(settings, rating_model=rating_model)
    rows = model._rows(data.parts[2].inter_feat.place)
    free = model(torch.tensor([row.user for row in rows]), torch.tensor([row.item for row in rows])).detach()
    assert model.rating_head.scale.tolist() == [2, 5]
    scale = free.quantile(torch.tensor([0.3, 0.7]))  # some leave it on either side
    model.rating_head.scale.copy_(scale)
    np.testing.assert_allclose(model._rate(rows), free.clamp(*scale).numpy(), rtol=1e-6)
    interaction = {"user_id": torch.tensor([1, 2])}
    scores = model.full_sort_predict(interaction)
    for number, user in enumerate((1, 2)):
        expected = model(torch.full((N_ITEMS,), user), torch.arange(1, N_ITEMS + 1))
        torch.testing.assert_close(scores[number, 1:], expected.detach())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_vectors_that_are_no_numbers_rank_and_write_nothing(settings, value):
    _, _, model = built(settings)
    with torch.no_grad():
        model.user_vectors.weight[1] = value
    interaction = {"user_id": torch.tensor([2, 1]), "item_id": torch.tensor([1, 1])}
    for rank in (model.full_sort_predict, model.predict):
        with pytest.raises(GenRecError, match="predicts a rating of"):
            rank(interaction)
    with pytest.raises(GenRecError, match="gives a score of nan after token 0 of a text"):
        model.generate([Row(1, 1, "", "", "")])


def test_without_a_rating_term_no_ratings_are_needed_and_nothing_is_ranked(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{u}", f"i{(u + t) % 9}", 10 + t, review(u, (u + t) % 9)) for u in range(8) for t in range(6)]
    header = (*HEADER[:3], "review_text:token_seq")
    path = write_dataset(tmp_path / "data", rows, [(f"i{i}", f"Toy {i}") for i in range(9)], inter_header=header)
    more = SMALL | {"data_path": path, "rating_loss": 0, "epochs": 1}
    result = run_recbole_genrec("PEPLER", "tiny", config_dict=more)
    assert result["test_result"] == {} and result["best_valid_result"].keys() == {"loss"}
    assert result["tasks"].keys() == {"explanation"} and result["outcomes"] is False
    again = retest("results/PEPLER-tiny-2020.json")
    assert again["best_valid_result"] == result["best_valid_result"]
    _, _, model = built(more)
    with pytest.raises(GenRecError, match="predicts no ratings"):
        model.full_sort_predict({"user_id": torch.tensor([1])})


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        (4, {}, "learns to explain from reviews.*'review_text'.*'review_field'"),
        (6, {"review_field": "words"}, "no text in the column 'words'"),
        (6, {"RATING_FIELD": "stars"}, "'rating_loss' .0.01. needs ratings.*'stars'.*'rating_loss: 0'"),
        (6, {"max_prompt_tokens": 25}, "'max_prompt_tokens' .25. must be at least 'max_target_tokens' .24. and 2"),
        (6, {"feature_field": "subject"}, "'feature_field' names the column 'subject'"),
        (6, {"explain_about": "own", "feature_reviews": 500}, "finds no feature"),
        (6, {"rating_loss": -1}, "'rating_loss' must be"),
        (6, {"explain_about": "others"}, "Unknown value of 'explain_about': 'others'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, write_dataset, monkeypatch, columns, changes, message):
    monkeypatch.chdir(tmp_path)
    path = shop(tmp_path / "data", write_dataset, columns)
    with pytest.raises(GenRecError, match=message) as raised:
        built(SMALL | {"data_path": path}, **changes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"explain_about": "predicted"}, "needs '{feature}' in every prompt of 'explanation'.*p5-about"),
        ({"task_prompts": "p5-about"}, "have '{feature}': say which one in 'explain_about'"),
        ({"explain_about": "own", "tasks": {"sequential": 1}}, "has no effect: no explanations are trained"),
        ({"explain_about": "own", "review_field": "words"}, "needs reviews.*'words'"),
    ],
)
def test_prompts_of_p5_that_do_not_fit_are_refused(settings, changes, message):
    with pytest.raises(GenRecError, match=message):
        built(settings, "P5", **{"max_prompt_tokens": 160, "n_candidates": 4, **changes})


def test_checkpoints_of_other_models_do_not_explain(tmp_path, write_dataset, settings):
    result = run_recbole_genrec("GenRec", "tiny", config_dict={**settings, "epochs": 1, "max_prompt_tokens": 160})
    with pytest.raises(GenRecError, match="is of 'GenRec'. Models that explain: P5 and PEPLER"):
        explain(result["checkpoint"], "u1", "i1")
    with pytest.raises(GenRecError, match="does not exist"):
        explain("nowhere", "u1", "i1")


def test_an_unknown_item_is_refused_with_the_nearest(settings):
    result = run_recbole_genrec("PEPLER", "tiny", config_dict={**settings, "epochs": 1})
    with pytest.raises(GenRecError, match="has no item 'i44'. Did you mean 'i4'?"):
        explain(result["checkpoint"], "u1", "i44")


def test_the_prompts_with_features_differ_from_p5s_in_explanations_alone():
    plain, about = load_tasks("p5"), load_tasks("p5-about")
    assert (properties_folder() / "task/p5-about.yaml").is_file()
    for family in plain.families:
        if family != "explanation":
            assert plain.families[family] == about.families[family]
