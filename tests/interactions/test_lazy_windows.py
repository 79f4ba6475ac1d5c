"""Lazy windows equal the rows that RecBole writes out, part by part and batch by batch."""

import pickle

import numpy as np
import pytest
import torch
from recbole.data import data_preparation
from recbole.data.dataset import DIENDataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import GenRecDataset, exact_dataset_class, train_sequences
from recbole_genrec.interactions.histories import Histories, LazyInteraction
from tests.interactions.datasets import (
    RICH_HEADER,
    ExactWithRecBolesLoop,
    make_config,
    rich_config,
    rows_of,
    sequence_columns,
)


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


def test_lazy_windows_can_be_switched_off(tmp_path, write_dataset):
    config = rich_config(tmp_path, write_dataset, lazy_windows=False)
    train, _, _ = GenRecDataset(config).build()
    assert type(train.inter_feat) is Interaction
    lazy, _, _ = GenRecDataset(rich_config(tmp_path, write_dataset)).build()
    for ours, theirs in zip(train_sequences(lazy), train_sequences(train), strict=True):
        assert np.array_equal(ours, theirs)


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


def test_train_sequences_refuses_rows_that_are_no_whole_histories(tmp_path, write_dataset):
    interactions = [("u", f"i{n}", n) for n in range(12)]
    train, _, _ = GenRecDataset(make_config(write_dataset(tmp_path, interactions))).build()
    train.inter_feat = train.inter_feat[[0, 1, 3, 4]]
    with pytest.raises(GenRecError, match="whole histories"):
        train_sequences(train)
