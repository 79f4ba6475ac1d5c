"""The split follows the exact order of time, ties in the order of the file."""

import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import recbole
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.data.dataset import DIENDataset, SequentialDataset

from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import GenRecDataset, exact_dataset_class
from tests.interactions.datasets import (
    ExactWithRecBolesLoop,
    histories,
    make_config,
    rows_of,
    sequences_of,
)

# one step of float32 at 2e9 is 128 s: nearly all of these times round to the same value, and many are equal
interaction_lists = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", "u3", "u4"]),
        st.sampled_from([f"i{n}" for n in range(9)]),
        st.integers(0, 25).map(lambda second: 1_999_999_900 + second),
    ),
    min_size=2,
    max_size=40,
).filter(lambda rows: max(map(len, histories(rows).values())) > 1)


few_examples = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("normalize_all", [False, True])
@few_examples
@given(interactions=interaction_lists)
def test_leave_one_out_follows_exact_times(tmp_path, write_dataset, normalize_all, interactions):
    config = make_config(write_dataset(tmp_path, interactions), normalize_all=normalize_all)
    train, valid, test = GenRecDataset(config).build()
    expected = {user: items for user, items in histories(interactions).items() if len(items) > 1}
    assert dict(rows_of(test)) == {user: items[-1] for user, items in expected.items() if len(items) > 2}
    assert dict(rows_of(valid)) == {user: items[-2] for user, items in expected.items() if len(items) > 3}
    assert sequences_of(train) == {user: items[: max(2, len(items) - 2)] for user, items in expected.items()}


@few_examples
@given(interactions=interaction_lists)
def test_ratio_split_by_user_follows_exact_times(tmp_path, write_dataset, interactions):
    config = make_config(write_dataset(tmp_path, interactions), split={"RS": [0.6, 0.2, 0.2]})
    parts = [defaultdict(list) for _ in range(3)]
    for part, dataset in zip(parts, GenRecDataset(config).build()):
        for user, item in rows_of(dataset):
            part[user].append(item)
    for user, items in histories(interactions).items():
        assert [item for part in parts for item in part[user]] == items[1:]


@few_examples
@given(interactions=interaction_lists)
def test_ratio_split_over_all_users_follows_exact_times(tmp_path, write_dataset, interactions):
    config = make_config(write_dataset(tmp_path, interactions), split={"RS": [0.6, 0.2, 0.2]}, group_by=None)
    rows = [row for part in GenRecDataset(config).build() for row in rows_of(part)]
    seen, expected = set(), []
    for user, item, _ in sorted(interactions, key=lambda row: row[2]):
        if user in seen:
            expected.append((user, item))
        seen.add(user)
    assert rows == expected


@pytest.mark.parametrize("keep", ["first", "last"])
@few_examples
@given(interactions=interaction_lists)
def test_duplicates_are_removed_in_exact_order(tmp_path, write_dataset, keep, interactions):
    frame = pd.DataFrame(interactions, columns=["user", "item", "time"]).sort_values("time", kind="stable")
    expected = frame.drop_duplicates(["user", "item"], keep=keep).groupby("user")["item"].agg(list)
    expected = {user: items for user, items in expected.items() if len(items) > 1}
    if not expected:
        return
    config = make_config(write_dataset(tmp_path, interactions), rm_dup_inter=keep)
    train, _, test = GenRecDataset(config).build()
    assert dict(rows_of(test)) == {user: items[-1] for user, items in expected.items() if len(items) > 2}
    assert sequences_of(train) == {user: items[: max(2, len(items) - 2)] for user, items in expected.items()}


def test_many_equal_times_keep_file_order_where_quicksort_would_not(tmp_path, write_dataset):
    generator = np.random.default_rng(0)
    interactions = [(f"u{n % 3}", f"i{n}", 1_600_000_000 + int(generator.integers(4))) for n in range(3000)]
    config = make_config(write_dataset(tmp_path, interactions), rm_dup_inter="first", normalize_all=True)
    train, _, test = GenRecDataset(config).build()
    expected = histories(interactions)
    assert dict(rows_of(test)) == {user: items[-1] for user, items in expected.items()}
    assert sequences_of(train) == {user: items[:-2] for user, items in expected.items()}


@pytest.mark.parametrize("normalize_all", [False, True])
def test_every_ml_100k_target_is_the_exact_one(normalize_all):
    config = make_config(None, "ml-100k", MAX_ITEM_LIST_LENGTH=50, normalize_all=normalize_all)
    train, _, test = GenRecDataset(config).build()
    path = Path(recbole.__file__).parent / "dataset_example/ml-100k/ml-100k.inter"
    frame = pd.read_csv(path, sep="\t", names=["user", "item", "rating", "time"], header=0, dtype={"time": np.int64})
    frame = frame.astype({"user": str, "item": str}).sort_values("time", kind="mergesort")
    expected = frame.groupby("user")["item"].agg(list)
    assert dict(rows_of(test)) == {user: items[-1] for user, items in expected.items()}
    assert sequences_of(train) == {user: items[:-2] for user, items in expected.items()}


def test_small_distinct_times_give_stock_recboles_splits(tmp_path, write_dataset):
    times = np.random.default_rng(1).permutation(120)
    interactions = [(f"u{n % 5}", f"i{n % 17}", int(time)) for n, time in enumerate(times)]
    config = make_config(write_dataset(tmp_path, interactions))
    for ours, theirs in zip(GenRecDataset(config).build(), SequentialDataset(config).build()):
        for field in theirs.inter_feat.columns:
            assert torch.equal(ours.inter_feat[field], theirs.inter_feat[field]), field


@pytest.mark.parametrize("base", [SequentialDataset, ExactWithRecBolesLoop, DIENDataset])
def test_instances_survive_pickling(tmp_path, write_dataset, base):
    interactions = [(f"u{n % 2}", f"i{n}", 1_700_000_000 + n) for n in range(8)]
    dataset = exact_dataset_class(base)(make_config(write_dataset(tmp_path, interactions)))
    again = pickle.loads(pickle.dumps(dataset))
    assert type(again) is type(dataset)
    assert [rows_of(part) for part in again.build()] == [rows_of(part) for part in dataset.build()]


def test_a_sequential_dataset_without_timestamps_is_refused(tmp_path, write_dataset):
    config = make_config(write_dataset(tmp_path, [("u", "i", 1)]), load_col={"inter": ["user_id", "item_id"]})
    with pytest.raises(GenRecError, match="'timestamp'.*'load_col'"):
        GenRecDataset(config)


def test_timestamps_of_another_type_are_refused(tmp_path, write_dataset):
    header = ("user_id:token", "item_id:token", "timestamp:token")
    config = make_config(write_dataset(tmp_path, [("u", "i", 1), ("u", "j", 2)], inter_header=header))
    with pytest.raises(GenRecError, match="must be of type 'float', not 'token'"):
        GenRecDataset(config)
