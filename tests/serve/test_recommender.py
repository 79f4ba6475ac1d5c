"""Recommendations against brute force: every item fed whole, on its own, scored by teacher forcing and masked."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from recbole_genrec import GenRecError, GenRecommender, ItemId, NewItem
from recbole_genrec.checkpoint.folder import fingerprint
from recbole_genrec.serve.conditions import choose_items
from tests.serve.conftest import ITEMS, SMALL
from tests.serve.oracle import ENTRIES, TITLES, TOLERANCE, assert_best, oracle
from tests.test_without_recbole import run_without_recbole


@pytest.fixture(scope="module")
def recommenders(trained):
    return {kind: GenRecommender.from_checkpoint(folder) for kind, (_, _, folder) in trained.items()}


WHERE = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "genre": st.sets(st.sampled_from(["Comedy", "Crime", "Horror", "Animation"]), min_size=1),
            "year": st.tuples(st.integers(1970, 1995), st.one_of(st.none(), st.integers(1995, 2009))),
            "price": st.tuples(st.none(), st.integers(1, 9)),
        },
    ),
    st.lists(st.booleans(), min_size=len(ITEMS), max_size=len(ITEMS)).map(lambda mask: np.array(mask)),
)


@pytest.mark.parametrize("kind", ["trie", "vocab"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    histories=st.lists(st.lists(ENTRIES, max_size=7), min_size=1, max_size=3),
    where=WHERE,
    exclude_seen=st.booleans(),
    k=st.integers(1, 12),
)
def test_lists_equal_brute_force_over_the_sub_catalogue(recommenders, kind, histories, where, exclude_seen, k):
    recommender = recommenders[kind]
    chosen = np.ones(len(ITEMS), bool)
    try:
        if where is not None:
            chosen = choose_items(recommender.ranker.catalogue, where, "item_id")
    except GenRecError:
        with pytest.raises(GenRecError, match="where"):
            recommender.answer(histories, k, where, exclude_seen)
        return
    for history, answer in zip(histories, recommender.answer(histories, k, where, exclude_seen)):
        allowed = torch.from_numpy(chosen.copy())
        seen = [recommender.reader.number[entry.item_id] - 1 for entry in answer.history if entry.item_id]
        if exclude_seen:
            allowed[seen] = False
        assert_best(recommender, answer, oracle(recommender, history), allowed, k)


@pytest.mark.parametrize("kind", ["trie", "vocab"])
def test_lists_are_those_of_the_model_in_recbole(trained, recommenders, kind):
    model, batch, _ = trained[kind]
    scores = model.full_sort_predict(batch)
    lengths = batch["item_length"].tolist()
    histories = [
        [ItemId(model.catalogue.item_tokens[item - 1]) for item in row[:length]]
        for row, length in zip(batch["item_id_list"].tolist(), lengths)
    ]
    for row, found in enumerate(recommenders[kind].recommend(histories, 4)):
        best = scores[row].topk(4)
        assert [r.item_id for r in found] == [model.catalogue.item_tokens[item - 1] for item in best.indices.tolist()]
        torch.testing.assert_close(torch.tensor([r.probability for r in found]), best.values.exp())


def test_batches_change_nothing(recommenders, monkeypatch):
    recommender = recommenders["trie"]
    histories = [TITLES[place:] for place in range(5)]
    whole = recommender.recommend(histories, 3, exclude_seen=True)
    monkeypatch.setattr(recommender, "batch_size", 2)
    for one, other in zip(whole, recommender.recommend(histories, 3, exclude_seen=True)):
        assert [r.item_id for r in one] == [r.item_id for r in other]
        assert [r.probability for r in one] == pytest.approx([r.probability for r in other], rel=1e-4)


def test_work_falls_with_the_sub_catalogue(recommenders):
    """Only nodes above allowed items are expanded: at most those on the path of the one that is left."""
    recommender = recommenders["trie"]
    trie = recommender.ranker.trie
    (everything,) = recommender.answer([["Heat"]], len(ITEMS))
    for number, token in enumerate(recommender.reader.item_tokens, 1):
        (answer,) = recommender.answer([["Heat"]], len(ITEMS), {"item_id": token})
        assert [r.item_id for r in answer.recommendations] == [token]
        assert answer.expanded_nodes <= int(trie.path_offset.diff()[number]) - 1
    assert everything.expanded_nodes == trie.n_nodes - 1


def test_entries_are_matched_and_said(recommenders):
    given_entries = ["Toy Story", "toy story 2", "The Sting", "Something else", ItemId("m9"), "Heat (2)"]
    (answer,) = recommenders["trie"].answer([given_entries])
    assert [(e.kind, e.item_id, e.title) for e in answer.history] == [
        ("exact", "m0", "Toy Story"),
        ("exact", "m1", "Toy Story 2"),
        ("fuzzy", "m4", "Sting, The"),
        ("text", None, "Something else"),
        ("id", "m9", "Up"),
        ("exact", "m3", "Heat (2)"),
    ]
    assert [e.read for e in answer.history] == [False, True, True, True, True, True]  # five at most, in SMALL


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (ItemId("m77"), "no item with the id 'm77'"),
        (" \n ", "is a title or an ItemId, not"),
        (7, "is a title or an ItemId, not 7"),
    ],
)
def test_entries_without_a_meaning(recommenders, entry, message):
    with pytest.raises(GenRecError, match=message):
        recommenders["trie"].recommend([[entry]])


@pytest.mark.parametrize("topk", [0, True, "10", 2.0])
def test_a_list_length_that_is_none(recommenders, topk):
    with pytest.raises(GenRecError, match="'topk' must be a whole number of at least 1"):
        recommenders["trie"].recommend([["Heat"]], topk)
    with pytest.raises(GenRecError, match="A history is a list of entries"):
        recommenders["trie"].recommend("Heat")


def test_free_text_reads_like_an_item_of_that_text(recommenders):
    ranker = recommenders["trie"].ranker
    tokens = ranker.packer_with(["Alien", "Heat"]).tokens

    def item(number):
        return tokens.item_token[tokens.item_offset[number] : tokens.item_offset[number + 1]].tolist()

    number, count = recommenders["trie"].reader.number, len(ITEMS)
    assert item(count + 1) == item(number["m5"])
    assert item(count + 2) == item(number["m2"])
    special = ranker.packer_with(["</s>"]).tokens
    assert ranker.backbone.eos_id not in special.item_token[special.item_offset[count + 1] :].tolist()
    (line_ends,) = ranker._encode_pieces(ranker.backbone, ["\n"], False)
    (batch,) = [recommenders["trie"]._read([["one\ntwo"]])]
    text = batch.packer.tokens.item_token[batch.packer.tokens.item_offset[count + 1] :].tolist()
    assert sum(token in line_ends for token in text) == 1  # the one that ends every item


def test_free_text_has_no_item_vector(recommenders):
    """A catalogue title as free text changes the answer by the item's vector alone."""
    recommender = recommenders["trie"]
    ranker, number = recommender.ranker, recommender.reader.number["m5"]
    packer = ranker.packer_with(["Alien"])
    bounds = np.array([0]), np.array([1])
    as_text = ranker.tree(packer, np.array([len(ITEMS) + 1]), *bounds).root_hidden
    kept = ranker.item_embedding.weight.data[number].clone()
    assert not torch.allclose(ranker.tree(packer, np.array([number]), *bounds).root_hidden, as_text)
    ranker.item_embedding.weight.data[number] = 0
    try:
        torch.testing.assert_close(ranker.tree(packer, np.array([number]), *bounds).root_hidden, as_text)
    finally:
        ranker.item_embedding.weight.data[number] = kept


class TestExplain:
    @pytest.mark.parametrize("kind", ["trie", "vocab"])
    def test_changes_equal_leaving_entries_out_one_by_one(self, recommenders, kind):
        recommender = recommenders[kind]
        history = ["Alien", "A quiet film", ItemId("m4"), "Up", "Alien"]
        found = recommender.explain(history, 4, {"genre": {"Comedy", "Crime", "Horror"}}, exclude_seen=True)
        numbers = [recommender.reader.number[r.item_id] - 1 for r in found.answer.recommendations]
        whole = oracle(recommender, history)[numbers]
        without = [oracle(recommender, history[:i] + history[i + 1 :])[numbers] for i in range(len(history))]
        expected = whole.exp() - torch.stack(without).exp()
        torch.testing.assert_close(torch.tensor(found.changes), expected, **TOLERANCE)
        assert [r.item_id for r in found.answer.recommendations] == [
            r.item_id
            for r in recommender.recommend([history], 4, {"genre": {"Comedy", "Crime", "Horror"}}, exclude_seen=True)[0]
        ]
        drop = whole - torch.stack(without)
        for column, reason in enumerate(found.reasons):
            best = drop[:, column].max()
            assert (reason is None) == (best <= 0)
            assert reason is None or drop[reason, column] == pytest.approx(float(best), abs=1e-4)

    def test_one_entry_and_none(self, recommenders):
        assert len(recommenders["trie"].explain(["Alien"], 3).changes) == 1
        empty = recommenders["trie"].explain([], 3)
        assert empty.changes == () and empty.reasons == (None,) * 3

    def test_entries_that_are_not_read_are_left_out(self, recommenders):
        found = recommenders["trie"].explain(TITLES[:8], 2)
        assert [e.title for e in found.history] == [e.title for e in found.answer.history[3:]]
        assert len(found.changes) == SMALL["MAX_ITEM_LIST_LENGTH"]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.* is deprecated:FutureWarning")
@pytest.mark.parametrize("item_indexing", ["title", "independent"])
def test_an_adapter_and_its_new_tokens_are_read(train, pretrained, item_indexing):
    model, batch, folder = train(backbone=pretrained, lora_r=2, item_indexing=item_indexing)
    recommender = GenRecommender.from_checkpoint(folder)
    history = batch["item_id_list"][0, : int(batch["item_length"][0])].tolist()
    found = recommender.recommend([[ItemId(model.catalogue.item_tokens[item - 1]) for item in history]], 10)[0]
    scores = model.full_sort_predict(batch)[0]
    numbers = [recommender.reader.number[r.item_id] for r in found]
    torch.testing.assert_close(torch.tensor([r.probability for r in found]), scores[numbers].exp())
    assert len(found) == 10


def make_old(folder):
    """Make a checkpoint what an earlier version would have written."""
    manifest = json.loads((folder / "manifest.json").read_text())
    items = json.loads((folder / "items.json").read_text())
    del items["item_texts"], manifest["files"]["item_columns.json"]
    (folder / "items.json").write_text(json.dumps(items))
    (folder / "item_columns.json").unlink()
    manifest["files"]["items.json"] = fingerprint(folder / "items.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_checkpoint_without_columns(trained, recommenders, tmp_path):
    shutil.copytree(trained["trie"][2], tmp_path / "old")
    make_old(tmp_path / "old")
    recommender = GenRecommender.from_checkpoint(tmp_path / "old")
    assert recommender.recommend([["Heat"]]) == recommenders["trie"].recommend([["Heat"]])
    with pytest.raises(GenRecError, match="written by a version that kept no item columns"):
        recommender.recommend([["Heat"]], 3, {"genre": "Crime"})
    with pytest.raises(GenRecError, match="kept no item columns"):
        recommender.add_items([NewItem("n0", "A", {"genre": "Crime"})])
    recommender.add_items([NewItem("n0", "A")])
    recommender.save(tmp_path / "new")
    assert not (tmp_path / "new/item_columns.json").exists()


def test_checkpoints_that_it_does_not_read(train, tmp_path):
    folder = train(model_name="P5", history="text", packing=False, n_candidates=3, tasks={"sequential": 1})[2]
    with pytest.raises(GenRecError, match="is of P5; recommending is for checkpoints of GenRec"):
        GenRecommender.from_checkpoint(folder)
    with pytest.raises(GenRecError, match="does not exist"):
        GenRecommender.from_checkpoint(tmp_path / "nowhere")


def test_neither_recbole_nor_the_dataset_is_needed(trained, recommenders, tmp_path):
    folder = shutil.copytree(trained["trie"][2], tmp_path / "alone")
    code = f"""
from recbole_genrec import GenRecommender
found = GenRecommender.from_checkpoint({str(folder)!r}).recommend([["Heat", "some text"]], 3, {{"genre": "Crime"}})
print(*(r.item_id for r in found[0]))
assert not any(name.split(".")[0] in ("recbole", "pandas", "scipy") for name in sys.modules)
"""
    expected = recommenders["trie"].recommend([["Heat", "some text"]], 3, {"genre": "Crime"})[0]
    assert run_without_recbole(code).split() == [r.item_id for r in expected]


@pytest.mark.parametrize("name", ["backbone/model.safetensors", "extra.safetensors"])
def test_weights_that_are_no_numbers_are_refused(train, name):
    _, _, folder = train()
    tensors = load_file(folder / name)
    largest = max(tensors, key=lambda key: tensors[key].numel())
    tensors[largest].view(-1)[0] = float("nan")
    save_file(tensors, folder / name, {"format": "pt", "tied": "{}"})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = fingerprint(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(GenRecError, match="holds numbers that are not finite") as raised:
        GenRecommender.from_checkpoint(folder)
    assert str(folder) in str(raised.value)
