import numpy as np
import pytest

from recbole_genrec.catalogue.schemes import Code, Sequences
from recbole_genrec.catalogue.schemes.collaborative import co_occurrences
from recbole_genrec.errors import GenRecError


def of_tastes(n_tastes, n_liked, n_users=200, n_chosen=12, start=0):
    """Users of distinct tastes: ``{user: items}``, and each item's taste."""
    random, train = np.random.default_rng(0), {}
    for user in range(n_users):
        taste = user % n_tastes
        train[f"u{start + user}"] = [f"i{taste}_{item}" for item in random.permutation(n_liked)[:n_chosen]]
    return train


def slow_co_occurrences(sequences, n_items, window):
    count = np.zeros((n_items, n_items))
    for begin, end in zip(sequences.offsets[:-1], sequences.offsets[1:]):
        for place in range(begin, end):
            for other in range(place + 1, min(end, place + window + 1)):
                if sequences.items[place] != sequences.items[other]:
                    count[sequences.items[place], sequences.items[other]] += 1
    return count + count.T


@pytest.mark.parametrize("window", [1, 3, 50])
def test_the_graph_equals_a_count_by_hand(monkeypatch, window):
    monkeypatch.setattr("recbole_genrec.catalogue.schemes.collaborative.WINDOW", window)
    random = np.random.default_rng(1)
    sequences = Sequences(list("abcd"), random.integers(8, size=40), np.array([0, 1, 15, 15, 40]))
    assert np.array_equal(co_occurrences(sequences, 9).toarray(), slow_co_occurrences(sequences, 9, window))


def test_long_histories_have_a_bound(monkeypatch):
    monkeypatch.setattr("recbole_genrec.catalogue.schemes.collaborative.MOST_PAIRS", 80)
    sequences = Sequences(["u"], np.arange(40), np.array([0, 40]))
    assert np.array_equal(co_occurrences(sequences, 40).toarray(), slow_co_occurrences(sequences, 40, 2))


def test_items_chosen_together_share_a_prefix(numbered, index):
    train = of_tastes(4, 25)
    items, sequences = numbered(train, {})
    built = index("collaborative", items, sequences, cluster_branches=4, cluster_leaf_size=10)
    clusters = {}
    for item, pieces in zip(items, built.pieces):
        clusters.setdefault(pieces[0], set()).add(item[:2])
    assert sorted(map(sorted, clusters.values())) == [["i0"], ["i1"], ["i2"], ["i3"]]  # nothing joins the tastes


@pytest.mark.parametrize(("branches", "leaf_size"), [(2, 1), (3, 5), (20, 20), (5, 100)])
def test_the_tree_keeps_its_bounds(world, numbered, index, branches, leaf_size):
    items, sequences = numbered(*world)
    built = index("collaborative", items, sequences, cluster_branches=branches, cluster_leaf_size=leaf_size)
    n_seen = 60
    children, leaves = {}, {}
    for item, pieces in zip(items, built.pieces):
        assert [code.level for code in pieces] == list(range(len(pieces)))
        if int(item[1:]) >= n_seen:
            assert pieces[0] == Code(0, max(branches, leaf_size))
            continue
        leaves.setdefault(pieces[:-1], []).append(pieces[-1].number)
        for depth in range(len(pieces) - 1):
            children.setdefault(pieces[:depth], set()).add(pieces[depth].number)
    assert all(sorted(numbers) == list(range(len(numbers))) for numbers in leaves.values())
    assert max(map(len, leaves.values())) <= leaf_size
    assert all(2 <= len(numbers) <= branches for numbers in children.values())
    assert not leaves.keys() & children.keys()
    assert built.collisions == 0


def test_items_that_nothing_tells_apart_are_dealt_out(index):
    """No two items in one history: a graph without edges."""
    items = [f"i{number:03}" for number in range(100)]
    sequences = Sequences(items, np.arange(100), np.arange(101))
    built = index("collaborative", items, sequences, cluster_branches=3, cluster_leaf_size=4)
    assert max(map(len, built.pieces)) <= 6


def test_a_large_graph_takes_the_sparse_way(numbered, index):
    items, sequences = numbered(of_tastes(5, 100, n_users=400), {})
    assert len(items) == 500
    built = index("collaborative", items, sequences, cluster_branches=5)
    same = np.array([[a[0] == b[0] for a in built.pieces] for b in built.pieces])
    alike = np.array([[a[:2] == b[:2] for a in items] for b in items])
    assert (same == alike).all()
    assert built == index("collaborative", items, sequences, cluster_branches=5)


@pytest.mark.parametrize(
    "settings", [{"cluster_branches": 1}, {"cluster_leaf_size": 0}, {"svd_bins": 2.5}, {"svd_dimensions": True}]
)
def test_settings_are_checked(index, settings):
    with pytest.raises(GenRecError, match=f"'{next(iter(settings))}' must be a whole number "):
        index("collaborative", ["i1"], **settings)
