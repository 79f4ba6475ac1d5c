"""Text vectors outside a training: of new items, of free text in a history, and in a copy of the checkpoint."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from recbole_genrec import GenRecError, GenRecommender, NewItem
from recbole_genrec.vectors import text_vectors
from recbole_genrec.vectors.vector_cache import cache_folder
from tests.builders import byte_tokenizer
from tests.serve.conftest import ITEMS
from tests.serve.oracle import oracle

VECTORS = {"item_prior": True, "item_prior_loss": 1.0, "text_vectors": "tfidf", "text_vectors_text": "{title} {genre}"}
NEW = [
    NewItem("n0", "Toy Story of Terror", {"genre": ["Animation", "Horror"]}),
    NewItem("n1", "Alien", {"title": "Toy Story", "genre": "Animation Comedy"}),
    NewItem("n2"),
]


@pytest.fixture(scope="module")
def trained_with_texts(train):
    return train(**VECTORS)


@pytest.fixture
def recommender(trained_with_texts):
    return GenRecommender.from_checkpoint(trained_with_texts[2])


def text_part(recommender, item):
    """The vector of an item without what was learned of it."""
    vectors = recommender.ranker.item_embedding
    return vectors.table[item] @ vectors.projection


def test_the_ranker_has_the_vectors_of_the_model(recommender, trained_with_texts):
    model = trained_with_texts[0]
    assert model.item_embedding.projection.any() and model.item_embedding.table.any()
    assert torch.equal(recommender.ranker.item_embedding.weight, model.item_embedding.weight)


def test_new_items_get_the_vector_of_their_text(recommender, tmp_path):
    before = recommender.ranker.item_embedding.weight.clone()
    recommender.add_items(NEW)
    vectors, number = recommender.ranker.item_embedding, recommender.reader.number
    assert torch.equal(vectors.weight[: len(before)], before)
    assert not vectors.learned[len(before) :].any()
    torch.testing.assert_close(vectors.weight[number["n1"]], text_part(recommender, number["m0"]))  # of one text
    assert vectors.weight[number["n0"]].any() and not vectors.weight[number["n2"]].any()
    made = recommender.ranker.text_vectors.made
    expected = made.encode(["Toy Story of Terror Animation Horror"], text_vectors.Maker())
    np.testing.assert_array_equal(vectors.table[number["n0"]].numpy()[None], expected)
    recommender.save(tmp_path / "more")
    again = GenRecommender.from_checkpoint(tmp_path / "more")
    assert torch.equal(again.ranker.item_embedding.weight, vectors.weight)
    assert again.recommend([["Heat", "Up"]], 13) == recommender.recommend([["Heat", "Up"]], 13)
    again.add_items([NewItem("n3", "Heat", {"genre": "Crime Drama"})])
    torch.testing.assert_close(
        again.ranker.item_embedding.weight[again.reader.number["n3"]], text_part(again, again.reader.number["m2"])
    )


def test_items_of_a_file_get_the_same_vectors(recommender, trained_with_texts, tmp_path):
    path = tmp_path / "new.item"
    rows = ["item_id:token\ttitle:token_seq\tgenre:token_seq", "n0\tToy Story of Terror\tAnimation Horror"]
    path.write_text("\n".join(rows) + "\n")
    recommender.add_items(path)
    other = GenRecommender.from_checkpoint(trained_with_texts[2])
    other.add_items(NEW[:1])
    assert torch.equal(recommender.ranker.item_embedding.weight, other.ranker.item_embedding.weight)


def test_free_text_has_a_vector(recommender):
    """The oracle is a new item of that text, without columns: both stand in the prompt in the same way."""
    text = "Toy Story of Terror"
    ranker = recommender.ranker
    batch = recommender._read([["Up", text]])
    tree = ranker.tree(batch.packer, batch.items, batch.first, batch.stop, batch.vectors)
    without = ranker.tree(batch.packer, batch.items, batch.first, batch.stop)
    assert not torch.allclose(tree.root_hidden, without.root_hidden)
    answers = recommender.answer([["Up", text], [text, text, "Quiet"]], 5)
    assert [entry.kind for entry in answers[0].history] == ["exact", "text"]
    explanation = recommender.explain(["Up", text], 3)
    for rank, recommendation in enumerate(explanation.answer.recommendations):
        (alone,) = recommender.recommend([["Up"]], len(ITEMS))
        probability = next(r.probability for r in alone if r.item_id == recommendation.item_id)
        assert explanation.changes[1][rank] == pytest.approx(recommendation.probability - probability, abs=1e-4)
    recommender.add_items([NewItem("n0", text)])
    known = recommender._read([["Up", text]])
    assert known.vectors is None
    as_item = recommender.ranker.tree(known.packer, known.items, known.first, known.stop)
    torch.testing.assert_close(as_item.root_hidden, tree.root_hidden)


def test_lists_are_those_of_scoring_every_item(recommender):
    recommender.add_items(NEW)
    scores = oracle(recommender, ["Up", "Heat"]).exp()
    found = recommender.recommend([["Up", "Heat"]], len(scores))[0]
    assert sum(r.probability for r in found) == pytest.approx(1, abs=1e-4)
    for recommendation in found:
        number = recommender.reader.number[recommendation.item_id]
        assert recommendation.probability == pytest.approx(float(scores[number - 1]), abs=1e-4)


def test_an_encoder_is_loaded_for_new_texts_alone(train, tmp_path, monkeypatch):
    torch.manual_seed(0)
    tokenizer = byte_tokenizer({**{"unk_token": "<unk>"}, "pad_token": "<pad>"})
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    model, _, folder = train(**VECTORS | {"text_vectors": f"{tmp_path / 'encoder'}+tfidf"})
    calls, opener = [], text_vectors.open_encoder
    monkeypatch.setattr(text_vectors, "open_encoder", lambda *given: calls.append(given) or opener(*given))
    recommender, n_cached = GenRecommender.from_checkpoint(folder), len(list(cache_folder().iterdir()))
    recommender.recommend([["Heat", "Up"]])
    assert not calls
    recommender.add_items(NEW)
    recommender.recommend([["A text that is no title"]])
    assert calls == [(str(tmp_path / "encoder"), "main")]  # loaded once
    assert len(list(cache_folder().iterdir())) == n_cached  # and nothing of what came later is kept
    weight, number = recommender.ranker.item_embedding.weight, recommender.reader.number
    torch.testing.assert_close(weight[number["n1"]], text_part(recommender, number["m0"]), atol=1e-5, rtol=1e-4)
    catalogue = recommender.ranker.catalogue
    (tmp_path / "encoder").rename(tmp_path / "away")
    with pytest.raises(GenRecError, match="New texts cannot get vectors: the sentence encoder .* is not here"):
        recommender.add_items([NewItem("n9", "Some text")])
    assert recommender.ranker.catalogue is catalogue and recommender.recommend([["Heat"]])
    with pytest.raises(GenRecError, match="New texts cannot get vectors"):
        recommender.recommend([["A text that is no title"]])


def test_vectors_by_the_backbone_are_those_before_training(train, pretrained):
    settings = VECTORS | {"text_vectors": "backbone", "backbone": pretrained, "text_vectors_text": ""}
    for adapter in ("lora", "none"):
        _, _, folder = train(**settings, adapter=adapter)
        recommender = GenRecommender.from_checkpoint(folder)
        recommender.add_items([NewItem("n0", "Alien", {})])
        table = recommender.ranker.item_embedding.table
        torch.testing.assert_close(
            table[recommender.reader.number["n0"]], table[recommender.reader.number["m5"]], atol=1e-4, rtol=1e-3
        )
