"""Edges that lead to items which may be listed, against counting items one by one; and lists without left-out items."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_genrec.decoding.listable import listable
from recbole_genrec.decoding.search import SearchEffort, search
from recbole_genrec.decoding.trie import build_trie

END = 2
tokens = st.lists(st.integers(3, 5), min_size=1, max_size=5).map(tuple)
catalogues = st.lists(tokens, min_size=1, max_size=20, unique=True)
#: identifiers of one length over two tokens: every decision is one of two, so that many items tie exactly.
binary = st.lists(st.tuples(*[st.integers(3, 4)] * 5), min_size=2, max_size=20, unique=True)


def rows_of(n_items, data):
    """Left-out items of three prompts ``[3, S]``, with padding anywhere and items that come twice; or ``None``."""
    row = st.lists(st.integers(0, n_items), min_size=6, max_size=6)
    width = data.draw(st.integers(0, 6))
    rows = data.draw(st.none() | st.tuples(row, row, row))
    return rows and torch.tensor(rows)[:, :width]


def allowed_of(n_items, data):
    """Booleans by item id, or ``None``; what item 0, padding, has must not matter."""
    values = data.draw(st.none() | st.lists(st.booleans(), min_size=n_items + 1, max_size=n_items + 1))
    return values and torch.tensor(values)


def listed(n_items, allowed, left_out):
    """The items of each of three prompts that may be listed, as sets."""
    every = {item for item in range(1, n_items + 1) if allowed is None or allowed[item]}
    return [every - set(row) for row in (left_out.tolist() if left_out is not None else [[]] * 3)]


@given(catalogues, st.data())
def test_edges_are_open_or_whole_as_their_items_say(identifiers, data):
    trie = build_trie(identifiers, END)
    allowed, left_out = allowed_of(trie.n_items, data), rows_of(trie.n_items, data)
    opened, whole = listable(trie, 3, allowed, left_out)
    assert opened.shape == whole.shape == (1 if left_out is None else 3, trie.n_edges)
    below = [set() for _ in range(trie.n_edges)]
    for item in range(1, trie.n_items + 1):
        for edge in trie.path_edge[trie.path_offset[item] : trie.path_offset[item + 1]].tolist():
            below[edge].add(item)
    for row, items in enumerate(listed(trie.n_items, allowed, left_out)):
        row = row % len(opened)
        assert opened[row].tolist() == [bool(under & items) for under in below]
        assert whole[row].tolist() == [under <= items for under in below]


@given(binary, st.data())
def test_lists_are_all_scores_without_what_is_left_out_ties_included(indifferent_tree, identifiers, data):
    trie = build_trie(identifiers, END)
    allowed, left_out = allowed_of(trie.n_items, data), rows_of(trie.n_items, data)
    k = data.draw(st.integers(1, trie.n_items))
    at_once = data.draw(st.sampled_from([1, 3, 16]))
    effort = SearchEffort(expand_at_once=at_once)
    found = search(indifferent_tree(trie, 3), k, effort=effort, allowed=allowed, left_out=left_out)
    decisions = trie.path_offset.diff()[1:] - int(len(trie.root_token) == 1)  # each halves the probability
    for row, items in enumerate(listed(trie.n_items, allowed, left_out)):
        best = sorted(items, key=lambda item: (int(decisions[item - 1]), item))[:k]
        assert found.items[row].tolist() == best + [0] * (k - len(best))
        expected = -decisions[[item - 1 for item in best]] * torch.tensor(2.0).log()
        torch.testing.assert_close(found.scores[row, : len(best)], expected)
        assert (found.scores[row, len(best) :] == -torch.inf).all()
