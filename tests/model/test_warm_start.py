"""Training that starts from a GenRec of another catalogue."""

import shutil

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model
from transformers import LlamaConfig

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.config.config import GenRecConfig
from tests.builders import randomize, write_base, write_checkpoint
from tests.model.conftest import SMALL

OLD = ["Heat", "Alien", "Brazil", "Up", "Big", "Seven"]
#: the items of another shop: some of the same titles, under other ids and in another order.
NEW = ["Metropolis", "Brazil", "Heat", "M", "Seven", "Vertigo", "Alien"]
VECTORS = {"history": "both", "item_prior": True, "item_prior_loss": 0.5}


@pytest.fixture
def settings(tmp_path, write_dataset, monkeypatch):
    """(settings of the old shop, settings of the new one)"""
    monkeypatch.chdir(tmp_path)
    shops = []
    for shop, titles in (("old", OLD), ("new", NEW)):
        rows = [(f"u{u}", f"{shop}{(u + t) % len(titles)}", 100 + t) for u in range(14) for t in range(5)]
        items = [(f"{shop}{place}", title) for place, title in enumerate(titles)]
        shops.append(
            SMALL | {"topk": [3], "valid_metric": "NDCG@3"} | {"data_path": write_dataset(tmp_path / shop, rows, items)}
        )
    return shops


def built(settings, **more):
    config = GenRecConfig("GenRec", "tiny", config_dict=settings | more)
    train, _, test = data_preparation(config, create_dataset(config))
    return config.model_class(config, train.dataset).eval(), next(iter(test))[0]


def test_the_language_model_and_the_vectors_of_shared_items_are_taken_over(settings, tmp_path):
    old, new = settings
    _, source, _ = write_checkpoint(tmp_path / "best", "GenRec", old | VECTORS)
    model, _ = built(new, **VECTORS, warm_start=str(tmp_path / "best"))
    assert model.backbone.tokenizer.get_vocab() == source.backbone.tokenizer.get_vocab()
    theirs = source.backbone.state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in model.backbone.state_dict().items())
    vector = dict(zip(source.catalogue.texts, source.item_embedding.weight[1:]))
    for title, own in zip(model.catalogue.texts, model.item_embedding.weight[1:], strict=True):
        assert torch.equal(own, vector[title]) if title in OLD else not own.any()
    assert {"Brazil", "Heat", "Seven", "Alien"} == set(OLD) & set(model.catalogue.texts)


def test_on_the_same_data_the_scores_are_those_of_the_checkpoint(settings, tmp_path):
    old, _ = settings
    _, source, rows = write_checkpoint(tmp_path / "best", "GenRec", old | VECTORS | {"decoding": "full"})
    model, _ = built(old, **VECTORS, decoding="full", warm_start=str(tmp_path / "best"))
    torch.testing.assert_close(model.full_sort_predict(rows), source.full_sort_predict(rows), rtol=0, atol=0)


@pytest.mark.parametrize("vectors", [{}, VECTORS], ids=["without", "with"])
def test_a_checkpoint_without_vectors_leaves_them_as_they_are(settings, tmp_path, vectors):
    old, new = settings
    write_checkpoint(tmp_path / "best", "GenRec", old | ({} if vectors else VECTORS))
    model, rows = built(new, **vectors, warm_start=str(tmp_path / "best"))
    assert model.item_embedding is None if not vectors else not model.item_embedding.weight.any()
    assert torch.isfinite(model.full_sort_predict(rows)).sum() == 3 * len(rows)


@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_a_pretrained_backbone(settings, tmp_path, adapter):
    old, new = settings
    pretrained = {"backbone": write_base(tmp_path / "base"), "adapter": adapter, "lora_r": 2}
    _, source, _ = write_checkpoint(tmp_path / "best", "GenRec", old | pretrained)
    model, _ = built(new, **pretrained, warm_start=str(tmp_path / "best"))
    theirs = source.backbone.state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in model.backbone.state_dict().items())


def test_a_run_trains_on_resumes_and_is_read_back_without_its_source(settings, tmp_path):
    old, new = settings
    first = run_recbole_genrec("GenRec", "tiny", config_dict=old | VECTORS | {"epochs": 2})
    new = new | VECTORS | {"warm_start": first["checkpoint"], "epochs": 2}
    second = run_recbole_genrec("GenRec", "tiny", config_dict=new)
    assert second["config"]["warm_start"] == first["checkpoint"]
    resumed = run_recbole_genrec("GenRec", "tiny", config_dict=new | {"resume": "auto"})
    assert resumed["test_result"] == second["test_result"]
    shutil.rmtree(first["checkpoint"])
    _, model, _, _, _, test = load_data_and_model(second["checkpoint"])
    rows = next(iter(test))[0]
    randomized = model.eval().full_sort_predict(rows)
    randomize(model)
    load_checkpoint_into(model, second["checkpoint"])
    torch.testing.assert_close(model.full_sort_predict(rows), randomized)


@pytest.mark.parametrize(
    ("there", "here", "message"),
    [
        ({"item_indexing": "random"}, {}, "'item_indexing: title', which is 'random' in"),
        ({}, {"item_indexing": "random"}, "'item_indexing: title', which is 'random' here"),
        ({"scratch_hidden_size": 64}, {}, "'scratch_hidden_size' is 64 in .* and 32 here"),
        ({"name": "P5"}, {}, "of GenRec; .* is of P5"),
        ({}, {"warm_start": "nowhere"}, "'nowhere' does not exist"),
        ({}, {"backbone": "base"}, "'backbone' is 'scratch' in"),
    ],
)
def test_what_training_cannot_start_from_is_refused_before_anything_is_built(settings, tmp_path, there, here, message):
    old, new = settings
    write_checkpoint(tmp_path / "best", there.pop("name", "GenRec"), old | there)
    with pytest.raises(GenRecError, match=message):
        GenRecConfig("GenRec", "tiny", config_dict=new | {"warm_start": str(tmp_path / "best")} | here)


def test_weights_of_another_model_under_the_same_name_are_refused(settings, tmp_path):
    old, new = settings
    pretrained = {"backbone": write_base(tmp_path / "base"), "adapter": "none"}
    write_checkpoint(tmp_path / "best", "GenRec", old | pretrained)
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    write_base(tmp_path / "base", LlamaConfig(vocab_size=259, **shape))
    with pytest.raises(GenRecError, match="'warm_start': the language model in .* is another"):
        built(new, **pretrained, warm_start=str(tmp_path / "best"))
