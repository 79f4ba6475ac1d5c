"""RatingMF: its formula, what it trains on, and that it is asked for what P5's rating task is asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.reopen import load_data_and_model
from recbole_genrec.runs.run import build_model

#: users 0 to 8 rate six of seven items; u3's test rating and one of u1's training ratings are missing.
ROWS = [
    (f"u{user}", f"i{(user * 2 + step) % 7}", (user + 2 * step) % 5 + 1, 100 + step)
    for user in range(9)
    for step in range(6)
]
ROWS = [(*row[:2], "", row[3]) if (row[0], row[3]) in (("u3", 105), ("u1", 101)) else row for row in ROWS]
HEADER = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")


@pytest.fixture
def settings(tmp_path, monkeypatch, write_dataset):
    monkeypatch.chdir(tmp_path)
    items = [(f"i{item}", f"Item {item}") for item in range(7)]
    data_path = write_dataset(tmp_path / "data", ROWS, items, inter_header=HEADER)
    return {"data_path": data_path, "epochs": 3, "show_progress": False, "learning_rate": 0.02, "train_batch_size": 8}


def expected(model, dataset, user, item):
    """The prediction, number by number."""
    user, item = dataset.field2token_id["user_id"][user], dataset.field2token_id["item_id"][item]
    mine, other = model.user_vectors.weight[user].tolist(), model.item_vectors.weight[item].tolist()
    if model.perceptron is None:
        product = sum(a * b for a, b in zip(mine, other))
        return float(model.mean) + float(model.user_bias[user]) + float(model.item_bias[item]) + product
    hidden = np.array(mine + other)
    layers = [module for module in model.perceptron.modules() if isinstance(module, torch.nn.Linear)]
    for layer in layers[:-1]:
        hidden = np.maximum(layer.weight.detach().numpy() @ hidden + layer.bias.detach().numpy(), 0)
    (last,) = layers[-1].weight.detach().numpy() @ hidden + layers[-1].bias.detach().numpy()
    return float(model.mean) + last


@pytest.mark.parametrize("kind", ["mf", "mlp"])
def test_errors_are_those_of_the_formula(settings, kind):
    result = run_recbole_genrec("RatingMF", "tiny", config_dict=settings | {"rating_model": kind})
    _, model, dataset, *_ = load_data_and_model(result["checkpoint"])
    known = [row[2] for row in ROWS if row[3] < 104 and row[2] != ""]
    assert float(model.mean) == pytest.approx(np.mean(known))
    with torch.no_grad():
        errors = [
            np.clip(expected(model.eval(), dataset, user, item), 1, 5) - rating
            for user, item, rating, time in ROWS
            if time == 105 and rating != ""
        ]
    assert len(errors) == 8
    assert result["test_result"]["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=1e-4)
    assert result["test_result"]["mae"] == pytest.approx(np.mean(np.abs(errors)), abs=1e-4)
    best = min(epoch["valid_result"]["rmse"] for epoch in result["curve"])
    assert result["best_valid_score"] == best and result["valid_metric"] == "RMSE"


def test_the_loss_is_the_squared_error_with_its_penalty(settings):
    config = GenRecConfig("RatingMF", "tiny", config_dict=settings | {"reg_weight": 0.5, "embedding_size": 3})
    data = SplitData([config])
    model = build_model(config, data)
    model.user_bias.data.normal_()
    for parameter in model.parameters():
        parameter.requires_grad = False
    for batch in data.train_loader(config, model):
        terms = []
        for user, item, rating in zip(*(batch[field].tolist() for field in ("user_id", "item_id", "rating"))):
            p, q = model.user_vectors.weight[user], model.item_vectors.weight[item]
            b_u, b_i = model.user_bias[user], model.item_bias[item]
            error = rating - (model.mean + b_u + b_i + (p * q).sum())
            terms.append(error**2 + 0.5 * (b_u**2 + b_i**2 + (p**2).sum() + (q**2).sum()))
        assert float(model.calculate_loss(batch)) == pytest.approx(float(sum(terms) / len(terms)), rel=1e-5)


def test_it_is_asked_for_what_p5_is_asked_for(settings):
    p5 = {"scratch_hidden_size": 16, "scratch_layers": 1, "scratch_vocab_size": 300, "warmup_steps": 0}
    p5 |= {"tasks": {"sequential": 1, "rating": 1}, "learning_rate": 1e-3}
    more = {"epochs": 1, "topk": [2], "metrics": ["Hit"], "valid_metric": "Hit@2", "P5": p5, "repeatable": False}
    results = run_recbole_genrec("P5,RatingMF,Pop", "tiny", config_dict=settings | more)
    assert [result["test_result"].keys() for result in results] == [{"hit@2"}, {"rmse", "mae"}, {"hit@2"}]
    config = GenRecConfig("RatingMF", "tiny", config_dict=settings)
    data = SplitData([config])
    loader = data.evaluation_loader(config, "test")
    assert results[0]["tasks"]["rating"]["seen"]["examples"] == len(loader._dataset) == 8
    table = Path("results/P5+RatingMF+Pop-tiny-2020.md").read_text("utf-8")
    header, _, *rows = [line for line in table.splitlines() if line.startswith("|")]
    columns = [cell.strip() for cell in header.split("|")]
    cells = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")] for row in rows}
    for model, errors in (("P5", results[0]["tasks"]["rating"]["seen"]), ("RatingMF", results[1]["test_result"])):
        for name in ("rmse", "mae"):
            assert cells[model][columns.index(name)] == f"{errors[name]:.4f}"
    assert cells["Pop"][columns.index("rmse")] == "" == cells["RatingMF"][columns.index("hit@2")]
    assert json.loads(Path("results/RatingMF-tiny-2020.json").read_text("utf-8"))["outcomes"] is False


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (("user_id:token", "item_id:token", "stars:float", "timestamp:float"), "'RATING_FIELD' needs the column 'rat"),
        (("user_id:token", "item_id:token", "rating:token", "timestamp:float"), "'RATING_FIELD' needs numbers"),
    ],
)
def test_a_dataset_without_ratings(settings, tmp_path, write_dataset, header, message):
    write_dataset(tmp_path / "data", ROWS, inter_header=header)
    with pytest.raises(GenRecError, match=message):
        run_recbole_genrec("RatingMF", "tiny", config_dict=settings)


def test_a_part_whose_ratings_are_all_missing(settings, tmp_path, write_dataset):
    rows = [(*row[:2], "" if row[3] == 105 else row[2], row[3]) for row in ROWS]
    write_dataset(tmp_path / "data", rows, inter_header=HEADER)
    with pytest.raises(GenRecError, match="has a value in the column 'rating'"):
        run_recbole_genrec("RatingMF", "tiny", config_dict=settings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"eval_args": {"mode": "full"}}, "RatingMF predicts ratings and ranks nothing"),
        ({"metrics": ["NDCG"]}, "'metrics' .* has no effect on RatingMF"),
        ({"rating_model": "svd"}, "Unknown value of 'rating_model': 'svd'"),
    ],
)
def test_what_it_does_not_take(settings, given, message):
    with pytest.raises(GenRecError, match=message):
        GenRecConfig("RatingMF", "tiny", config_dict=settings, command_line=given)
