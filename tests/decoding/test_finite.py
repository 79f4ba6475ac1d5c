"""Weights that are no numbers: every way to rank names them, or gives a whole list that they had no part in."""

from contextlib import contextmanager

import pytest
import torch

from recbole_genrec.decoding.finite import FiniteLogits
from recbole_genrec.decoding.scoring import score_catalogue, score_pairs
from recbole_genrec.decoding.search import SearchEffort, search
from recbole_genrec.errors import GenRecError

VALUES = (float("nan"), float("inf"), -float("inf"))
RANKINGS = {
    "exact": lambda case, norm: search(case.tree(), case.k, norm),
    "one at a time": lambda case, norm: search(case.tree(), case.k, norm, SearchEffort(expand_at_once=1)),
    "beam": lambda case, norm: search(case.tree(), case.k, norm, SearchEffort(num_beams=case.k)),
    "over the budget": lambda case, norm: search(case.tree(), case.k, norm, SearchEffort(node_budget=1)),
    "full": lambda case, norm: score_catalogue(case.tree(), norm)[:, 1:],
    "pairs": lambda case, norm: score_pairs(
        case.tree(), *torch.cartesian_prod(torch.arange(8), case.items[: case.k]).T.contiguous(), norm
    ),
}


@contextmanager
def poisoned(case, seed, value, whole=False):
    """Set one entry of one of a case's weights, or all of them, for a while; gives the weight's name."""
    weights = dict(case.backbone.named_parameters())
    name = sorted(weights)[seed % len(weights)]
    entries = weights[name].data.view(-1)
    before = entries.clone()
    entries[slice(None) if whole else seed * 7919 % len(entries)] = value
    try:
        yield name
    finally:
        entries.copy_(before)


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
@pytest.mark.parametrize("ranking", RANKINGS)
def test_one_entry_is_named_or_has_no_part_in_the_list(make_case, ranking, normalization):
    named = 0
    for seed in range(30):
        case = make_case(seed)
        with poisoned(case, seed // 5, VALUES[seed % 3]) as name:
            try:
                found = RANKINGS[ranking](case, normalization)
            except GenRecError as error:
                assert f"its weight {name!r} is not finite" in str(error)
                named += 1
                continue
        if torch.is_tensor(found):
            assert torch.isfinite(found).all()
        else:
            assert torch.isfinite(found.scores).all() and (found.items > 0).all()
            assert all(len(set(row)) == case.k for row in found.items.tolist())
    assert named >= 10


@pytest.mark.parametrize("ranking", RANKINGS)
def test_a_whole_weight_is_named(make_case, ranking):
    for seed in range(10):
        case = make_case(seed)
        with poisoned(case, seed // 5, VALUES[0], whole=True) as name:
            with pytest.raises(GenRecError, match=f"its weight {name!r} is not finite.*Nothing is ranked by it"):
                RANKINGS[ranking](case, "trie")


@pytest.mark.parametrize(("name", "vectors"), [("edge_embedding",) * 2, ("item_embedding", "item_vectors")])
def test_vectors_of_edges_and_items_are_named(make_case, name, vectors):
    case = make_case(1)
    with torch.no_grad():
        getattr(case.trie, vectors).weight[1] = float("nan")
    with pytest.raises(GenRecError, match=f"score of nan at the first token of a title, for 8 of 8.*'{name}'"):
        RANKINGS["exact"](case, "trie")


def test_a_prompt_that_is_no_number_is_counted(make_case):
    case = make_case(3)
    case.embeds[5] = float("nan")
    with pytest.raises(GenRecError, match=r"for 1 of 8 histories, number 6 the first: its weights are finite"):
        RANKINGS["exact"](case, "trie")


def test_generated_text_is_not_made_of_them(backbones):
    check = FiniteLogits(backbones[0])
    scores = torch.tensor([[0.0, -float("inf")], [1.0, 2.0]])
    assert check(torch.zeros(2, 3), scores) is scores  # a token that is ruled out
    scores[1, 0] = float("nan")
    with pytest.raises(GenRecError, match="score of nan after token 3 of a text, for 1 of 2 prompts, number 2"):
        check(torch.zeros(2, 3), scores)
