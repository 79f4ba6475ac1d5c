"""P5 on a small world with ratings and reviews: all families train, and each is tested."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from recbole.data.interaction import Interaction

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import get_trainer
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.model.p5 import P5
from recbole_genrec.runs.run import build_model
from recbole_genrec.training.trainer import GenRecTrainer

HEADER = (
    "user_id:token",
    "item_id:token",
    "timestamp:float",
    "rating:float",
    "review_text:token_seq",
    "summary:token_seq",
)
KIND = ["car", "doll", "kite"]
#: what users think of an item follows from it: every family has something to learn.
SMALL = {
    "scratch_hidden_size": 64,
    "scratch_layers": 1,
    "scratch_intermediate_size": 64,
    "scratch_vocab_size": 400,
    "embedding_dropout": 0.0,
    "hidden_dropout": 0.0,
    "max_prompt_tokens": 96,
    "max_target_tokens": 12,
    "n_candidates": 4,
    "topk": [1, 3],
    "valid_metric": "NDCG@3",
    "learning_rate": 0.003,
    "train_batch_size": 32,
    "warmup_steps": 5,
    "epochs": 2,
    "show_progress": False,
}


def shop(tmp_path, write_dataset, with_reviews=True):
    rows = []
    for user in range(24):
        for time in range(5 + user % 4):
            item = (user + time) % 9
            good = item % 3 == 0
            opinion = f"A {'good' if good else 'bad'} {KIND[item % 3]} for us all." + " More words follow here."
            row = (f"u{user}", f"i{item}", 1000 + time, 5 if good else 2)
            rows.append((*row, opinion, f"{'good' if good else 'bad'} {KIND[item % 3]}") if with_reviews else row[:3])
    items = [(f"i{item}", f"{KIND[item % 3]} number {item}") for item in range(9)]
    header = HEADER if with_reviews else HEADER[:3]
    return write_dataset(tmp_path / "data", rows, items, inter_header=header)


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return SMALL | {"data_path": shop(tmp_path, write_dataset)}


def built(settings, **changes):
    config = GenRecConfig("P5", "tiny", config_dict=settings | changes)
    data = SplitData([config])
    model = build_model(config, data)
    return config, data, model


def test_all_five_families_are_trained_and_tested(settings):
    shares = {"sequential": 2, "direct": 1, "rating": 2, "explanation": 1, "review": 1}
    longer = {"epochs": 12, "stopping_step": 10, "examples_per_user": 8, "tasks": shares}
    result = run_recbole_genrec("P5", "tiny", config_dict=settings | longer)
    tasks = json.loads(Path("results/P5-tiny-2020.json").read_text("utf-8"))["tasks"]
    assert tasks.keys() == {"sequential", "direct", "rating", "explanation", "review"}
    for family, found in tasks.items():
        assert {"seen", "unseen"} <= found.keys(), family
    assert tasks["sequential"]["seen"] == pytest.approx(result["test_result"])
    assert result["test_result"]["hit@3"] > 0.6  # the next item follows from the last one; by chance: 1/3
    assert tasks["direct"]["seen, candidates"].keys() == result["test_result"].keys()
    assert tasks["rating"]["seen"]["mae"] < 1.25  # 2 or 5 by the kind of item; the mean for all: 1.33
    assert tasks["rating"]["seen"]["mae"] <= tasks["rating"]["seen"]["rmse"] < 1.6
    assert tasks["review"]["seen"]["rouge-1"] > 60  # the summary repeats words of the review
    for family in ("explanation", "review"):
        assert len(tasks[family]["seen"]["shown"]) == 3
        assert tasks[family]["seen"]["examples"] == 24
    assert result["generation"]["valid_share"] == 1


def test_families_without_columns_are_off_with_a_log_line(tmp_path, write_dataset, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    settings = SMALL | {"data_path": shop(tmp_path, write_dataset, with_reviews=False)}
    caplog.set_level("INFO")
    _, _, model = built(settings)
    assert list(model.shares) == ["sequential", "direct"]
    for family in ("rating", "explanation", "review"):
        assert re.search(f"P5: no {family}", caplog.text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packing": True}, "'packing: false'"),
        ({"tasks": {"sequential": 0, "direct": 1}}, "must give 'sequential' a share"),
        ({"tasks": {"ranking": 1}}, "'tasks': 'ranking'"),
        ({"tasks": {"sequential": -1}}, "'tasks: sequential' must be a number of at least 0, not -1"),
        ({"tasks": "all"}, "'tasks' must be a mapping of task families to shares"),
        ({"task_prompts": "p6"}, "'p6'"),
        ({"task_prompts": "mine.yaml"}, "'tasks' asks for 'review', for which 'mine' has no prompts"),
        ({"n_candidates": 1}, "'n_candidates'"),
        ({"attn_implementation": "flex_attention"}, "is for packed training"),
        ({"lazy_windows": False}, "lazy_windows"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, changes, message):
    shipped = yaml.safe_load((properties_folder() / "task" / "p5.yaml").read_text("utf-8"))
    del shipped["review"]
    Path("mine.yaml").write_text(yaml.safe_dump(shipped), "utf-8")
    with pytest.raises(GenRecError, match=message):
        built(settings, **changes)


def test_the_loss_is_that_of_transformers(settings):
    """With ``vocab`` normalisation, an example's loss is the model's own on its prompt and target."""
    _, data, model = built(settings, normalization="vocab", whole_word_embedding=False)
    model.eval()
    causal_model, pad = model.backbone.causal_model, model.backbone.pad_id
    for family in model.shares:
        places = model.data.places(family)[:4]
        examples = [model.data.example(family, 0, place, None, with_candidates=False) for place in places]
        losses = []
        for example in examples:
            batch = model.writer.write([example])
            labels = batch.text_label if len(batch.text_label) else batch.label
            losses.append(causal_model(input_ids=batch.prompts.input_ids, labels=labels[None]).loss)
        assert pad not in labels
        loss = model.calculate_loss(model.writer.write(examples))
        torch.testing.assert_close(loss, torch.stack(losses).mean(), atol=1e-5, rtol=1e-5)


def test_whole_words_change_the_prompt(settings):
    _, _, model = built(settings)
    assert model.whole_words.num_embeddings == 96 + 2  # of checkpoints, too
    prompts = model.writer.write_prompts([model.data.example("direct", 0, 3, None, with_candidates=False)])
    with_words = model.encode_prompts(prompts)[0]
    model.whole_words = None
    assert not torch.allclose(model.encode_prompts(prompts)[0], with_words)


def test_sampled_evaluation_leaves_out_prompts_with_candidates_of_their_own(settings):
    mode = {"eval_args": {"mode": "uni3"}, "tasks": {"sequential": 1, "direct": 1}, "epochs": 1}
    tasks = run_recbole_genrec("P5", "tiny", config_dict=settings | mode)["tasks"]
    assert tasks["sequential"].keys() == {"seen", "unseen"}
    assert tasks["direct"].keys() == {"seen"}


def test_families_are_tested_unless_told_otherwise_and_nothing_twice(settings, monkeypatch):
    evaluations, evaluate = [], GenRecTrainer.evaluate
    monkeypatch.setattr(GenRecTrainer, "evaluate", lambda *args, **kw: evaluations.append(1) or evaluate(*args, **kw))
    asked = settings | {"tasks": {"sequential": 1}, "epochs": 1, "eval_step": 2}
    alone = run_recbole_genrec("P5", "tiny", config_dict=asked | {"test_tasks": False})
    of_one = len(evaluations)
    whole = run_recbole_genrec("P5", "tiny", config_dict=asked)
    assert alone["tasks"] == {} and whole["tasks"]["sequential"].keys() == {"seen", "unseen"}
    assert alone["test_result"] == whole["test_result"] == whole["tasks"]["sequential"]["seen"]
    assert len(evaluations) == 2 * of_one + 1  # the one more has the prompt that was held out


def test_each_family_is_tested_with_its_first_prompt_and_the_one_held_out(settings):
    _, _, model = built(settings)
    for family, prompts in model.tasks.families.items():
        tested = model._tested_prompts(family)
        first = {"seen, candidates": 2} if family == "direct" else {}  # and of those with candidates
        assert tested == {"seen": 0, "unseen": len(prompts) - 1} | first


def test_candidates_alone_have_scores(settings):
    config, data, model = built(settings)
    model.eval()
    model.ranking = ("direct", 2)
    assert model.tasks.has("direct", 2, "candidates")
    interaction, *_ = next(iter(data.evaluation_loader(config, "test")))
    scores = model.full_sort_predict(interaction)
    assert (torch.isfinite(scores).sum(1) <= 4).all()  # fewer for a user who has had nearly all items
    assert torch.isfinite(scores[torch.arange(len(scores)), interaction["item_id"]]).all()
    assert torch.equal(scores, model.full_sort_predict(interaction))  # the same candidates again


def test_rows_of_users_and_candidates_have_the_scores_of_the_whole_catalogue(settings):
    """Histories as long as the longest one, of which rows share some."""
    config, data, model = built(settings, MAX_ITEM_LIST_LENGTH=3, decoding="full")
    model.eval()
    interaction, *_ = next(iter(data.evaluation_loader(config, "test")))
    assert (interaction["item_length"] == 3).all()
    whole = model.full_sort_predict(interaction)
    row = torch.arange(len(interaction)).repeat_interleave(9).flip(0)
    asked = interaction[row]
    asked.update(Interaction({"item_id": torch.arange(1, 10).repeat(len(interaction))}))
    torch.testing.assert_close(model.predict(asked), whole[row, asked["item_id"]])


def test_interactions_without_a_text_are_no_test_of_it(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        (f"u{u}", f"i{(u + t) % 9}", t, 4, "" if t == 5 and u % 3 else f"A kite {u} for all.", "")
        for u in range(9)
        for t in range(6)
    ]
    rows = [(*row[:5], "fine" if row[4] else "") for row in rows]
    path = write_dataset(tmp_path / "data", rows, [(f"i{i}", f"kite {i}") for i in range(9)], inter_header=HEADER)
    config, data, model = built(SMALL | {"data_path": path})
    model.eval()
    for family in ("explanation", "review"):
        assert model._evaluate_texts(family, 0, data.parts[2].inter_feat.place, config)["examples"] == 3
    assert model._evaluate_texts("rating", 0, data.parts[2].inter_feat.place, config)["examples"] == 9


def test_parts_of_the_prompt_are_those_of_the_first_sequential_one(settings):
    _, data, model = built(settings)
    example = model.data.example("sequential", 0, 4, None, with_candidates=False)._replace(user=0)
    prompts = model.writer.write_prompts([example])
    parts = P5.prompt_parts(model.prompt_settings(), model.backbone)
    identifiers = [list(model.catalogue.identifiers[item - 1]) for item in example.history]
    assert len(identifiers) > 1
    written = model.backbone.tokenizer.decode(parts.write(identifiers))
    assert written == model.backbone.tokenizer.decode(prompts.input_ids[0])


def test_a_checkpoint_comes_back(settings):
    config, data, model = built(settings)
    trainer = get_trainer(config["MODEL_TYPE"], "P5")(config, model)
    loader = data.evaluation_loader(config, "valid")
    trainer.fit(data.train_loader(config, model), loader, show_progress=False)
    folder = Path(trainer.saved_model_file)
    assert "sequential:" in (folder / "prompt.yaml").read_text("utf-8")
    load_checkpoint_into(model, folder)
    _, _, other = built(settings)
    load_checkpoint_into(other, folder)
    interaction, *_ = next(iter(loader))
    model.eval(), other.eval()
    torch.testing.assert_close(model.full_sort_predict(interaction), other.full_sort_predict(interaction))
