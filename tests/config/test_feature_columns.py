"""RecBole's models that read more than users, items and times: the columns are loaded, or named where they are not."""

import numpy as np
import pytest

from recbole_genrec import run_recbole_genrec
from recbole_genrec.cli.main import main
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.errors import GenRecError

ITEMS = [(f"i{n}", f"Title {n}", f"kind{n % 3}", f"a{n % 2} b") for n in range(10)]
HEADER = ("item_id:token", "title:token_seq", "class:token", "tags:token_seq")
ROWS = [(f"u{u}", f"i{(3 * u + 2 * t) % 10}", 100 + t) for u in range(12) for t in range(6)]
SMALL = {"epochs": 1, "topk": [3], "valid_metric": "NDCG@3", "show_progress": False}


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return {"data_path": write_dataset(tmp_path / "data", ROWS, ITEMS, item_header=HEADER), **SMALL}


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("SASRecF", {}),
        ("FDSA", {"selected_features": ["tags", "class"]}),
        ("GRU4RecF", {"load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["title"]}}),
        ("GRU4RecF", {"load_col": None}),
        ("S3Rec", {"item_attribute": "tags", "train_stage": "pretrain", "MAX_ITEM_LIST_LENGTH": 6}),
    ],
)
def test_models_of_item_features_run(settings, model, more):
    if model == "S3Rec":  # its pretraining ends in a file; what it reads is the same
        from recbole_genrec.interactions.split import SplitData

        config = GenRecConfig(model, "tiny", config_dict=settings | more)
        assert {"item_id", "tags"} == set(config["load_col"]["item"])
        assert "tags" in SplitData([config]).dataset.item_feat
        return
    result = run_recbole_genrec(model, "tiny", config_dict=settings | more)
    assert 0 <= result["test_result"]["ndcg@3"] <= 1


def test_all_models_of_a_run_have_these_columns(settings):
    results = run_recbole_genrec("GRU4Rec,SASRecF", "tiny", config_dict=settings)
    assert {tuple(result["config"]["load_col"]["item"]) for result in results} == {("item_id", "class")}


def test_other_models_load_none(settings):
    assert "item" not in GenRecConfig("SASRec", "tiny", config_dict=settings)["load_col"]
    assert "item" not in GenRecConfig("GenRec", "tiny", config_dict=settings)["load_col"]


def test_a_column_that_is_not_there(settings, capsys):
    with pytest.raises(
        GenRecError, match="SASRecF: 'selected_features' names 'genre', no column of .*tiny.item .*class"
    ):
        run_recbole_genrec("SASRecF", "tiny", config_dict=settings | {"selected_features": ["class", "genre"]})
    options = [f"--data_path={settings['data_path']}", "--model=SASRecF", "--dataset=tiny", "--topk=[3]"]
    assert main([*options, "--selected_features=[genre]"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: SASRecF: 'selected_features' names 'genre'")


def graph(folder):
    """A knowledge graph over the items, with vectors of its entities and relations."""
    vectors = np.random.default_rng(1).random((13, 64)).round(3).tolist()
    files = {
        "kg": ["head_id:token\trelation_id:token\ttail_id:token"]
        + [f"e{n}\tr{n % 2}\te{10 + n % 3}" for n in range(10)],
        "link": ["item_id:token\tentity_id:token"] + [f"i{n}\te{n}" for n in range(10)],
        "ent": ["ent_id:token\tent_emb:float_seq"] + [f"e{n}\t{' '.join(map(str, vectors[n]))}" for n in range(13)],
        "rel": ["rel_id:token\trel_emb:float_seq"] + [f"r{n}\t{' '.join(map(str, vectors[n]))}" for n in range(2)],
    }
    for suffix, lines in files.items():
        (folder / f"tiny.{suffix}").write_text("\n".join([*lines, ""]))


@pytest.mark.parametrize("model", ["KSR", "GRU4RecKG"])
@pytest.mark.filterwarnings("ignore:using <built-in function len> in Series.agg:FutureWarning")
def test_models_of_knowledge_graphs_run(settings, tmp_path, model):
    graph(tmp_path / "data/tiny")
    result = run_recbole_genrec(model, "tiny", config_dict=settings)
    assert 0 <= result["test_result"]["ndcg@3"] <= 1


@pytest.mark.parametrize("suffix", ["kg", "link", "ent", "rel"])
def test_a_file_of_a_knowledge_graph_is_missing(settings, tmp_path, suffix):
    graph(tmp_path / "data/tiny")
    (tmp_path / f"data/tiny/tiny.{suffix}").unlink()
    with pytest.raises(GenRecError, match=rf"KSR: .*tiny\.{suffix}.* (is missing|not found)"):
        run_recbole_genrec("KSR", "tiny", config_dict=settings)
