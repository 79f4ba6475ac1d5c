"""Datasets for the tests of this room, and what they hold in raw tokens."""

from collections import defaultdict

import numpy as np
import pytest
from recbole.config import Config
from recbole.data.dataset import SequentialDataset

from recbole_genrec.interactions.dataset import ExactOrder, train_sequences

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


def sequences_of(dataset):
    users, items, offsets = train_sequences(dataset)
    tokens = list(map(str, dataset.id2token("item_id", items)))
    names = map(str, dataset.id2token("user_id", users))
    return {name: tokens[start:end] for name, start, end in zip(names, offsets[:-1], offsets[1:])}


def histories(interactions):
    """Oracle: every user's items in order of time, ties in file order, in exact integer arithmetic."""
    by_user = defaultdict(list)
    for user, item, _ in sorted(interactions, key=lambda row: row[2]):  # sorted() is stable
        by_user[user].append(item)
    return by_user


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


def rich_config(tmp_path, write_dataset, **settings):
    """A dataset with extra columns and repeated users, items and times."""
    generator = np.random.default_rng(5)
    interactions = [
        (f"u{generator.integers(9)}", f"i{generator.integers(30)}", int(generator.integers(300)), generator.integers(6))
        for _ in range(200)
    ] + [("once", "i1", 3, 1), ("twice", "i2", 9, 4), ("twice", "new", 8, 2)]
    path = write_dataset(tmp_path, interactions, inter_header=RICH_HEADER[:4])
    return make_config(path, load_col={"inter": ["user_id", "item_id", "timestamp", "rating"]}, **settings)
