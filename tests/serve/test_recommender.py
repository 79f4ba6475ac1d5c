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
from recbole_genrec.decoding.scoring import score_by_teacher_forcing
from recbole_genrec.serve.conditions import choose_items
from tests.serve.conftest import ITEMS, SMALL
from tests.test_without_recbole import run_without_recbole

TOLERANCE = {"atol": 2e-4, "rtol": 1e-4}
TITLES = [item[1] for item in ITEMS if item[1]]


@pytest.fixture(scope="module")
def recommenders(trained):
    return {kind: GenRecommender.from_checkpoint(folder) for kind, (_, _, folder) in trained.items()}


@torch.no_grad()
def oracle(recommender, history):
    """Log-probability of every item after one history ``[I]``: one prompt, each item fed whole."""
    ranker, batch = recommender.ranker, recommender._read([history])
    embeds, length = ranker.embed_prompts(batch.packer.prompts(batch.items, batch.first, batch.stop))
    items = torch.arange(1, ranker.trie.n_items + 1)
    return score_by_teacher_forcing(
        ranker.backbone, ranker.trie, embeds[:, : int(length)], items, ranker.engine.normalization
    )


def assert_best(recommender, answer, scores, allowed, k):
    """A list is the K best of the allowed items by their scores ``[I]``, each with its own probability."""
    numbers = [recommender.reader.number[r.item_id] - 1 for r in answer.recommendations]
    expected = scores[allowed].sort(descending=True).values[:k].exp()
    found = torch.tensor([r.probability for r in answer.recommendations])
    torch.testing.assert_close(found, expected, **TOLERANCE)
    torch.testing.assert_close(scores[numbers].exp(), found, **TOLERANCE)
    assert allowed[numbers].all() and len(set(numbers)) == len(numbers)
    assert [r.rank for r in answer.recommendations] == list(range(1, len(numbers) + 1))


ENTRIES = st.one_of(
    st.sampled_from(TITLES),
    st.builds(ItemId, st.sampled_from([item[0] for item in ITEMS])),
    st.sampled_from(["toy story!", "A quiet film", "tab\tand\nline", "</s>", "Heat (2)"]),
)
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


def prefixes(trie):
    """The tokens from the root to the first one of each edge."""
    first = trie.token_offset[trie.edge_sample]
    ends = (first + trie.edge_begin + 1).tolist()
    return [tuple(trie.token[begin:end].tolist()) for begin, end in zip(first.tolist(), ends)]


class TestAddItems:
    NEW = [
        NewItem("n0", "Heat", {"genre": ["Crime"], "year": 2030}),
        NewItem("n1", "Toy Story of Terror", {"genre": "Horror", "price": 6.5}),
        NewItem("n2"),
        NewItem("n3", "Dune &amp; more\n"),
    ]

    @pytest.fixture(params=["trie", "vocab"])
    def enlarged(self, request, trained):
        recommender = GenRecommender.from_checkpoint(trained[request.param][2])
        recommender.add_items(self.NEW)
        return recommender

    def test_old_identifiers_stay_and_new_ones_follow_the_rule(self, enlarged, trained):
        old = trained["trie"][0].catalogue
        catalogue = enlarged.ranker.catalogue
        assert catalogue.identifiers[: len(ITEMS)] == old.identifiers
        assert catalogue.item_tokens[: len(ITEMS)] == old.item_tokens
        assert enlarged.reader.titles[len(ITEMS) :] == ["Heat (3)", "Toy Story of Terror", "item n2", "Dune & more"]
        assert (enlarged.ranker.item_embedding.weight[len(ITEMS) + 1 :] == 0).all()
        if enlarged.ranker.edge_embedding is not None:
            vectors = dict(zip(prefixes(enlarged.ranker.trie), enlarged.ranker.edge_embedding.weight))
            for prefix, vector in zip(prefixes(trained["trie"][0].trie), trained["trie"][0].edge_embedding.weight):
                assert torch.equal(vectors.pop(prefix), vector)
            assert len(vectors) >= len(self.NEW) and not any(vector.any() for vector in vectors.values())

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(history=st.lists(st.one_of(ENTRIES, st.just("Dune & more")), max_size=5), k=st.integers(1, 14))
    def test_lists_equal_brute_force_over_the_enlarged_catalogue(self, enlarged, history, k):
        scores = oracle(enlarged, history)
        assert len(scores) == len(ITEMS) + len(self.NEW)
        if enlarged.ranker.engine.normalization == "trie":
            assert float(scores.exp().sum()) == pytest.approx(1, abs=1e-4)
        (answer,) = enlarged.answer([history], k)
        assert_best(enlarged, answer, scores, torch.ones(len(scores), dtype=torch.bool), k)

    def test_conditions_find_new_items(self, enlarged):
        found = enlarged.recommend([["Heat"]], 14, {"genre": "Horror"})[0]
        assert {r.item_id for r in found} == {"m5", "m6", "n1"}
        assert {r.item_id for r in enlarged.recommend([["Heat"]], 14, {"year": (2010, None)})[0]} == {"n0"}

    def test_equals_a_model_that_had_the_items_from_the_start(self, train, pretrained):
        """On a tokenizer that no catalogue shapes, whichever place RecBole gives the items."""
        more = [("n1", "Toy Story of Terror", "2013", "Horror", "6"), ("n3", "Dune", "2021", "Drama", "1")]
        options = {"backbone": pretrained, "lora": False, "edge_embedding": True, "item_prior": True}
        small, _, folder = train(**options)
        large, batch, _ = train([*more[:1], *ITEMS, *more[1:]], **options)
        state = {**small.state_dict(), "item_embedding.weight": torch.zeros_like(large.item_embedding.weight)}
        place = {token: number for number, token in enumerate(large.catalogue.item_tokens, 1)}
        for number, token in enumerate(small.catalogue.item_tokens, 1):
            state["item_embedding.weight"][place[token]] = small.item_embedding.weight[number]
        state["edge_embedding.weight"] = torch.zeros_like(large.edge_embedding.weight)
        former = dict(zip(prefixes(small.trie), small.edge_embedding.weight))
        for edge, prefix in enumerate(prefixes(large.trie)):
            if prefix in former:
                state["edge_embedding.weight"][edge] = former[prefix]
        large.load_state_dict(state)
        recommender = GenRecommender.from_checkpoint(folder)
        recommender.add_items([NewItem(item[0], item[1]) for item in more])
        scores = large.full_sort_predict(batch)
        for row, length in enumerate(batch["item_length"].tolist()):
            tokens = [large.catalogue.item_tokens[item - 1] for item in batch["item_id_list"][row, :length].tolist()]
            found = recommender.recommend([list(map(ItemId, tokens))], 12)[0]
            expected = [float(scores[row, place[r.item_id]].exp()) for r in found]
            assert [r.probability for r in found] == pytest.approx(expected, abs=1e-5)
            assert len(found) == 12

    def test_saved_and_loaded(self, enlarged, tmp_path):
        enlarged.save(tmp_path / "more")
        loaded = GenRecommender.from_checkpoint(tmp_path / "more")
        history = [["Heat (3)", "Alien"]]
        assert loaded.recommend(history, 14) == enlarged.recommend(history, 14)
        assert loaded.recommend(history, 14, {"price": (6, 7)}) == enlarged.recommend(history, 14, {"price": (6, 7)})
        assert not (tmp_path / "more/rng.json").exists()
        loaded.add_items([NewItem("n9", "Heat")])
        loaded.save(tmp_path / "more")
        assert GenRecommender.from_checkpoint(tmp_path / "more").reader.titles[-1] == "Heat (4)"
        assert [path.name for path in tmp_path.iterdir()] == ["more"]

    def test_items_from_a_file(self, trained, tmp_path):
        path = tmp_path / "new.item"
        path.write_text("item_id:token\tgenre:token_seq\ttitle:token_seq\nn5\tDrama Crime\tLa  Haine\nn6\t\t\n")
        recommender = GenRecommender.from_checkpoint(trained["trie"][2])
        recommender.add_items(path)
        assert recommender.reader.titles[-2:] == ["La  Haine", "item n6"]
        assert {r.item_id for r in recommender.recommend([["Up"]], 12, {"genre": "Crime"})[0]} == {
            "m2",
            "m3",
            "m4",
            "n5",
        }
        path.write_text("item_id:token\tgenre:token\ttitle:token_seq\nn7\tDrama\tUp\n")
        with pytest.raises(GenRecError, match="column 'genre' must be token_seq, not token"):
            recommender.add_items(path)

    @pytest.mark.parametrize(
        ("items", "message"),
        [
            ([NewItem("m0", "Other")], "has an item with the id 'm0' already"),
            ([NewItem("n0", "A"), NewItem("n0", "B")], "has an item with the id 'n0' already"),
            ([NewItem("n0", "A", {"genres": "Crime"})], "column of the new item 'n0': 'genres'. Did you mean 'genre'"),
            ([NewItem(end, f"{'word ' * 60}{end}") for end in "ab"], "'max_prompt_tokens' .* no room for a history"),
        ],
    )
    def test_mistakes_change_nothing(self, trained, items, message):
        recommender = GenRecommender.from_checkpoint(trained["trie"][2])
        before = recommender.recommend([["Heat", "Up"]], 10)
        with pytest.raises(GenRecError, match=message):
            recommender.add_items(items)
        assert recommender.recommend([["Heat", "Up"]], 10) == before

    def test_schemes_with_numbers_go_on_counting(self, train):
        recommender = GenRecommender.from_checkpoint(train(item_indexing="random")[2])
        recommender.add_items([NewItem("n0", "Dune"), NewItem("n1", "Solaris")])
        assert recommender.ranker.catalogue.texts[-2:] == ["10", "11"]
        assert recommender.reader.titles[-2:] == ["Dune", "Solaris"]
        assert len(recommender.recommend([["Dune"]], 12)[0]) == 12
        with pytest.raises(GenRecError, match="free text is for 'item_indexing: title' only"):
            recommender.recommend([["A quiet film"]])

    def test_schemes_with_codes_cannot_name_them(self, train):
        recommender = GenRecommender.from_checkpoint(train(item_indexing="independent")[2])
        with pytest.raises(GenRecError, match="'item_indexing: independent' cannot name new items"):
            recommender.add_items([NewItem("n0", "Dune")])


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
    folder = train(model_name="P5", item_embedding="none", packing=False, n_candidates=3, tasks={"sequential": 1})[2]
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
