"""Columns of items as vectors: what they add to an item, and what a new item has of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.quick_start import load_data_and_model

from recbole_genrec import GenRecError, GenRecommender, ItemId, NewItem, run_recbole_genrec
from recbole_genrec.catalogue.item_text import ItemColumn
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.files.user_table import ValueColumn
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.model.item_values import ItemValues
from recbole_genrec.runs.run import build_model
from tests.builders import SCRATCH

COLUMNS = ["genre", "kind", "year"]
ITEMS = [(f"i{n}", f"Film {n}", "Comedy Drama War".split()[: n % 4], "AB"[n % 2], 1990 + n) for n in range(8)]
HEADER = "item_id:token\ttitle:token_seq\tgenre:token_seq\tkind:token\tyear:float"
ALL = ("SASRecAll", "BSARec", "HSTU")


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    rows = [
        (f"u{u}", f"i{i}", t) for u in range(15) for t, i in enumerate(random.permutation(8)[: random.integers(4, 8)])
    ]
    path = write_dataset(tmp_path / "data", rows)
    lines = ["\t".join([item, title, " ".join(genres), kind, str(year)]) for item, title, genres, kind, year in ITEMS]
    Path(path, "tiny/tiny.item").write_text("\n".join([HEADER, *lines]) + "\n")
    return {"data_path": path, "topk": [2], "valid_metric": "NDCG@2", "epochs": 1, "show_progress": False}


def own_of(model, **more):
    return {**more, "hidden_size": 8, "n_heads": 1} if model in ALL else {**SCRATCH, "topk": [2], **more}


def made(settings, model, **more):
    config = GenRecConfig(model, "tiny", config_dict={**own_of(model), **settings, "valid_metric": "NDCG@2", **more})
    data = SplitData([config])
    torch.manual_seed(0)
    test = data.evaluation_loader(config, "test")
    return build_model(config, data).eval(), next(iter(test))[0]


def expected(values, item):
    """The vector of an item by the definition."""
    _, _, genres, kind, year = ITEMS[item]
    tables = {name: values.vectors[name] for name in COLUMNS}
    total = tables["kind"].table.weight["AB".index(kind)] + tables["year"](torch.tensor(float(year)))
    if genres:
        total = total + torch.stack(
            [tables["genre"].table.weight["Comedy Drama War".split().index(g)] for g in genres]
        ).mean(0)
    return total


@pytest.mark.parametrize(
    ("model", "more"),
    [("GenRec", {"history": history}) for history in ("text", "vectors", "both")] + [(name, {}) for name in ALL],
)
@torch.no_grad()
def test_zero_tables_change_nothing_and_others_are_the_definition(settings, model, more):
    plain, batch = made(settings, model, **more)
    with_columns, _ = made(settings, model, item_columns=COLUMNS, **more)
    torch.testing.assert_close(with_columns.full_sort_predict(batch), plain.full_sort_predict(batch))
    values = with_columns.item_values
    for _, vectors in values.vectors.items():
        torch.nn.init.normal_(vectors.table.weight)
    assert not torch.allclose(with_columns.full_sort_predict(batch), plain.full_sort_predict(batch))
    tokens = [token for token, *_ in ITEMS]
    names = SplitData([GenRecConfig("SASRec", "tiny", config_dict=settings)]).dataset.field2id_token["item_id"]
    for item in range(1, 9):
        found = values(torch.tensor([[item]]))[0, 0]
        torch.testing.assert_close(found, expected(values, tokens.index(names[item])))
    every = values(torch.arange(9).repeat(2))
    torch.testing.assert_close(every[9:], torch.stack([values(torch.tensor([item]))[0] for item in range(9)]))
    assert not every[0].any()
    if model in ALL:
        items, weight = batch["item_id_list"], with_columns.item_vectors()
        fed = with_columns.embedded(items, weight)
        torch.testing.assert_close(fed, weight[items] + every[items])


def test_every_way_gives_the_same_scores_and_new_items_have_their_columns(settings):
    own = own_of("GenRec", history="both", item_columns=COLUMNS) | settings | {"epochs": 3, "learning_rate": 0.02}
    result = run_recbole_genrec("GenRec", "tiny", config_dict=own)
    stored = json.loads(Path(result["checkpoint"], "item_values.json").read_text())
    assert stored["genre"] == {"kind": "token", "values": ["Comedy", "Drama", "War"]}
    assert stored["year"] == {"kind": "float", "values": []}
    config, model, _, train, _, test = load_data_and_model(result["checkpoint"])
    model.eval()
    assert all(vectors.table.weight.any() for _, vectors in model.item_values.vectors.items())
    batch, model.scores_all_items = next(iter(test))[0], True
    scores = model.full_sort_predict(batch)
    own = scores.gather(1, batch["item_id"][:, None])[:, 0]
    torch.testing.assert_close(model.predict(batch), own, atol=1e-5, rtol=1e-5)
    packed = model.pack_interaction(batch)
    torch.testing.assert_close(model.calculate_loss(packed) * packed.n_decisions, -own.sum(), atol=1e-3, rtol=1e-4)
    loader = model.training_loader(config, train.dataset)
    total = sum(part.n_decisions * model.calculate_loss(part) for part in loader)
    single = model.pack_interaction(train.dataset[np.arange(len(train.dataset))])
    torch.testing.assert_close(total, model.calculate_loss(single) * single.n_decisions, atol=1e-3, rtol=1e-5)

    recommender, tokens = GenRecommender.from_checkpoint(result["checkpoint"]), model.catalogue.item_tokens
    history = [ItemId(tokens[i - 1]) for i in batch["item_id_list"][0, : batch["item_length"][0]].tolist()]
    found = {each.item_id: each.probability for each in recommender.recommend([history], 8)[0]}
    assert [found[token] for token in tokens] == pytest.approx(scores[0, 1:].exp().tolist(), abs=1e-5)

    new = {"genre": ["War", "Comedy", "Opera"], "kind": "A", "year": 1993}
    recommender.add_items([NewItem("n1", "New film", new), NewItem("n2", "Newer film")])
    values = recommender.ranker.item_values
    tables = values.vectors
    by_hand = (tables["genre"].table.weight[[0, 2]].sum(0) / 2) + tables["kind"].table.weight[0]
    by_hand = by_hand + tables["year"](torch.tensor(1993.0))
    torch.testing.assert_close(values(torch.tensor([9]))[0], by_hand)
    assert not values(torch.tensor([10, 99])).any()  # nothing is known of these
    recommender.save("more")
    again = GenRecommender.from_checkpoint("more")
    torch.testing.assert_close(again.ranker.item_values(torch.tensor([9]))[0], by_hand)
    assert again.recommend([[ItemId("n1")]], 3) == recommender.recommend([[ItemId("n1")]], 3)
    assert again.recommend([["an unknown film"]], 3)


def test_unknown_categories_and_missing_values_add_nothing():
    values = ItemValues({"genre": ValueColumn("token", ("a", "b"))}, 2)
    torch.nn.init.normal_(values.vectors["genre"].table.weight)
    values.describe(["x", "y", "z"], {"genre": ItemColumn("token_seq", {"x": ["b", "c"], "y": ["c"]})})
    found = values(torch.tensor([1, 2, 3, 0]))
    assert torch.equal(found[0], values.vectors["genre"].table.weight[1]) and not found[1:].any()


@pytest.mark.parametrize("model", ["GenRec", "SASRecAll"])
@pytest.mark.parametrize(
    ("name", "message"),
    [("genres", "needs the column 'genres' of .*tiny.item, which has"), ("item_id", "needs the column 'item_id'")],
)
def test_a_column_that_is_not_there_is_named(settings, model, name, message):
    with pytest.raises(GenRecError, match=f"'item_columns' {message}"):
        run_recbole_genrec(model, "tiny", config_dict=own_of(model, item_columns=[name]) | settings)
