"""Outcomes kept without their lists: the same places, targets and counts, in two files."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from recbole_genrec import GenRecError
from recbole_genrec.evaluation.outcomes import OF_THE_TEST, Outcomes

N_ITEMS, LENGTH = 12, 6


def made(seed=0, n_rows=40):
    """Lists with gaps and items twice; two targets in some rows, and one of three in the list."""
    random = np.random.default_rng(seed)
    lists = random.integers(0, N_ITEMS, (n_rows, LENGTH))
    rows = np.sort(np.concatenate([np.arange(n_rows), np.arange(0, n_rows, 5)]))
    places = random.integers(0, LENGTH + 1, len(rows)) * (random.random(len(rows)) < 0.3)
    targets = np.where(places > 0, lists[rows, places - 1], np.random.default_rng(7).integers(1, N_ITEMS, len(rows)))
    return Outcomes(
        items=np.array(["[PAD]", *(f"i{item}" for item in range(1, N_ITEMS))]),
        item_counts=np.arange(N_ITEMS) * 30,
        users=np.array([f"u{row % 30}" for row in range(n_rows)]),
        user_counts=np.arange(n_rows) * 9,
        lists=lists.astype(np.int32),
        rows=rows,
        targets=targets,
        places=places,
    )


def kept(outcomes, folder, lengths=(2, 4), name="x.npz"):
    outcomes.write_counts(folder / "set" / name, lengths, folder)
    return Outcomes.read(folder / "set" / name)


def test_what_a_report_needs_comes_back(tmp_path):
    whole = made()
    read = kept(whole, tmp_path)
    assert read.lists is None and read.lengths.tolist() == [2, 4, LENGTH]
    for name in (*OF_THE_TEST, "places"):
        assert np.array_equal(getattr(read, name), getattr(whole, name)), name
    for length in (2, 4, LENGTH, LENGTH + 4):  # of shorter lists, all items
        counts, full = read.counts(length)
        expected, expected_full = whole.counts(length)
        assert np.array_equal(counts, expected) and counts.sum() == min(length, LENGTH) * 40 and full == expected_full
    assert read.counts(3) is None
    names, lengths = ["Hit", "NDCG", "MAP"], [1, 4, LENGTH]
    for name, values in whole.metrics(names, lengths).items():
        assert np.array_equal(read.metrics(names, lengths)[name], values), name
    alone = whole.one_row_a_target(), read.one_row_a_target()
    assert np.array_equal(*(each.metrics(["Hit"], [4])["hit@4"] for each in alone))


def test_full_lists_are_counted_by_a_loop():
    whole = made()
    for length in (1, 3, LENGTH):
        full = [0 not in row and len(set(row)) == length for row in whole.lists[:, :length].tolist()]
        assert whole.counts(length)[1] == sum(full)


def test_runs_of_one_test_share_its_file(tmp_path):
    whole = made()
    other = replace(whole, lists=np.roll(whole.lists, 1, 0), places=np.zeros_like(whole.places))
    kept(whole, tmp_path), kept(other, tmp_path, name="y.npz")
    assert len(list((tmp_path / "tests").iterdir())) == 1
    kept(replace(whole, users=np.roll(whole.users, 1)), tmp_path, name="z.npz")
    assert len(list((tmp_path / "tests").iterdir())) == 2
    assert Outcomes.read(tmp_path / "set/x.npz").users[0] == "u0"


def test_keeping_what_is_kept_changes_nothing(tmp_path):
    again = kept(kept(made(), tmp_path), tmp_path, lengths=(5,), name="y.npz")
    assert again.lengths.tolist() == [2, 4, LENGTH]
    assert (tmp_path / "set/x.npz").read_bytes() == (tmp_path / "set/y.npz").read_bytes()


def test_large_counts_survive(tmp_path):
    whole = replace(made(), item_counts=np.arange(N_ITEMS) + 2**40)
    assert np.array_equal(kept(whole, tmp_path).item_counts, whole.item_counts)


def test_a_file_without_that_of_its_test_is_refused(tmp_path):
    kept(made(), tmp_path)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "set/x.npz", tmp_path / "elsewhere")
    assert Outcomes.read(tmp_path / "elsewhere/x.npz").lists is None
    shutil.rmtree(tmp_path / "tests")
    with pytest.raises(GenRecError, match=r"set/x.npz does not hold .*: there is no tests/\w+.npz beside it or above"):
        Outcomes.read(tmp_path / "set/x.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": "../x.npz"}, "'test' is no name of a file"),
        ({"test": ["x.npz"]}, "'test' is no name of a file"),
        ({"lengths": [4, 2, 6]}, "'lengths' are no whole numbers that rise from 1"),
        ({"lengths": [0, 4, 6]}, "'lengths' are no whole numbers that rise from 1"),
        ({"lengths": [2, 6]}, r"'recommended' has the shape \(3, 12\), not \(2, 12\)"),
        ({"lengths": [2, 5, 6]}, "'recommended' has another number of items than the lists"),
        ({"lengths": ["2", "4", "6"]}, "'lengths' are no whole numbers"),
        ({"lengths": [2.0, 4.0, 6.0]}, "'lengths' are no whole numbers that rise"),
        ({"recommended": np.zeros((3, N_ITEMS), int)}, "'recommended' has another number of items"),
        ({"recommended": [1]}, "'recommended' is no array of 2 dimensions"),
        ({"full": [1, 2]}, r"'full' has the shape \(2,\), not \(3,\)"),
        ({"full": [1, 2, 99]}, "'full' holds something else than whole numbers from 0 to 40"),
        ({"places": np.full(48, 7)}, "'places' holds something else than whole numbers from 0 to 6"),
        ({"places": [1]}, r"'places' has the shape \(1,\), not \(48,\)"),
        ({"full": None}, "full"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, changes, message):
    path = tmp_path / "set/x.npz"
    kept(made(), tmp_path)
    with np.load(path) as stored:
        arrays = dict(stored) | {name: np.array(value) for name, value in changes.items()}
    np.savez(path, **{name: array for name, array in arrays.items() if array.dtype != object})
    with pytest.raises(GenRecError, match=message):
        Outcomes.read(path)
