"""Lists with places for items that training has not seen; the oracle builds them from the scores of all items."""

import pytest
import torch

from recbole_genrec.decoding.scoring import score_catalogue
from recbole_genrec.decoding.search import search
from recbole_genrec.decoding.unseen_places import search_with_unseen

SEEDS = [1, 2, 4, 5, 7, 8, 10, 11, 13, 14]  # the cases that have vectors of items


def by_hand(scores, unseen, allowed, k, every):
    """The list of one prompt: items in the order of their scores, and an unseen one by every so many places."""
    order = sorted((item for item in range(1, len(scores)) if allowed[item]), key=lambda item: -scores[item])
    for number in range(1, k // every + 1):
        place = number * every
        waiting = [item for item in order[place:] if unseen[item]]
        if sum(bool(unseen[item]) for item in order[:place]) < number and waiting:
            order.remove(waiting[0])
            order.insert(place - 1, waiting[0])
    return order[:k]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("every", "stride"), [(1, 3), (2, 3), (3, 2), (3, 5)])
@torch.no_grad()
def test_places_are_filled_as_by_hand(make_case, seed, every, stride):
    case = make_case(seed)
    trie, k = case.trie, case.k
    unseen = torch.arange(trie.n_items + 1) % stride == 1
    trie.item_vectors.weight[unseen] = 0
    trie.unseen_every = every
    draw = torch.Generator().manual_seed(seed)
    allowed = torch.rand(trie.n_items + 1, generator=draw) < 0.8
    left_out = torch.randint(trie.n_items + 1, (len(case.lengths), 3), generator=draw)
    scores = score_catalogue(case.tree())
    for choice in ({}, {"allowed": allowed}, {"left_out": left_out}):
        found = search_with_unseen(case.tree(), k, **choice)
        for row, own in enumerate(scores):
            possible = choice.get("allowed", torch.ones(trie.n_items + 1, dtype=torch.bool)).clone()
            if "left_out" in choice:
                possible[left_out[row]] = False
            expected = by_hand(own.tolist(), unseen, possible, k, every)
            listed = [item for item in found.items[row].tolist() if item]
            assert len(listed) == len(set(listed)) == len(expected)
            torch.testing.assert_close(
                own[listed], own[expected], rtol=1e-3, atol=1e-4
            )  # equal scores may trade places
            torch.testing.assert_close(found.scores[row, : len(listed)], own[listed], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", SEEDS[:3])
@torch.no_grad()
def test_without_unseen_items_lists_are_as_they_were(make_case, seed):
    case = make_case(seed)
    plain = search(case.tree(), case.k)
    case.trie.unseen_every = 1
    case.trie.item_vectors.weight[0] = 0  # padding is no item
    found = search_with_unseen(case.tree(), case.k)
    assert torch.equal(found.items, plain.items) and torch.equal(found.scores, plain.scores)
