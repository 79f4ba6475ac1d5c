"""``keep_unseen_items``: items of ``.item`` that are in no interaction, kept or counted; and second rows of an item."""

import logging

import pytest

from recbole_genrec import run_recbole_genrec
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.run import build_model
from tests.builders import SCRATCH

ROWS = [(f"u{user}", f"i{(user + step) % 6}", 100 + step, 5 - user) for user in range(5) for step in range(5)]
HEADER = ("user_id:token", "item_id:token", "timestamp:float", "rating:float")
#: i0 to i5 are in interactions; i9, NA and null are not.
ITEMS = [("i9", "Nine"), *((f"i{n}", f"Title {n}") for n in range(6)), ("NA", "Not"), ("null", "Nil")]
UNSEEN = ["i9", "NA", "null"]


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_dataset(tmp_path / "data", ROWS, ITEMS, inter_header=HEADER)
    return {"data_path": path, "epochs": 1, "show_progress": False, "topk": [3], "valid_metric": "NDCG@3"}


def tokens_of(settings, model="SASRec"):
    return SplitData([GenRecConfig(model, "tiny", config_dict=settings)]).dataset.field2id_token["item_id"].tolist()[1:]


def test_they_come_behind_the_others(settings):
    seen = tokens_of(settings)
    assert sorted(seen) == [f"i{n}" for n in range(6)]
    assert tokens_of(settings | {"keep_unseen_items": True}) == [*seen, *UNSEEN]


@pytest.mark.parametrize("columns", [None, {"inter": ["user_id", "item_id", "timestamp"], "item": ["title"]}])
def test_columns_of_items_change_nothing(settings, columns):
    assert set(UNSEEN) < set(tokens_of(settings | {"keep_unseen_items": True, "load_col": columns}))


def test_items_whose_interactions_a_filter_leaves_out_are_kept(settings):
    filters = {"val_interval": {"rating": "[5,inf)"}, "load_col": {"inter": [cell.split(":")[0] for cell in HEADER]}}
    left = tokens_of(settings | filters | {"topk": [1], "valid_metric": "NDCG@1"})
    assert sorted(left) == [f"i{n}" for n in range(5)]
    assert sorted(tokens_of(settings | filters | {"keep_unseen_items": True})) == sorted(item for item, _ in ITEMS)


def test_items_that_a_filter_on_their_columns_leaves_out_stay_out(settings, tmp_path, write_dataset):
    items = [(item, title, n) for n, (item, title) in enumerate(ITEMS)]
    header = ("item_id:token", "title:token_seq", "price:float")
    path = write_dataset(tmp_path / "priced", ROWS, items, inter_header=HEADER, item_header=header)
    filters = {"val_interval": {"price": "[0,7]"}, "filter_inter_by_user_or_item": True, "data_path": path}
    filters |= {
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["price"]},
        "keep_unseen_items": True,
    }
    assert sorted(tokens_of(settings | filters)) == sorted({"i9", "NA", *(f"i{n}" for n in range(6))})


@pytest.mark.parametrize("scheme", ["title", "collaborative", "svd", "semantic", "sequential"])
def test_the_trie_holds_them(settings, scheme):
    own = {"item_indexing": scheme, "semantic_steps": 5, "semantic_codes": 4, "svd_bins": 4, **SCRATCH}
    config = GenRecConfig("GenRec", "tiny", config_dict=settings | own | {"keep_unseen_items": True})
    model = build_model(config, SplitData([config]))
    assert set(UNSEEN) < set(model.catalogue.item_tokens) and model.trie.n_items == len(ITEMS)
    texts = dict(zip(model.catalogue.item_tokens, model.catalogue.item_texts))
    assert texts["null"] == "Nil" and len(set(map(tuple, model.catalogue.identifiers))) == len(ITEMS)


def test_all_models_of_a_run_rank_them(settings):
    from recbole_genrec.evaluation.outcomes import Outcomes

    settings |= SCRATCH
    run_recbole_genrec("GenRec,SASRec", "tiny", config_dict=settings | {"keep_unseen_items": True})
    for model in ("GenRec", "SASRec"):
        assert sorted(Outcomes.read(f"results/{model}-tiny-2020.npz").items[1:]) == sorted(item for item, _ in ITEMS)
    with pytest.raises(GenRecError, match="share their data, but 'keep_unseen_items'"):
        run_recbole_genrec("GenRec,SASRec", "tiny", config_dict=settings | {"SASRec": {"keep_unseen_items": True}})


@pytest.mark.parametrize("keep", [False, True])
def test_what_is_left_out_is_counted(settings, caplog, keep):
    with caplog.at_level(logging.INFO):
        tokens_of(settings | {"keep_unseen_items": keep})
    lines = [record.message for record in caplog.records if "in no interaction" in record.message]
    assert len(lines) == (not keep)
    assert keep or ("3 of 9 items" in lines[0] and "keep_unseen_items: true" in lines[0] and "add_items" in lines[0])


def test_the_second_row_of_an_item_is_reported(settings, tmp_path, caplog):
    with open(tmp_path / "data/tiny/tiny.item", "a") as file:
        file.write("\ni3\tAnother\ni9\tNein\ni3\tA third\n")
    config = GenRecConfig("GenRec", "tiny", config_dict=settings | SCRATCH)
    model = build_model(config, SplitData([config]))
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    (line,) = [message for message in warnings if ".item" in message]
    assert "tiny.item: 3 rows are of an item that has one already" in line and "the first row of each counts" in line
    assert "line 12, of item 'i3'" in line
    assert dict(zip(model.catalogue.item_tokens, model.catalogue.item_texts))["i3"] == "Title 3"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep_unseen_items": "yes"}, "'keep_unseen_items' must be true or false"),
        (
            {"keep_unseen_items": True, "item_inter_num_interval": "[2,inf)"},
            "'item_inter_num_interval: .2,inf.'.*set one of them",
        ),
    ],
)
def test_what_is_refused(settings, change, message):
    with pytest.raises(GenRecError, match=message):
        tokens_of(settings | change)


def test_there_are_no_items(settings, tmp_path):
    (tmp_path / "data/tiny/tiny.item").write_text("id:token\n1\n")
    assert len(tokens_of(settings)) == 6
    with pytest.raises(GenRecError, match="'keep_unseen_items: true': .*tiny.item has no column 'item_id'"):
        tokens_of(settings | {"keep_unseen_items": True})
    (tmp_path / "data/tiny/tiny.item").unlink()
    with pytest.raises(GenRecError, match="'keep_unseen_items: true' needs the items of .*tiny.item: there is no such"):
        tokens_of(settings | {"keep_unseen_items": True})
