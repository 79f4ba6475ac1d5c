"""Columns that a model reads beside items keep the file's values, in every part of a split and in training windows."""

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.data import data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.utils import InputType

from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.windows import WindowLoader
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.context_columns import EXACT_TIME
from recbole_genrec.interactions.dataset import GenRecDataset, train_columns, train_sequences
from recbole_genrec.interactions.split import SplitData
from tests.interactions.datasets import make_config

HEADER = ("user_id:token", "item_id:token", "timestamp:float", "rating:float", "place:token")
COLUMNS = (EXACT_TIME, "rating")
LONGEST = 4


class Timed(SASRec):
    """A model that reads times and ratings."""

    input_type = InputType.POINTWISE

    @classmethod
    def context_columns(cls, config):
        return {EXACT_TIME: "context", "rating": "context"}


@pytest.fixture
def table():
    """Interactions a few seconds apart, at times of which float32 has a step of 128; every item is had once."""
    generator = np.random.default_rng(3)
    rows = [
        (f"u{generator.integers(9)}", f"i{number}", 1_999_999_900 + int(second), float(generator.integers(2, 11)) / 2)
        for number, second in enumerate(generator.integers(40, size=120))
    ]
    return pd.DataFrame(rows, columns=["user", "item", "time", "rating"])


def config_of(tmp_path, write_dataset, table, model=Timed, **settings):
    path = write_dataset(tmp_path, [(*row, "here") for row in table.itertuples(index=False)], inter_header=HEADER)
    return make_config(path, model=model, **settings)


def sorted_by_time(table):
    return table.sort_values("time", kind="stable")


def expected_rows(table):
    """Oracle: by target, its history and itself as rows of the file, in pandas alone."""
    rows = {}
    for _, of_user in sorted_by_time(table).groupby("user"):
        for place in range(1, len(of_user)):
            rows[of_user["item"].iloc[place]] = of_user.iloc[max(0, place - LONGEST) : place + 1]
    return rows


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("normalize_all", [False, True])
def test_every_part_has_the_values_of_the_file(tmp_path, write_dataset, table, normalize_all, lazy):
    config = config_of(tmp_path, write_dataset, table, normalize_all=normalize_all, lazy_windows=lazy)
    expected, first = expected_rows(table), table["time"].min()
    found = 0
    for part in GenRecDataset(config).build():
        batch = part[np.arange(len(part))]
        assert batch[EXACT_TIME].dtype == batch[f"{EXACT_TIME}_list"].dtype == torch.int64
        assert batch["rating"].dtype == batch["rating_list"].dtype == torch.float32
        for row in range(len(part)):
            wanted = expected[part.id2token("item_id", batch["item_id"][row])]
            length = len(wanted) - 1
            assert batch["item_length"][row] == length
            for column, values in ((EXACT_TIME, wanted["time"] - first), ("rating", wanted["rating"])):
                assert batch[f"{column}_list"][row].tolist() == [*values[:-1], *[0] * (LONGEST - length)]
                assert batch[column][row] == values.iloc[-1]
            found += 1
    assert found == len(expected)


def test_the_first_time_is_that_of_the_file_whatever_filters_leave(tmp_path, write_dataset, table):
    whole = GenRecDataset(config_of(tmp_path, write_dataset, table))
    early = table["time"].sort_values().iloc[20]
    filters = {"val_interval": {"timestamp": f"[{early},inf)"}}
    part = GenRecDataset(config_of(tmp_path, write_dataset, table, **filters))
    assert part.inter_feat[EXACT_TIME].min() == early - table["time"].min() > 0 == whole.inter_feat[EXACT_TIME].min()


def test_batches_of_recboles_loaders_have_them(tmp_path, write_dataset, table):
    config = config_of(tmp_path, write_dataset, table)
    for loader in data_preparation(config, GenRecDataset(config)):
        batch = next(iter(loader))
        batch = batch[0] if isinstance(batch, tuple) else batch
        assert batch[f"{EXACT_TIME}_list"].shape == batch["item_id_list"].shape
        assert (batch[EXACT_TIME] >= batch[f"{EXACT_TIME}_list"].max(1).values).all()


def test_without_such_a_model_nothing_is_new(tmp_path, write_dataset, table):
    part = GenRecDataset(config_of(tmp_path, write_dataset, table, "SASRec")).build()[0]
    lists = [f"{name}_list" for name in ("item_id", "timestamp")]
    assert part.inter_feat.columns == ["user_id", "item_id", "timestamp", "item_length", *lists]


def test_models_of_a_run_share_them(tmp_path, write_dataset, table):
    path = config_of(tmp_path, write_dataset, table)["data_path"].rpartition("/")[0]
    settings = {"data_path": path, "topk": [3], "valid_metric": "NDCG@3"}
    configs = [GenRecConfig(model, "tiny", config_dict=settings) for model in ("SASRec", "SASRec")]
    configs[1].model_class = Timed
    assert EXACT_TIME in SplitData(configs).parts[0].inter_feat.columns


@pytest.mark.parametrize("lazy", [True, False])
def test_train_columns_stand_beside_the_items_of_train_sequences(tmp_path, write_dataset, table, lazy):
    train = GenRecDataset(config_of(tmp_path, write_dataset, table, lazy_windows=lazy)).build()[0]
    users = pd.Series(train.inter_feat["user_id"].numpy())
    turn = np.argsort(users.groupby(users).cumcount().to_numpy(), kind="stable")  # the users' rows take turns
    train.inter_feat._reindex(turn)
    users, items, offsets = train_sequences(train)
    expected = {user: list(of_user["item"][:-2]) for user, of_user in sorted_by_time(table).groupby("user")}
    tokens = train.id2token("item_id", items)
    of_user = [list(tokens[begin:end]) for begin, end in zip(offsets, offsets[1:])]
    assert dict(zip(train.id2token("user_id", users), of_user)) == expected
    columns = train_columns(train, [*COLUMNS, "item_id"])
    assert np.array_equal(columns["item_id"], items)
    file = table.set_index("item").loc[list(train.id2token("item_id", items))]
    assert np.array_equal(columns[EXACT_TIME], file["time"] - table["time"].min())
    assert np.array_equal(columns["rating"], file["rating"].astype(np.float32))


@pytest.mark.parametrize("history_dropout", [0.0, 0.4])
def test_windows_keep_the_columns_beside_their_items(tmp_path, write_dataset, table, history_dropout):
    train = GenRecDataset(config_of(tmp_path, write_dataset, table, normalize_all=True)).build()[0]
    settings = EpochSettings(seed=5, batch_size=6, history_dropout=history_dropout)
    loader = WindowLoader(train, LONGEST, settings, COLUMNS)
    file = table.assign(time=table["time"] - table["time"].min()).set_index("item")
    of_item = {
        column: torch.tensor([0, *file[name].loc[list(train.field2id_token["item_id"][1:])]], dtype=kind)
        for column, name, kind in ((EXACT_TIME, "time", torch.int64), ("rating", "rating", torch.float32))
    }
    epochs = []
    for _ in range(3):
        batches = list(loader)
        for batch in batches:
            for column in COLUMNS:
                assert batch[column].dtype == of_item[column].dtype
                assert torch.equal(batch[f"{column}_list"], of_item[column][batch["item_id_list"]])
                assert torch.equal(batch[column], of_item[column][batch["item_id"]])
        epochs.append(batches)
    assert sum(len(batch["item_id"]) for batch in epochs[0]) > 6
    resumed = WindowLoader(train, LONGEST, settings, COLUMNS)
    resumed.set_epoch(2)
    for again, batch in zip(resumed, epochs[2], strict=True):
        assert all(torch.equal(again[name], batch[name]) for name in batch.columns)
    plain = WindowLoader(train, LONGEST, settings)  # the columns draw nothing
    assert [batch["item_id_list"].tolist() for batch in plain] == [
        batch["item_id_list"].tolist() for batch in epochs[0]
    ]


def test_dropout_of_all_targets_is_refused(tmp_path, write_dataset, table):
    train = GenRecDataset(config_of(tmp_path, write_dataset, table)).build()[0]
    with pytest.raises(GenRecError, match="'history_dropout: 0.999'"):
        WindowLoader(train, LONGEST, EpochSettings(seed=5, batch_size=6, history_dropout=0.999))


def asking(**columns):
    """A model that reads some columns."""
    return type("Asking", (SASRec,), {"context_columns": lambda config: columns, "input_type": InputType.POINTWISE})


def test_a_missing_column_names_file_column_and_key(tmp_path, write_dataset, table):
    with pytest.raises(GenRecError, match=r"'context' needs the column 'price' of .*tiny/tiny.inter, which has: .*rat"):
        GenRecDataset(config_of(tmp_path, write_dataset, table, asking(price="context")))
    with pytest.raises(
        GenRecError, match="'context' needs numbers: the column 'place' of .* type 'float', not 'token'"
    ):
        GenRecDataset(config_of(tmp_path, write_dataset, table, asking(place="context")))


@pytest.mark.parametrize(
    "changes",
    [
        {"normalize_field": ["rating"]},
        {"threshold": {"rating": 3}},
        {"unload_col": {"inter": ["rating"]}, "load_col": None},
        {"unused_col": {"inter": [EXACT_TIME]}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_setting_that_would_change_or_drop_a_column_is_refused(tmp_path, write_dataset, table, changes):
    with pytest.raises(
        GenRecError, match=f"{next(iter(changes))!r} names '(rating|exact_time)', whose values 'context'"
    ):
        GenRecDataset(config_of(tmp_path, write_dataset, table, **changes))


def test_times_must_be_numbers(tmp_path, write_dataset):
    header = ("user_id:token", "item_id:token", "timestamp:token")
    path = write_dataset(tmp_path, [("u", f"i{n}", n) for n in range(5)], inter_header=header)
    with pytest.raises(GenRecError, match="'timestamp' of tiny.inter must be of type 'float'"):
        GenRecDataset(make_config(path, model=asking(exact_time="context")))


def test_a_column_of_that_name_is_refused(tmp_path, write_dataset):
    header = ("user_id:token", "item_id:token", "timestamp:float", "exact_time:float")
    path = write_dataset(tmp_path, [("u", f"i{n}", n, n) for n in range(5)], inter_header=header)
    with pytest.raises(GenRecError, match="has a column 'exact_time'"):
        GenRecDataset(make_config(path, model=asking(exact_time="context")))


def test_pre_split_files_have_them_unless_they_hold_histories(tmp_path, write_dataset):
    header = ("user_id:token", "item_id:token", "timestamp:float")
    times = {"train": range(4), "valid": [4], "test": [5]}
    for part, of_part in times.items():
        write_dataset(tmp_path, [("u", f"i{n}", 1_500_000_001 + n) for n in of_part], inter_header=header)
        (tmp_path / "tiny/tiny.inter").rename(tmp_path / f"tiny/tiny.{part}.inter")
    settings = {"model": asking(exact_time="time_bias"), "benchmark_filename": list(times)}
    parts = GenRecDataset(make_config(str(tmp_path), **settings)).build()
    assert [part.inter_feat[EXACT_TIME].tolist() for part in parts] == [[1, 2, 3], [4], [5]]
    header = ("user_id:token", "item_id:token", "timestamp:float", "item_id_list:token_seq")
    for part in times:
        write_dataset(tmp_path, [("u", "i1", 7, "i2 i3"), ("u", "i2", 7, "i1")], inter_header=header)
        (tmp_path / "tiny/tiny.inter").rename(tmp_path / f"tiny/tiny.{part}.inter")
    with pytest.raises(
        GenRecError, match="time_bias: files of 'benchmark_filename' that hold histories have no exact_"
    ):
        GenRecDataset(make_config(str(tmp_path), **settings))
