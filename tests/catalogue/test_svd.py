import numpy as np
import pytest

from recbole_genrec.catalogue.schemes import Sequences
from recbole_genrec.catalogue.schemes.svd import item_factors


def matrix_of(sequences, n_items):
    matrix = np.zeros((len(sequences.users), n_items))
    for user, (begin, end) in enumerate(zip(sequences.offsets[:-1], sequences.offsets[1:])):
        matrix[user, sequences.items[begin:end]] = 1
    return matrix


@pytest.mark.parametrize("dense", [0, 1000])
def test_factors_are_singular_vectors(monkeypatch, dense):
    monkeypatch.setattr("recbole_genrec.catalogue.schemes.svd.DENSE", dense)
    random = np.random.default_rng(0)
    sequences = Sequences(list(range(50)), random.integers(40, size=600), np.arange(0, 601, 12))
    factors = item_factors(sequences, 40, 3, random)
    _, values, vectors = np.linalg.svd(matrix_of(sequences, 40))
    np.testing.assert_allclose(np.abs(factors.T @ vectors[:3].T), np.eye(3), atol=1e-8)
    assert (factors[np.abs(factors).argmax(0), range(3)] > 0).all()


def test_codes_are_bins_that_hold_as_many_items_and_follow_the_factors(index):
    random = np.random.default_rng(0)
    items = [f"i{number:02}" for number in range(60)]
    sequences = Sequences([f"u{user:02}" for user in range(50)], random.integers(60, size=600), np.arange(0, 601, 12))
    built = index("svd", items, sequences, svd_dimensions=2, svd_bins=6)
    factors = item_factors(sequences, 60, 2, random)
    for dimension in range(2):
        codes = np.array([pieces[dimension].number for pieces in built.pieces])
        assert np.bincount(codes).tolist() == [10] * 6
        assert (np.diff(codes[factors[:, dimension].argsort()]) >= 0).all()


def test_items_of_the_same_bins_get_one_more_code(world, numbered, index):
    items, sequences = numbered(*world)
    built = index("svd", items, sequences, svd_dimensions=1, svd_bins=6)
    assert built.collisions == len(items) - 6
    assert {len(pieces) for pieces in built.pieces} == {1, 2}
    assert len(set(built.symbols)) == len(items)


def test_more_dimensions_than_the_matrix_has(index):
    built = index("svd", ["i1", "i2"], Sequences(["u"], np.array([0, 1]), np.array([0, 2])), svd_dimensions=5)
    assert len(set(built.symbols)) == 2
    assert {len(pieces) for pieces in built.pieces} == {5}
