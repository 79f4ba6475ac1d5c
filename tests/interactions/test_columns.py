"""Settings that name columns are held against the files before anything is read."""

import pytest

from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset_files import check_dataset

INTER = ["user_id", "item_id", "rating", "timestamp"]


@pytest.fixture
def data_path(tmp_path, write_dataset):
    rows = [(f"u{user}", f"i{(user + step) % 5}", step, 100 + step) for user in range(4) for step in range(4)]
    header = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
    items = [(f"i{item}", f"Item {item}", "a") for item in range(5)]
    return write_dataset(
        tmp_path, rows, items, inter_header=header, item_header=("item_id:token", "title:token_seq", "kind:token")
    )


def check(data_path, **settings):
    check_dataset(GenRecConfig("GenRec", "tiny", config_dict={"data_path": data_path, **settings}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"load_col": {"inter": [*INTER, "stars"]}},
            "'load_col' names 'stars', which is no column of .*tiny.inter: user",
        ),
        (
            {"load_col": {"inter": INTER, "item": ["titel"]}},
            "'load_col' names 'titel', .*tiny.item: item_id, title, kind",
        ),
        (
            {"load_col": {"inter": INTER, "user": ["user_id"]}},
            "'load_col' names columns of a file that is not there: .*user",
        ),
        ({"unload_col": {"inter": ["stars"]}}, "'unload_col' names 'stars'"),
        ({"unused_col": {"inter": ["stars"]}}, "'unused_col' names 'stars'"),
        (
            {"val_interval": {"rating": "[3,inf)"}},
            "'val_interval' names 'rating', which is no loaded column: user_id, item",
        ),
        ({"load_col": None, "unload_col": {"inter": ["rating"]}, "normalize_field": ["rating"]}, "no loaded column"),
        ({"load_col": None, "val_interval": {"rating": [3.0]}}, "'val_interval: rating' must be an interval such as"),
        ({"load_col": None, "val_interval": {"kind": "[3,4]"}}, "'val_interval: kind' must be a list of the tokens"),
        (
            {"load_col": None, "normalize_field": ["kind"]},
            "'normalize_field' takes columns of numbers: 'kind' is of type",
        ),
        ({"load_col": None, "threshold": {"kind": 3.0}}, "'threshold' takes columns of numbers"),
        ({"load_col": None, "preload_weight": {"user_id": "vector"}}, "'preload_weight: user_id' names 'vector'"),
        ({"load_col": {}}, r"leave out 'user_id' \(USER_ID_FIELD\) of tiny.inter"),
        ({"load_col": {"inter": ["user_id", "item_id"]}}, "leave out 'timestamp'"),
        ({"load_col": None, "unload_col": {"inter": ["item_id"]}}, "leave out 'item_id'"),
        ({"alias_of_item_id": ["other"]}, "'alias_of_item_id' names 'other'"),
    ],
)
def test_a_column_that_is_not_there_is_refused(data_path, settings, message):
    with pytest.raises(GenRecError, match=message):
        check(data_path, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"load_col": None, "val_interval": {"rating": "[1,inf)", "kind": ["a"]}},
        {"load_col": {"inter": "*", "item": "*"}, "normalize_field": ["rating"], "threshold": {"rating": 3.0}},
        {"load_col": {"inter": INTER}, "unused_col": {"inter": ["rating"]}, "val_interval": {"rating": "[1,inf)"}},
    ],
)
def test_columns_that_are_there_are_taken(data_path, settings):
    check(data_path, **settings)
