"""GenRec with every way of giving items identifiers; the schemes are found, not listed."""

import pytest
import torch
from recbole.data import create_dataset
from recbole.quick_start import load_data_and_model

from recbole_genrec import GenRec, GenRecError, run_recbole_genrec
from recbole_genrec.catalogue import schemes as indexing
from recbole_genrec.catalogue.index import read_draft
from recbole_genrec.catalogue.schemes import known_indexings
from recbole_genrec.config.config import GenRecConfig

every_scheme = pytest.mark.parametrize("scheme", known_indexings())


@every_scheme
def test_an_epoch_a_list_and_a_checkpoint(checkerboard, monkeypatch, scheme):
    settings = checkerboard | {"item_indexing": scheme, "epochs": 1, "semantic_steps": 20}
    result = run_recbole_genrec("GenRec", "tiny", config_dict=settings)
    assert result["generation"]["valid_share"] == 1
    assert result["generation"]["lists"] == 48

    # the checkpoint's own identifiers are read: no scheme runs
    monkeypatch.setattr(indexing, "_SCHEMES", {name: (None, True) for name in known_indexings()})
    _, model, dataset, _, _, test = load_data_and_model(result["checkpoint"])
    stored = read_draft(result["checkpoint"], model.catalogue.item_tokens)
    assert model.catalogue.index.pieces == stored.pieces
    hits = []
    for interaction, _, _, target in test:
        ranked = model.eval().full_sort_predict(interaction).argsort(dim=1, descending=True)
        hits.append((ranked[:, :5] == target[:, None]).any(1))
    assert result["test_result"]["hit@5"] == pytest.approx(torch.cat(hits).float().mean().item(), abs=1e-4)


@pytest.mark.parametrize(
    "settings", [{}, {"normalization": "vocab", "scratch_hidden_size": 64, "epochs": 80}], ids=["trie", "vocab"]
)
def test_the_checkerboard_is_learned_without_titles(checkerboard, settings):
    settings = checkerboard | {"item_indexing": "independent"} | settings
    result = run_recbole_genrec("GenRec", "tiny", config_dict=settings)
    assert result["test_result"]["hit@1"] > 0.95  # two of the 48 users may be wrong; chance is one in twelve


@every_scheme
def test_the_probabilities_of_all_items_sum_to_one(checkerboard, scheme):
    settings = checkerboard | {"item_indexing": scheme, "decoding": "full", "semantic_steps": 20}
    config = GenRecConfig("GenRec", "tiny", config_dict=settings)
    train = create_dataset(config).build()[0]
    model = GenRec(config, train).eval()
    scores = model.full_sort_predict(train[torch.arange(8)])
    torch.testing.assert_close(scores[:, 1:].exp().sum(1), torch.ones(8))


def test_identifiers_of_another_run(checkerboard):
    settings = checkerboard | {"epochs": 1}
    first = run_recbole_genrec("GenRec", "tiny", config_dict=settings | {"item_indexing": "random"})
    settings |= {"seed": 7, "item_index": first["checkpoint"]}
    second = run_recbole_genrec("GenRec", "tiny", config_dict=settings)
    items = ["Heat", "Big", "Up"]
    assert read_draft(first["checkpoint"], items).pieces == read_draft(second["checkpoint"], items).pieces
    with pytest.raises(GenRecError, match="'item_index': cannot read"):
        run_recbole_genrec("GenRec", "tiny", config_dict=settings | {"item_index": "nowhere"})
