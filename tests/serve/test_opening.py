"""What a path may hold, and what is refused: pickles without trust, missing datasets, other files."""

import csv
import json
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_trainer

from recbole_genrec import GenRecError, GenRecommender, ItemId, Recommender, UserHistory, run_recbole_genrec
from recbole_genrec.cli.main import main
from recbole_genrec.evaluation.outcomes import Outcomes
from recbole_genrec.plugin import install  # noqa: F401  RecBole is mended
from recbole_genrec.serve.score_recommender import ScoreRecommender
from tests.builders import SCRATCH
from tests.serve.conftest import ITEMS, rows_of
from tests.servers import ScriptedServer

SMALL = {
    "hidden_size": 8,
    "inner_size": 8,
    "n_layers": 1,
    "n_heads": 1,
    "epochs": 1,
    "topk": [3],
    "valid_metric": "NDCG@3",
}
trusting = partial(Recommender.load, trust_remote_code=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory, write_dataset):
    folder = tmp_path_factory.mktemp("world")
    items = [item[:2] for item in ITEMS]
    return folder, write_dataset(folder / "data", rows_of(ITEMS), items)


@pytest.fixture(scope="module")
def sasrec(world):
    """The JSON of a run of SASRec, whose checkpoint is a pickle."""
    folder, data_path = world
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = SMALL | {"data_path": data_path, "checkpoint_dir": str(folder / "saved"), "show_progress": False}
        run_recbole_genrec("SASRec", "tiny", config_dict=settings | {"results_dir": str(folder)})
    return folder / "SASRec-tiny-2020.json"


def history(user):
    return [ItemId(item) for each, item, _ in rows_of(ITEMS) if each == user]


def ids(found):
    return [[item.item_id for item in row] for row in found]


def test_a_pickle_needs_trust(sasrec, tmp_path, caplog):
    checkpoint = json.loads(sasrec.read_text())["checkpoint"]
    for path in (sasrec, checkpoint):
        with pytest.raises(GenRecError, match="is a pickle of RecBole's: .* trust_remote_code=True"):
            Recommender.load(path)
    by_run = trusting(sasrec)
    outcomes = Outcomes.read(sasrec.with_suffix(".npz"))
    for row, user in enumerate(outcomes.users.tolist()):
        assert ids(by_run.recommend([history(user)[:-1]], 3)) == [outcomes.items[outcomes.lists[row]].tolist()]
    by_file = trusting(shutil.copy(checkpoint, tmp_path / "of somebody.pth"))
    assert f"{tmp_path / 'of somebody.pth'} is a pickle of RecBole's: reading it can run any code" in caplog.text
    assert isinstance(by_file, ScoreRecommender) and by_file.name == "SASRec"
    assert by_file.recommend([history("u1")], 4) == by_run.recommend([history("u1")], 4)


def test_a_checkpoint_of_recbole_alone(world, sasrec, tmp_path, monkeypatch):
    """Trained by RecBole's own objects: its configuration is RecBole's, and so is the split."""
    monkeypatch.chdir(tmp_path)
    ranking = {
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "train_neg_sample_args": None,
    }
    settings = SMALL | ranking | {"data_path": world[1], "checkpoint_dir": str(tmp_path), "show_progress": False}
    settings |= {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    config = Config("SASRec", "tiny", config_dict=settings)
    train, valid, test = data_preparation(config, create_dataset(config))
    model = config.model_class(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)
    trainer.fit(train, valid, saved=True, show_progress=False)
    recommender = trusting(trainer.saved_model_file)
    trainer.evaluate(test, load_best_model=True)
    (interaction, _, _, _) = next(iter(test))
    scores = model.full_sort_predict(interaction)
    scores[:, 0] = -torch.inf
    expected = train.dataset.field2id_token["item_id"][scores.topk(3).indices.numpy()].tolist()
    users = train.dataset.field2id_token["user_id"][interaction["user_id"].numpy()]
    assert ids(recommender.recommend([history(user)[:-1] for user in users], 3)) == expected
    assert ids([recommender.recommend([recommender.history_of("u2")], 3)[0]]) == ids(
        recommender.recommend([history("u2")], 3)
    )


def test_the_dataset_may_have_moved(world, sasrec, tmp_path):
    checkpoint = json.loads(sasrec.read_text())["checkpoint"]
    expected = trusting(sasrec).recommend([history("u1")], 4)
    moved = tmp_path / "elsewhere"
    shutil.copytree(world[1], moved)
    away = Path(world[1]).rename(Path(world[1]).with_name("hidden"))
    try:
        for path in (sasrec, checkpoint):
            with pytest.raises(GenRecError, match="SASRec ranks with the dataset .* no file .*tiny.inter.*--data_path"):
                trusting(path)
            assert trusting(path, data_path=moved).recommend([history("u1")], 4) == expected
        opened = trusting(sasrec, data_path=moved)
        assert opened.recommend([opened.history_of("u1")], 4) == expected
    finally:
        away.rename(world[1])


def test_paths_that_hold_no_model(trained, sasrec, tmp_path):
    with pytest.raises(GenRecError, match="'nowhere' does not exist"):
        Recommender.load("nowhere")
    for name in ("nowhere.json", "nowhere.pth"):
        with pytest.raises(
            GenRecError, match=f"There is no file '{name}'. A trained model is a checkpoint folder, the"
        ):
            Recommender.load(name)
    for name, text, message in [
        ("note.txt", "", "is no trained model: give a checkpoint folder, the JSON of a run, or a .pth"),
        ("a.json", "{", "is not JSON"),
        ("b.json", '{"a": 1}', "lacks the key 'model'"),
        ("c.pth", "no pickle", "is no checkpoint of RecBole's"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(GenRecError, match=message):
            trusting(tmp_path / name)
    torch.save({"weights": 1}, tmp_path / "d.pth")
    with pytest.raises(GenRecError, match="it has no 'config' and 'state_dict'"):
        trusting(tmp_path / "d.pth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(GenRecError, match="has no manifest.json"):
        Recommender.load(tmp_path / "empty")
    run = json.loads(sasrec.read_text()) | {"checkpoint": None}
    (tmp_path / "kept.json").write_text(json.dumps(run))
    with pytest.raises(GenRecError, match="names no checkpoint: its run kept none"):
        trusting(tmp_path / "kept.json")


def test_genrec_is_opened_without_its_dataset(trained, world, tmp_path, train):
    folder = trained["trie"][2]
    opened = Recommender.load(folder)
    assert type(opened) is GenRecommender and type(GenRecommender.load(folder)) is GenRecommender
    assert opened.recommend([["Heat"]]) == GenRecommender.from_checkpoint(folder).recommend([["Heat"]])


def test_a_model_that_is_not_genrec_is_no_genrecommender(sasrec):
    with pytest.raises(GenRecError, match="is of SASRec, and GenRecommender is for GenRec"):
        GenRecommender.load(sasrec, trust_remote_code=True)


def test_a_checkpoint_folder_of_another_model(train):
    model, batch, folder = train(model_name="TIGER", history="text", packing=False, item_indexing="random")
    recommender = Recommender.load(folder)
    rows = [
        [ItemId(model.catalogue.item_tokens[item - 1]) for item in row[:length]]
        for row, length in zip(batch["item_id_list"].tolist(), batch["item_length"].tolist())
    ]
    users = recommender.dataset.field2id_token["user_id"][batch["user_id"].numpy()].tolist()
    found = recommender.recommend([UserHistory(row, user_id=user) for row, user in zip(rows, users)], 4)
    best = model.full_sort_predict(batch).topk(4)
    for row, items, scores in zip(found, best.indices.tolist(), best.values.exp().tolist()):
        assert [item.item_id for item in row] == [model.catalogue.item_tokens[item - 1] for item in items]
        assert [item.probability for item in row] == pytest.approx(scores, rel=1e-4)


def test_a_model_of_ratings_has_nothing_to_recommend(world, tmp_path, monkeypatch, write_dataset):
    monkeypatch.chdir(tmp_path)
    rated = [(*row, 1 + number % 5) for number, row in enumerate(rows_of(ITEMS))]
    header = ("user_id:token", "item_id:token", "timestamp:float", "rating:float")
    settings = {"data_path": write_dataset(tmp_path / "data", rated, inter_header=header), "epochs": 1}
    settings |= {"load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}, "show_progress": False}
    run_recbole_genrec("RatingMF", "tiny", config_dict=settings | {"results_dir": str(tmp_path)})
    with pytest.raises(GenRecError, match="RatingMF predicts ratings and ranks no items"):
        trusting(tmp_path / "RatingMF-tiny-2020.json")


def test_a_chat_names_items_and_lists_no_others(world, tmp_path, monkeypatch):
    """Its lists are as long as the server's answers; nothing is filled up, restricted, or longer than it was asked."""
    folder, data_path = world
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    with ScriptedServer(lambda body, number: json.dumps({"titles": ["Alien", "Nothing", "Up"]})) as server:
        chat = {"ranking": "chat", "base_url": server.url, "chat_model": "m", "eval_step": 0, "show_progress": False}
        settings = SCRATCH | {"data_path": data_path, "results_dir": str(tmp_path)} | chat
        settings |= {"chat_cache": str(tmp_path / "cache"), "topk": [5], "valid_metric": "NDCG@5"}
        run_recbole_genrec("PromptLLM", "tiny", config_dict=settings)
        recommender = Recommender.load(tmp_path / "PromptLLM-tiny-2020.json")
        assert ids(recommender.recommend([["Heat", "Brazil"]], 5)) == [["m5", "m9"]]
        assert ids(recommender.recommend([["Heat", "Up"]], 5, exclude_seen=True, exclude=["m1"])) == [["m5"]]
        with pytest.raises(GenRecError, match="PromptLLM cannot restrict its lists by conditions. It can: "):
            recommender.recommend([["Heat"]], where={"item_id": "m1"})
        with pytest.raises(GenRecError, match="made to ask its server for lists of 5; 'topk' is 6"):
            recommender.recommend([["Heat"]], 6)


def test_general_models_need_a_user(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"data_path": world[1], "epochs": 1, "topk": [3], "valid_metric": "NDCG@3", "show_progress": False}
    run_recbole_genrec("BPR", "tiny", config_dict=settings | {"results_dir": str(tmp_path), "embedding_size": 8})
    recommender = trusting(tmp_path / "BPR-tiny-2020.json")
    with pytest.raises(GenRecError, match="BPR knows users by their ids .*: give the user, not a history"):
        recommender.recommend([history("u1")])
    with pytest.raises(GenRecError, match="the dataset of its training has no user 'nobody'"):
        recommender.recommend([UserHistory([], user_id="nobody")])
    of_user = recommender.history_of("u1")
    (answer,) = recommender.answer([of_user], 3)
    assert not any(entry.read for entry in answer.history)
    assert recommender.recommend([UserHistory([], user_id="u1")], 3) == [list(answer.recommendations)]


def test_the_command_line_recommends_with_any_model(sasrec, tmp_path, capsys):
    given = ["recommend", f"--checkpoint={sasrec}", "--trust_remote_code", "--topk=3", "--exclude_seen"]
    recommender = trusting(sasrec)
    (expected,) = recommender.recommend([recommender.history_of("u1")], 3, exclude_seen=True)
    capsys.readouterr()
    assert main([*given, "--user=u1"]) == 0
    printed = capsys.readouterr().out
    assert "score" in printed and "probability" not in printed
    for item in expected:
        assert f"{item.score:.4g}" in printed and item.item_id in printed
    assert main([*given, "--item=m1", "--item=m4", "--json"]) == 0
    (found,) = recommender.recommend([[ItemId("m1"), ItemId("m4")]], 3, exclude_seen=True)
    assert json.loads(capsys.readouterr().out)["recommendations"] == list(map(asdict, found))
    assert main([*given, "--all_users", f"--output={tmp_path / 'out.csv'}"]) == 0
    rows = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    of_user = [row for row in rows if row["user"] == "u1"]
    assert [(row["item_id"], row["probability"]) for row in of_user] == [(item.item_id, "") for item in expected]
    assert [float(row["score"]) for row in of_user] == pytest.approx([item.score for item in expected], rel=1e-4)
    capsys.readouterr()
    assert main([*given, "--user=u1", "--explain"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: SASRec cannot explain its lists. It can: ")


def test_a_sequential_model_needs_an_item(sasrec):
    with pytest.raises(GenRecError, match="SASRec needs a history of at least one item of the catalogue"):
        trusting(sasrec).recommend([[]])


def test_weights_that_are_no_numbers_are_said(sasrec):
    recommender = trusting(sasrec)
    recommender.model.item_embedding.weight.data[2] = float("nan")
    with pytest.raises(GenRecError, match="SASRec gives scores that are no numbers"):
        recommender.recommend([history("u1")])
