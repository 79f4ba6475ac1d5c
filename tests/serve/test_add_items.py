"""Items added after training: their identifiers, their scores, and lists that hold them."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_genrec import GenRecError, GenRecommender, ItemId, NewItem
from tests.serve.conftest import ITEMS
from tests.serve.oracle import ENTRIES, assert_best, oracle


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
        options = {"backbone": pretrained, "adapter": "none", "edge_embedding": True, "item_prior": True}
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
            ([NewItem("n0", {"genre": "Crime"})], "The text of the new item 'n0' is a text, not {'genre': 'Crime'}"),
            ([NewItem("n0", "A", "Crime")], "The columns of the new item 'n0' are values by column name, not 'Crime'"),
            ([("n0", "A")], r"A new item is a NewItem\(item_id, text, columns\), not \('n0', 'A'\)"),
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
