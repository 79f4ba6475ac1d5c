"""The history of a user of the dataset that a checkpoint was trained on, in exact order of time."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_genrec.errors import GenRecError


def read_user_history(settings, user, data_path=None):
    """Raw item ids of all interactions of a user, the oldest first, ties in the order of the file.

    Args:
        settings: the configuration of a checkpoint.
        user: raw user id.
        data_path: the folder that holds the dataset's folder; by default where it was in training.

    Returns:
        List of raw item ids, which need not be in the checkpoint's catalogue.

    Raises:
        GenRecError: a file or column is missing, or there is no such user.
    """
    dataset = settings["dataset"]
    folder = Path(settings["data_path"]) if data_path is None else Path(data_path) / dataset
    names = [f"{dataset}.{part}" for part in settings["benchmark_filename"] or ()] or [dataset]
    items, times = [], []
    for path in [folder / f"{name}.inter" for name in names]:
        rows = _rows_of(path, settings, user)
        items += rows.iloc[:, 1].tolist()
        times += rows.iloc[:, 2].tolist()
    if not items:
        raise GenRecError(f"--user: {path} has no interactions of the user {user!r}.")
    return [items[place] for place in np.argsort(np.array(times), kind="stable")]


def _rows_of(path, settings, user):
    """User, item and time of a user's rows."""
    if not path.is_file():
        raise GenRecError(f"--user: there is no file {path}. --data_path names the folder that holds the dataset's.")
    fields = [settings[f"{kind}_FIELD"] for kind in ("USER_ID", "ITEM_ID", "TIME")]
    form = {"sep": settings["field_separator"], "encoding": settings["encoding"] or "utf-8"}
    form["quoting"] = csv.QUOTE_NONE
    cells = {cell.split(":")[0]: cell for cell in pd.read_csv(path, nrows=0, **form).columns}
    for field in fields:
        if field not in cells:
            raise GenRecError(f"{path}, line 1: no column {field!r}. Columns: {', '.join(cells)}.")
    columns = [cells[field] for field in fields]
    types = {columns[0]: str, columns[1]: str, columns[2]: np.float64}
    table = pd.read_csv(path, usecols=columns, dtype=types, float_precision="round_trip", **form)[columns]
    return table[table[columns[0]] == str(user)]
