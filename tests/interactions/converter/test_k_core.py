"""The streaming k-core against one in memory, and the files that it leaves."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_genrec import GenRecError
from recbole_genrec.interactions.converter import convert
from recbole_genrec.interactions.converter.k_core import Distinct, PairFile, contains, k_core


def oracle(pairs, user_core, item_core):
    """Remove one user or item after the other until none has too few rows."""
    while True:
        users, items = (Counter(column) for column in zip(*pairs)) if pairs else ({}, {})
        poor = [("user", user) for user, rows in users.items() if rows < user_core]
        poor += [("item", item) for item, rows in items.items() if rows < item_core]
        if not poor:
            return pairs
        kind, key = poor[0]
        pairs = [pair for pair in pairs if pair[kind == "item"] != key]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=60),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(1, 20),
)
def test_equals_the_oracle(tmp_path_factory, pairs, user_core, item_core, chunk_rows):
    file = PairFile(tmp_path_factory.mktemp("core") / "pairs")
    # keys are large and arbitrary, as hashes are
    users, items = (
        np.array([key * 0x9E3779B97F4A7C15 % 2**64 for key in column], np.uint64) for column in columns(pairs)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recbole_genrec.interactions.converter.k_core.CHUNK_ROWS", chunk_rows)
        for start in range(0, max(len(pairs), 1), 7):
            file.add(users[start : start + 7], items[start : start + 7])
        core = k_core(file, np.unique(users), np.unique(items), user_core, item_core)
        kept = [row for rows in core.kept_rows() for row in rows.tolist()]
    expected = oracle(pairs, user_core, item_core)
    assert [pair for pair, keep in zip(pairs, kept, strict=True) if keep] == expected
    assert core.users.tolist() == np.unique(users[np.array(kept, bool)]).tolist()
    assert core.items.tolist() == np.unique(items[np.array(kept, bool)]).tolist()


def columns(pairs):
    return zip(*pairs) if pairs else ([], [])


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=5), max_size=9))
def test_distinct_keys(batches):
    distinct = Distinct()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recbole_genrec.interactions.converter.k_core.CHUNK_ROWS", 4)
        for batch in batches:
            distinct.add(np.array(batch, np.uint64))
    assert distinct.keys().tolist() == sorted({key for batch in batches for key in batch})


def test_contains():
    assert contains(np.array([2, 5], np.uint64), np.array([1, 2, 5, 9], np.uint64)).tolist() == [
        False,
        True,
        True,
        False,
    ]
    assert contains(np.array([], np.uint64), np.array([1], np.uint64)).tolist() == [False]


class TestFiles:
    @pytest.fixture
    def source(self, tmp_path, write_zip):
        # Users 1 and 2 share films 10 and 20; user 3 and film 30 have one row each, user 2 rates film 20 twice.
        ratings = [
            "1::10::5::1",
            "3::10::5::2",
            "2::20::5::3",
            "2::10::4::4",
            "1::20::5::5",
            "1::30::5::6",
            "2::20::1::7",
        ]
        members = {
            "ratings.dat": "\n".join(ratings).encode(),
            "movies.dat": b"10::A (1990)::Drama\n20::B (1991)::Drama\n30::C (1992)::Drama\n40::D (1993)::Drama\n",
            "users.dat": b"1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::55117\n",
        }
        return write_zip(tmp_path / "ml-1m.zip", members)

    def test_hold_the_core_alone(self, source, tmp_path, read_rows):
        conversion = convert("ml-1m", source, tmp_path, user_core=2, item_core=2)
        rows = {suffix: read_rows(tmp_path / f"ml-1m/ml-1m.{suffix}")[1:] for suffix in ("inter", "item", "user")}
        assert [row[3] for row in rows["inter"]] == ["1", "3", "4", "5", "7"]
        assert [row[0] for row in rows["item"]] == ["10", "20"]
        assert [row[0] for row in rows["user"]] == ["1", "2"]
        assert (conversion.interactions, conversion.users, conversion.items, conversion.described) == (5, 2, 2, 2)
        assert sorted(path.name for path in (tmp_path / "ml-1m").iterdir()) == [
            "ml-1m.inter",
            "ml-1m.item",
            "ml-1m.user",
        ]

    def test_one_bound_alone(self, source, tmp_path, read_rows):
        assert convert("ml-1m", source, tmp_path, user_core=3).interactions == 6
        assert convert("ml-1m", source, tmp_path, item_core=3).interactions == 6

    def test_without_bounds_everything_is_described(self, source, tmp_path, read_rows):
        convert("ml-1m", source, tmp_path)
        assert [row[0] for row in read_rows(tmp_path / "ml-1m/ml-1m.item")[1:]] == ["10", "20", "30", "40"]

    def test_nothing_left(self, source, tmp_path):
        with pytest.raises(GenRecError, match="No row of .* is left with user_core 9 and item_core 0. Lower them."):
            convert("ml-1m", source, tmp_path / "out", user_core=9)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("value", [-1, 2.5, True, "5"])
    def test_bounds_are_whole_numbers(self, source, tmp_path, value):
        with pytest.raises(GenRecError, match="'item_core' must be a whole number of at least 0"):
            convert("ml-1m", source, tmp_path, item_core=value)
