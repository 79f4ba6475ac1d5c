"""Every fast path of decoding against the oracle: each item fed whole, on its own, and scored by teacher forcing."""

import pytest
import torch

from recbole_genrec.backbone import kv_cache as cache
from recbole_genrec.decoding import scoring, tree
from recbole_genrec.decoding.scoring import score_by_teacher_forcing, score_catalogue, score_pairs, subtrees
from recbole_genrec.decoding.search import SearchEffort, _Search, search
from recbole_genrec.decoding.tree import PromptTree
from recbole_genrec.decoding.trie import build_trie

TOLERANCE = {"atol": 1e-4, "rtol": 1e-5}


@torch.no_grad()
def oracle(case, normalization):
    """Log-probability of every item for every prompt, ``[B, I]``."""
    rows = [
        score_by_teacher_forcing(case.backbone, case.trie, case.embeds[[row], :length], case.items, normalization)
        for row, length in enumerate(case.lengths)
    ]
    return torch.stack(rows)


def assert_same_lists(found, scores, k):
    """The lists are the oracle's: the same scores in order, and each item has the score that it is listed with."""
    expected = scores.sort(dim=1, descending=True, stable=True).values[:, :k]
    torch.testing.assert_close(found.scores, expected, **TOLERANCE)
    torch.testing.assert_close(scores.gather(1, found.items - 1), found.scores, **TOLERANCE)
    assert all(len(set(row)) == k for row in found.items.tolist())


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("part", range(4))
def test_exact_search_equals_scoring_everything(make_case, normalization, part):
    """32 catalogues of 8 prompts in each of four parts: 1,024 cases a normalisation."""
    for seed in range(32 * part, 32 * (part + 1)):
        case = make_case(seed)
        scores = oracle(case, normalization)
        if normalization == "trie":
            torch.testing.assert_close(scores.exp().sum(1), torch.ones(8), atol=1e-5, rtol=0)
        at_once = (16, 1, 3)[seed % 3]
        assert_same_lists(
            search(case.tree(), case.k, normalization, SearchEffort(expand_at_once=at_once)), scores, case.k
        )


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("seed", range(16))
def test_catalogue_and_pair_scores_equal_the_oracle(make_case, normalization, seed):
    case = make_case(seed)
    scores = oracle(case, normalization)
    catalogue = score_catalogue(case.tree(), normalization, edges_at_once=(1, 3, 100)[seed % 3])
    torch.testing.assert_close(catalogue[:, 1:], scores, **TOLERANCE)
    assert (catalogue[:, 0] == -torch.inf).all()
    row, item = torch.cartesian_prod(torch.arange(8), case.items[: case.k]).T
    torch.testing.assert_close(score_pairs(case.tree(), row, item, normalization), scores[row, item - 1], **TOLERANCE)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("tokens", [1, 5, 20])
def test_prompts_fed_in_parts_and_a_cache_that_grows_change_nothing(make_case, monkeypatch, normalization, tokens):
    monkeypatch.setattr(tree, "FILL_TOKENS", tokens)
    monkeypatch.setattr(cache, "SPARE", 1)
    for seed in range(8):
        case = make_case(seed)
        scores = oracle(case, normalization)
        assert_same_lists(search(case.tree(), case.k, normalization, SearchEffort(expand_at_once=1)), scores, case.k)
        torch.testing.assert_close(score_catalogue(case.tree(), normalization)[:, 1:], scores, **TOLERANCE)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("seed", range(8))
def test_a_beam_as_wide_as_the_catalogue_is_exact(make_case, normalization, seed):
    case = make_case(seed)
    found = search(case.tree(), case.k, normalization, SearchEffort(num_beams=case.trie.n_items))
    assert_same_lists(found, oracle(case, normalization), case.k)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("settings", [{"num_beams": 10}, {"node_budget": 1}])
def test_inexact_search_still_lists_k_distinct_items_with_their_scores(make_case, normalization, settings):
    over_budget = 0
    for seed in range(12):
        case = make_case(seed)
        found = search(case.tree(), case.k, normalization, SearchEffort(**settings))
        assert all(len(set(row)) == case.k and min(row) > 0 for row in found.items.tolist())
        listed = oracle(case, normalization).gather(1, found.items - 1)
        torch.testing.assert_close(listed, found.scores, **TOLERANCE)
        over_budget += int(found.over_budget.sum())
    assert (over_budget > 0) == ("node_budget" in settings)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("part", range(2))
def test_search_among_some_items_equals_masking_all_scores(make_case, normalization, part):
    """Items allowed for all prompts, left out of each, or both; scores stay those of the whole catalogue."""
    for seed in range(32 * part, 32 * (part + 1)):
        case = make_case(seed)
        draw = torch.Generator().manual_seed(seed)
        for_all, left_out = None, None
        allowed = torch.ones(8, case.trie.n_items + 1, dtype=torch.bool)
        if seed % 3:
            for_all = torch.rand(case.trie.n_items + 1, generator=draw) < torch.rand(1, generator=draw)
            allowed &= for_all
        if seed % 3 < 2:
            left_out = torch.randint(case.trie.n_items + 1, (8, seed % 7 * 2), generator=draw)  # with repetitions
            allowed.scatter_(1, left_out, False)
        scores = oracle(case, normalization).masked_fill(~allowed[:, 1:], -torch.inf)
        at_once = (16, 1, 3)[seed % 3]
        found = search(
            case.tree(), case.k, normalization, SearchEffort(expand_at_once=at_once), allowed=for_all, left_out=left_out
        )
        expected = scores.sort(dim=1, descending=True, stable=True).values[:, : case.k]
        torch.testing.assert_close(found.scores, expected, **TOLERANCE)
        listed = found.items > 0
        assert (listed.sum(1) == allowed[:, 1:].sum(1).clamp(max=case.k)).all()
        own = scores.gather(1, (found.items - 1).clamp(min=0))
        torch.testing.assert_close(own[listed], found.scores[listed], **TOLERANCE)
        assert all(len(set(row) - {0}) == sum(item > 0 for item in row) for row in found.items.tolist())
        leading = (case.trie.count_below(allowed) > 0) & (case.trie.edge_child >= 0)
        assert (found.expanded <= leading.sum(1)).all()


@pytest.mark.parametrize("at_once", [1, 2, 16])
def test_all_items_allowed_cost_what_no_restriction_costs(make_case, at_once):
    for seed in range(24):
        case = make_case(seed)
        free = search(case.tree(), case.k, effort=SearchEffort(expand_at_once=at_once))
        tree = case.tree()
        every = {"allowed": torch.ones(case.trie.n_items + 1, dtype=torch.bool)}
        none = {"left_out": torch.zeros(len(tree), 2, dtype=torch.long)}
        found = search(tree, case.k, effort=SearchEffort(expand_at_once=at_once), **(every if seed % 2 else none))
        assert torch.equal(found.items, free.items)
        assert torch.equal(found.expanded, free.expanded) and found.rounds == free.rounds


def test_counts_below_edges_are_those_of_the_paths(make_case):
    for seed in range(8):
        trie = make_case(seed).trie
        chosen = torch.rand(3, trie.n_items + 1, generator=torch.Generator().manual_seed(seed)) < 0.5
        counts = torch.zeros(3, trie.n_edges, dtype=torch.long)
        for item in range(1, trie.n_items + 1):
            for edge in trie.path_edge[trie.path_offset[item] : trie.path_offset[item + 1]].tolist():
                counts[:, edge] += chosen[:, item]
        assert torch.equal(trie.count_below(chosen), counts)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_ties_go_to_the_lower_item_id(indifferent_tree, normalization, k):
    identifiers = [(3 + (i * 5 % 8) // 4, 3 + (i * 5 % 8) // 2 % 2, 3 + i * 5 % 8 % 2) for i in range(8)]
    indifferent = indifferent_tree(build_trie(identifiers, 2))
    found = search(indifferent, k, normalization, SearchEffort(expand_at_once=1))
    assert found.items.tolist() == [list(range(1, k + 1))] * 2


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_ties_among_some_items_go_to_the_lower_item_id(indifferent_tree, normalization):
    identifiers = [(3 + (i * 5 % 8) // 4, 3 + (i * 5 % 8) // 2 % 2, 3 + i * 5 % 8 % 2) for i in range(8)]
    indifferent = indifferent_tree(build_trie(identifiers, 2))
    allowed = torch.tensor([False, *(item % 3 > 0 for item in range(1, 9))])
    left_out = torch.tensor([[0, 0], [4, 1]])
    found = search(indifferent, 4, normalization, SearchEffort(expand_at_once=1), allowed=allowed, left_out=left_out)
    assert found.items.tolist() == [[1, 2, 4, 5], [2, 5, 7, 8]]


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 100])
def test_a_catalogue_is_fed_in_whole_subtrees_of_the_root(at_once):
    identifiers = [(first, second, third) for first in range(3, 7) for second in range(first) for third in range(2)]
    trie = build_trie(identifiers, 99)
    fed = torch.nonzero(trie.edge_child >= 0)[:, 0]
    of_root = {first: 1 + first for first in range(3, 7)}  # the edge of the first token and those of the second
    parts = list(subtrees(trie, fed, at_once))
    assert sorted(torch.cat(parts).tolist()) == fed.tolist()
    firsts = [[identifiers[item - 1][0] for item in trie.edge_sample[part].tolist()] for part in parts]
    for own in firsts:
        assert all(own.count(first) == of_root[first] for first in own)
        assert len(own) <= at_once or len(set(own)) == 1
    if at_once == 100:
        assert len(parts) == 1
    for one, other in zip(firsts, firsts[1:]):
        assert len(one) + of_root[other[0]] > at_once  # nothing more would have fit


def test_a_catalogue_of_one_item_is_certain(backbones):
    case_trie = build_trie([(5, 6, 7)], 2)
    embeds = backbones[0].embed(torch.tensor([[4, 5]])).detach()
    found = search(PromptTree(backbones[0], case_trie, embeds, torch.tensor([2])), 1)
    assert found.items.tolist() == [[1]]
    assert found.scores.tolist() == [[0.0]]
    assert found.rounds == 0


@pytest.mark.parametrize("seed", range(4))
def test_rounds_are_forwards_after_the_prompts(make_case, seed):
    case, fed = make_case(seed), []
    tree = case.tree()
    extend = tree.extend
    tree.extend = lambda *args, **kwargs: fed.append(1) or extend(*args, **kwargs)
    assert search(tree, case.k, effort=SearchEffort(expand_at_once=1)).rounds == len(fed)


def test_an_edge_promises_what_its_best_item_has_at_least_and_hardly_less(make_case):
    trie = make_case(5).trie
    run = _Search(make_case(5).tree(), 1, "trie", SearchEffort())
    edge = torch.arange(trie.n_edges)
    promised = run._promised(torch.zeros_like(edge), edge, torch.zeros(trie.n_edges))
    count = torch.bincount(trie.path_edge, minlength=trie.n_edges)
    assert (promised < -count.log()).all() and (promised > -count.log() - 1e-3).all()


@pytest.mark.parametrize(("tokens", "at_once"), [(8, 4), (9, 4), (1, 1)])
def test_a_catalogue_is_fed_by_tokens(indifferent_tree, monkeypatch, tokens, at_once):
    trie = build_trie([(3, 4, 5), (3, 4, 6), (7, 8, 5), (7, 8, 6)], 2)  # edges that lead on have two tokens
    asked, subtrees = [], scoring.subtrees
    monkeypatch.setattr(scoring, "TREE_TOKENS", tokens)
    monkeypatch.setattr(scoring, "subtrees", lambda *args: asked.append(args[2]) or subtrees(*args))
    score_catalogue(indifferent_tree(trie))
    assert asked == [at_once]


def test_work_is_bounded_by_the_answer(make_case):
    """Under trie normalisation at most depth / p_K nodes can stand above the K-th item (DESIGN of the search)."""
    for seed in range(20):
        case = make_case(seed)
        found = search(case.tree(), case.k, effort=SearchEffort(expand_at_once=1))
        depth = int(case.trie.path_offset.diff().max())
        assert (found.expanded <= depth / found.scores[:, -1].exp() + 1).all()
