import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import recbole
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import data_preparation
from recbole.data.dataset import DIENDataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.interactions.dataset import ExactOrder, GenRecDataset, exact_dataset_class, train_sequences
from recbole_genrec.interactions.histories import Histories, LazyInteraction

LEAVE_ONE_OUT = {"LS": "valid_and_test"}


def make_config(data_path, dataset="tiny", split=None, model="SASRec", group_by="user", mode="full", **settings):
    values = {
        "data_path": data_path,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "train_neg_sample_args": None,
        "MAX_ITEM_LIST_LENGTH": 4,
        "eval_args": {"split": split or LEAVE_ONE_OUT, "order": "TO", "mode": mode, "group_by": group_by},
        **settings,
    }
    return Config(model=model, dataset=dataset, config_dict=values)


def rows_of(dataset):
    """The rows of a built part as (user, target) raw tokens, in their order."""
    feat = dataset.inter_feat
    users = dataset.id2token("user_id", feat["user_id"].numpy())
    items = dataset.id2token("item_id", feat["item_id"].numpy())
    return list(zip(map(str, users), map(str, items)))


def histories(interactions):
    """Oracle: every user's items in order of time, ties in file order, in exact integer arithmetic."""
    by_user = defaultdict(list)
    for user, item, _ in sorted(interactions, key=lambda row: row[2]):  # sorted() is stable
        by_user[user].append(item)
    return by_user


def sequences_of(dataset):
    users, items, offsets = train_sequences(dataset)
    tokens = list(map(str, dataset.id2token("item_id", items)))
    names = map(str, dataset.id2token("user_id", users))
    return {name: tokens[start:end] for name, start, end in zip(names, offsets[:-1], offsets[1:])}


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


class ExactWithRecBolesLoop(ExactOrder, SequentialDataset):
    """The exact order with RecBole's own data augmentation: the oracle of the vectorised one."""


RICH_HEADER = (
    "user_id:token",
    "item_id:token",
    "timestamp:float",
    "rating:float",
    "price:float",
    "tags:token_seq",
    "values:float_seq",
)


# RecBole's own: pandas 2 deprecates what dataset.py:1217 does to the columns of sequences
sequence_columns = pytest.mark.filterwarnings("ignore:using <built-in function len> in Series.agg:FutureWarning")


@sequence_columns
@pytest.mark.parametrize("longest", [1, 4, 50])
def test_augmented_tensors_equal_recboles(tmp_path, write_dataset, longest):
    generator = np.random.default_rng(longest)
    interactions = [
        (
            f"u{generator.integers(7)}",
            f"i{generator.integers(30)}",
            1_500_000_000 + int(generator.integers(300)),
            generator.integers(1, 6),
            generator.normal(),
            " ".join(f"t{n}" for n in generator.integers(9, size=generator.integers(4))),
            " ".join(f"{value:.3f}" for value in generator.normal(size=2)),
        )
        for _ in range(200)
    ]
    config = make_config(
        write_dataset(tmp_path, interactions, inter_header=RICH_HEADER),
        MAX_ITEM_LIST_LENGTH=longest,
        load_col={"inter": [cell.split(":")[0] for cell in RICH_HEADER]},
        numerical_features=["price"],
    )
    ours, theirs = GenRecDataset(config), ExactWithRecBolesLoop(config)
    for dataset in (ours, theirs):
        dataset._change_feat_format()
    assert isinstance(ours.inter_feat, LazyInteraction)
    for _ in range(2):  # user by user first, then in order of time
        assert ours.inter_feat.columns == theirs.inter_feat.columns
        for field in theirs.inter_feat.columns:
            assert ours.inter_feat[field].dtype == theirs.inter_feat[field].dtype
            assert torch.equal(ours.inter_feat[field], theirs.inter_feat[field]), field
        ours.sort(by="timestamp")
        theirs.sort(by="timestamp")


def test_small_distinct_times_give_stock_recboles_splits(tmp_path, write_dataset):
    times = np.random.default_rng(1).permutation(120)
    interactions = [(f"u{n % 5}", f"i{n % 17}", int(time)) for n, time in enumerate(times)]
    config = make_config(write_dataset(tmp_path, interactions))
    for ours, theirs in zip(GenRecDataset(config).build(), SequentialDataset(config).build()):
        for field in theirs.inter_feat.columns:
            assert torch.equal(ours.inter_feat[field], theirs.inter_feat[field]), field


def rich_config(tmp_path, write_dataset, **settings):
    """A dataset with extra columns and repeated users, items and times."""
    generator = np.random.default_rng(5)
    interactions = [
        (f"u{generator.integers(9)}", f"i{generator.integers(30)}", int(generator.integers(300)), generator.integers(6))
        for _ in range(200)
    ] + [("once", "i1", 3, 1), ("twice", "i2", 9, 4), ("twice", "new", 8, 2)]
    path = write_dataset(tmp_path, interactions, inter_header=RICH_HEADER[:4])
    return make_config(path, load_col={"inter": ["user_id", "item_id", "timestamp", "rating"]}, **settings)


SPLITS = [
    ({"LS": "valid_and_test"}, "user"),
    ({"LS": "valid_only"}, "user"),
    ({"LS": "test_only"}, "user"),
    ({"RS": [0.8, 0.1, 0.1]}, "user"),
    ({"RS": [0.8, 0.1, 0.1]}, None),
    ({"RS": [3, 1]}, "user"),
]
if hasattr(SequentialDataset, "time_based_split"):  # RecBole 1.2.1
    SPLITS.append(({"TS": [0.8, 0.1, 0.1]}, "user"))


@pytest.mark.parametrize(("split", "group_by"), SPLITS, ids=str)
def test_every_part_of_a_split_equals_recboles(tmp_path, write_dataset, split, group_by):
    config = rich_config(tmp_path, write_dataset, split=split, group_by=group_by)
    ours, theirs = GenRecDataset(config).build(), ExactWithRecBolesLoop(config).build()
    assert len(ours) == len(theirs)
    for our_part, their_part in zip(ours, theirs):
        assert len(our_part) == len(their_part)
        for field in their_part.inter_feat.columns:
            assert torch.equal(our_part.inter_feat[field], their_part.inter_feat[field]), field


@pytest.mark.parametrize("model", ["SASRec", "BERT4Rec"])
@pytest.mark.parametrize("negatives", [None, {"distribution": "uniform", "sample_num": 1}], ids=["full", "sampled"])
def test_every_batch_equals_recboles(tmp_path, write_dataset, model, negatives):
    mode = "full" if negatives is None else {"valid": "uni5", "test": "uni5"}
    batches = []
    for dataset_class in (GenRecDataset, ExactWithRecBolesLoop):
        config = rich_config(
            tmp_path,
            write_dataset,
            model=model,
            mode=mode,
            MAX_ITEM_LIST_LENGTH=10,  # BERT4Rec masks a share of it
            loss_type="BPR" if negatives else "CE",
            train_neg_sample_args=negatives,
        )
        config["train_batch_size"] = config["eval_batch_size"] = 16
        init_seed(7, True)
        loaders = data_preparation(config, dataset_class(config))
        batches.append([batch for loader in loaders for _ in range(2) for batch in loader])
    for our_batch, their_batch in zip(*batches, strict=True):
        assert_equal_batches(our_batch, their_batch)


def assert_equal_batches(ours, theirs):
    assert type(ours) is type(theirs)
    if isinstance(theirs, tuple):
        for our_part, their_part in zip(ours, theirs, strict=True):
            assert_equal_batches(our_part, their_part)
    elif isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(theirs, Interaction):
        assert set(ours.columns) == set(theirs.columns)
        for field in theirs.columns:
            assert ours[field].dtype == theirs[field].dtype
            assert torch.equal(ours[field], theirs[field]), field
    else:
        assert ours == theirs


def test_lazy_rows_take_part_in_all_that_recbole_does_with_an_interaction(tmp_path, write_dataset):
    config = rich_config(tmp_path, write_dataset)
    parts = [dataset_class(config).build()[0] for dataset_class in (GenRecDataset, ExactWithRecBolesLoop)]
    for change in (
        lambda rows: rows.sort(by=["item_id", "user_id"]),
        lambda rows: rows.update(Interaction({"label": torch.arange(len(rows))})),
        lambda rows: rows.drop("rating_list"),
        lambda rows: rows._reindex(torch.arange(len(rows) - 1, 0, -2)),
    ):
        for part in parts:
            change(part.inter_feat)
        assert_equal_batches(parts[0].inter_feat.gather(), parts[1].inter_feat)
    some = torch.tensor([4, 0, 2, 2])
    for index in (some, some.numpy(), some.tolist(), slice(1, 9, 3), range(3), parts[1].inter_feat["label"] > 9):
        assert_equal_batches(parts[0].inter_feat[index].gather(), parts[1].inter_feat[index])
        assert_equal_batches(parts[0][index], parts[1][index])
    assert (parts[0].inter_matrix() != parts[1].inter_matrix()).nnz == 0
    assert_equal_batches(pickle.loads(pickle.dumps(parts[0].inter_feat)).gather(), parts[1].inter_feat)


def test_nothing_is_gathered_before_a_batch_asks(tmp_path, write_dataset, monkeypatch):
    def refuse(histories, field, place):
        assert field == "item_length" or not field.endswith("_list"), "a history was written out"
        return gather(histories, field, place)

    gather = Histories.gather
    config = rich_config(tmp_path, write_dataset)
    monkeypatch.setattr(Histories, "gather", refuse)
    train, _, _ = data_preparation(config, GenRecDataset(config))
    with pytest.raises(AssertionError, match="written out"):
        next(iter(train))


def test_a_quote_swallows_no_rows(tmp_path, write_dataset):
    """RecBole's parser takes what stands between two quotes for one cell, be it a hundred rows."""
    rows = [("u", f"i{n}", n, '"Great, he said' if n in (1, 4) else "fine") for n in range(6)]
    header = ("user_id:token", "item_id:token", "timestamp:float", "note:token")
    train, _, test = GenRecDataset(make_config(write_dataset(tmp_path, rows, inter_header=header))).build()
    assert sequences_of(train) == {"u": ["i0", "i1", "i2", "i3"]}
    assert rows_of(test) == [("u", "i5")]


def test_timestamps_keep_their_last_digit(tmp_path, write_dataset):
    """RecBole's parser reads 0.30000000000000004 as 0.3: the two would tie, and stay in the order of the file."""
    config = make_config(write_dataset(tmp_path, [("u", "a", 0.1 + 0.2), ("u", "b", 0.3), ("u", "c", 1)]))
    train, _, _ = GenRecDataset(config).build()
    assert list(sequences_of(train)["u"])[0] == "b"


def test_lazy_windows_can_be_switched_off(tmp_path, write_dataset):
    config = rich_config(tmp_path, write_dataset, lazy_windows=False)
    train, _, _ = GenRecDataset(config).build()
    assert type(train.inter_feat) is Interaction
    lazy, _, _ = GenRecDataset(rich_config(tmp_path, write_dataset)).build()
    for ours, theirs in zip(train_sequences(lazy), train_sequences(train), strict=True):
        assert np.array_equal(ours, theirs)


@sequence_columns
def test_tables_are_read_as_recbole_reads_them(tmp_path, write_dataset):
    """Missing cells, quotes, numbers of many digits, tokens that look like numbers, columns that share their ids."""
    rows = [
        ("1", "01", 0.25, "a b", "x", 3),
        ("1.0", "1", 1e-7, "", "NA", ""),
        ("é", "q", 1234567890.1234567, "c", 'y "z"', -1),
        ("1", "7", 5, "", "x", 2),
    ]
    header = ("user_id:token", "item_id:token", "timestamp:float", "friends:token_seq", "place:token", "price:float")
    path = write_dataset(tmp_path, rows, inter_header=header)
    fields = [cell.split(":")[0] for cell in header]
    for columns, alias in ((fields, ["friends"]), ([name for name in fields if name != "friends"], None)):
        config = make_config(path, load_col={"inter": columns}, alias_of_user_id=alias)
        ours, theirs = GenRecDataset(config), SequentialDataset(config)
        assert ours.field2type == theirs.field2type
        assert ours.field2seqlen == theirs.field2seqlen
        assert ours.field2source == theirs.field2source
        for field, tokens in theirs.field2id_token.items():
            assert ours.field2id_token[field].tolist() == tokens.tolist()
            assert ours.field2token_id[field] == theirs.field2token_id[field]
        in_time = theirs.inter_feat.sort_values("timestamp", kind="stable", ignore_index=True)
        for field in in_time:
            assert repr(ours.inter_feat[field].tolist()) == repr(in_time[field].tolist()), field


def test_a_dataset_with_its_own_augmentation_keeps_it():
    exact = exact_dataset_class(DIENDataset)
    assert exact.data_augmentation is DIENDataset.data_augmentation
    assert exact is exact_dataset_class(DIENDataset) is exact_dataset_class(exact)
    assert exact_dataset_class() is GenRecDataset


@sequence_columns
def test_pre_split_files_keep_their_rows(tmp_path, write_dataset):
    header = ("user_id:token", "item_id:token", "item_id_list:token_seq")
    for part, rows in (("train", [("b", 2, "1")]), ("valid", [("a", 3, "1 2")]), ("test", [("c", 1, "3 2")])):
        write_dataset(tmp_path, rows, name="tiny", inter_header=header)
        (tmp_path / "tiny/tiny.inter").rename(tmp_path / f"tiny/tiny.{part}.inter")
    config = make_config(
        str(tmp_path),
        benchmark_filename=["train", "valid", "test"],
        load_col={"inter": ["user_id", "item_id", "item_id_list"]},
        alias_of_item_id=["item_id_list"],
    )
    parts = exact_dataset_class()(config).build()
    assert [rows_of(part) for part in parts] == [[("b", "2")], [("a", "3")], [("c", "1")]]
    with pytest.raises(GenRecError, match="whole histories"):
        train_sequences(parts[1])


@pytest.mark.parametrize("base", [SequentialDataset, ExactWithRecBolesLoop, DIENDataset])
def test_instances_survive_pickling(tmp_path, write_dataset, base):
    interactions = [(f"u{n % 2}", f"i{n}", 1_700_000_000 + n) for n in range(8)]
    dataset = exact_dataset_class(base)(make_config(write_dataset(tmp_path, interactions)))
    again = pickle.loads(pickle.dumps(dataset))
    assert type(again) is type(dataset)
    assert [rows_of(part) for part in again.build()] == [rows_of(part) for part in dataset.build()]


@pytest.mark.parametrize("path", sorted((properties_folder() / "dataset").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_dataset_file_loads_times_and_keeps_interactions(path):
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert settings["load_col"]["inter"] == ["user_id", "item_id", "timestamp"]
    assert settings["filter_inter_by_user_or_item"] is False
    assert settings["normalize_all"] is False
    assert "title" in settings["item_text"]


def test_a_sequential_dataset_without_timestamps_is_refused(tmp_path, write_dataset):
    config = make_config(write_dataset(tmp_path, [("u", "i", 1)]), load_col={"inter": ["user_id", "item_id"]})
    with pytest.raises(GenRecError, match="'timestamp'.*'load_col'"):
        GenRecDataset(config)


def test_timestamps_of_another_type_are_refused(tmp_path, write_dataset):
    header = ("user_id:token", "item_id:token", "timestamp:token")
    config = make_config(write_dataset(tmp_path, [("u", "i", 1), ("u", "j", 2)], inter_header=header))
    with pytest.raises(GenRecError, match="must be of type 'float', not 'token'"):
        GenRecDataset(config)


def test_train_sequences_refuses_rows_that_are_no_whole_histories(tmp_path, write_dataset):
    interactions = [("u", f"i{n}", n) for n in range(12)]
    train, _, _ = GenRecDataset(make_config(write_dataset(tmp_path, interactions))).build()
    train.inter_feat = train.inter_feat[[0, 1, 3, 4]]
    with pytest.raises(GenRecError, match="whole histories"):
        train_sequences(train)


class TestRowsThatPandasWouldLose:
    """Rows, ids and times are those of the file, or the file is refused by name and line."""

    def read(self, tmp_path, lines, header="user_id:token\titem_id:token\ttimestamp:float", **settings):
        (tmp_path / "tiny").mkdir()
        (tmp_path / "tiny" / "tiny.inter").write_bytes("\n".join([header, *lines, ""]).encode())
        return GenRecDataset(make_config(str(tmp_path), **settings))

    def test_ids_that_read_like_missing_values_are_ids(self, tmp_path):
        lines = [f"{user}\t{item}\t{time}" for time, (user, item) in enumerate([("NA", "null"), ("nan", "None")] * 2)]
        dataset = self.read(tmp_path, lines)
        assert len(dataset.inter_feat) == 4
        assert dataset.field2id_token["user_id"].tolist() == ["[PAD]", "NA", "nan"]
        assert dataset.field2id_token["item_id"].tolist() == ["[PAD]", "null", "None"]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("\ti\t5", "tiny.inter, line 5: the row .* has no value in column 'user_id'"),
            ("u\t\t5", "tiny.inter, line 5: the row .* has no value in column 'item_id'"),
            ("u\ti\t", "tiny.inter, line 5: the row .* has no value in column 'timestamp'"),
            ("u\ti\tNA", "tiny.inter, line 5: the row .* has no value in column 'timestamp'"),
            ("u\ti\tinf", "tiny.inter, line 5: the row .* has no value in column 'timestamp'"),
            ("u\x00a\ti\t5", "tiny.inter, line 5: the file holds a NUL byte"),
        ],
    )
    def test_what_has_no_value(self, tmp_path, row, message):
        with pytest.raises(GenRecError, match=message):
            self.read(tmp_path, ["u\ti\t1", "u\tj\t2", "", row, "u\tk\t9"])

    def test_quotes_over_rows(self, tmp_path):
        """To RecBole's parser a cell that begins with a quote reaches to the next quote, over rows too."""
        header = "user_id:token\titem_id:token\ttimestamp:float\ttext:token_seq"
        lines = ["u\ti\t1\ta b", 'u\tj\t2\t"a', "u\tk\t3\tb", 'u\tl\t4\tc"', "u\tm\t5\tNA"]
        columns = {"inter": ["user_id", "item_id", "timestamp", "text"]}
        dataset = self.read(tmp_path, lines, header, load_col=columns)
        words = dataset.field2id_token["text"]
        assert [words[ids].tolist() for ids in dataset.inter_feat["text"]] == [
            ["a", "b"],
            ['"a'],
            ["b"],
            ['c"'],
            ["NA"],
        ]

    def test_items_and_users_that_read_like_missing_values(self, tmp_path):
        lines = ["NA\tnull\t1", "nan\tNone\t2", "NA\tNone\t3"]
        (tmp_path / "tiny").mkdir()
        (tmp_path / "tiny" / "tiny.item").write_text('item_id:token\ttitle:token_seq\nNone\t"A b\nnull\tNA\nn\tc"\n')
        (tmp_path / "tiny" / "tiny.user").write_text("user_id:token\tage:float\nNA\t30\nnan\t\n")
        (tmp_path / "tiny" / "tiny.inter").write_text(
            "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *lines])
        )
        columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["title"], "user": ["age"]}
        dataset = GenRecDataset(make_config(str(tmp_path), load_col=columns, filter_inter_by_user_or_item=True))
        assert len(dataset.inter_feat) == 3
        assert dataset.field2id_token["item_id"].tolist() == ["[PAD]", "null", "None", "n"]
        words = dataset.field2id_token["title"]
        assert [words[ids].tolist() for ids in dataset.item_feat["title"]] == [[], ["NA"], ['"A', "b"], ['c"']]
        assert dataset.user_feat["age"].tolist() == [30, 30, 30]  # the mean where there is none

    def test_a_short_row_of_items(self, tmp_path):
        (tmp_path / "tiny").mkdir()
        (tmp_path / "tiny" / "tiny.item").write_text("item_id:token\ttitle:token_seq\ni\tA\nj\n")
        (tmp_path / "tiny" / "tiny.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\ti\t1\n")
        with pytest.raises(GenRecError, match="tiny.item, line 3: 1 cells where the header has 2"):
            GenRecDataset(
                make_config(str(tmp_path), load_col={"inter": ["user_id", "item_id", "timestamp"], "item": "*"})
            )
