"""Columns of ``.inter`` beside user, item and time, such as ratings and reviews, for the interactions of a dataset.

RecBole would load text through ``token_seq``, which loses characters, and a column that one model loads would change
the tensors of every other model of the run. So the file is read here once more, and its rows are matched with the
dataset's.
"""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_genrec.data.histories import LazyInteraction
from recbole_genrec.errors import GenRecError
from recbole_genrec.prompt.item_text import clean_text


def interaction_columns(dataset, fields):
    """Read columns for every interaction in the store of a dataset's histories.

    Rows are matched by user, item and, where a user has an item more than once, by their order in time: the n-th of the
    file is the n-th of the dataset.

    Args:
        dataset: a built part of a dataset with lazy windows.
        fields: names of columns.

    Returns:
        By field, an array of texts aligned with ``dataset.inter_feat.histories`` ``[N]``, ``""`` where a cell is empty;
        fields that the file lacks are absent.

    Raises:
        GenRecError: the dataset's windows are not lazy.
    """
    if not isinstance(dataset.inter_feat, LazyInteraction):
        raise GenRecError("Ratings and reviews are matched with lazy windows: remove 'lazy_windows: False'.")
    store = dataset.inter_feat.histories
    table = _read(dataset, fields)
    found = [field for field in fields if field in table]
    ids = [
        table[field].map(dataset.field2token_id[field]).to_numpy(float)
        for field in (dataset.uid_field, dataset.iid_field)
    ]
    kept = ~np.isnan(ids[0]) & ~np.isnan(ids[1])  # filters have removed some users and items
    in_time = np.argsort(table[dataset.time_field].to_numpy(float)[kept], kind="stable")
    user, item = (column[kept].astype(np.int64)[in_time] for column in ids)
    from_end = dataset.config["rm_dup_inter"] == "last"
    theirs = _numbered(user * dataset.item_num + item, from_end)
    wanted = _numbered(store.users * dataset.item_num + store.columns[dataset.iid_field].numpy(), from_end)
    order = np.lexsort(theirs[::-1])
    row = order[_find(wanted, [key[order] for key in theirs])]
    place = np.flatnonzero(kept)[in_time][row]
    return {field: table[field].to_numpy(object)[place] for field in found}


def _read(dataset, fields):
    path = Path(dataset.dataset_path) / f"{dataset.dataset_name}.inter"
    config = dataset.config
    needed = {dataset.uid_field, dataset.iid_field, dataset.time_field, *fields}
    table = pd.read_csv(
        path,
        sep=config["field_separator"],
        encoding=config["encoding"],
        usecols=lambda cell: cell.split(":")[0] in needed,
        dtype=str,
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
    )
    return table.rename(columns=lambda cell: cell.split(":")[0])


def _numbered(key, from_end):
    """A key and which one of the rows with that key it is, ``[N]`` each; counted from the last one if ``from_end``."""
    if from_end:
        key, number = _numbered(key[::-1], False)
        return key[::-1], number[::-1]
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.append(True, np.diff(key[order]) != 0)[: len(key)])
    number = np.empty(len(key), np.int64)
    number[order] = np.arange(len(key)) - np.repeat(begins, np.diff(np.append(begins, len(key))))
    return key, number


def _find(wanted, ordered):
    """Places of the pairs ``wanted`` among ``ordered`` ones, sorted by key and number."""
    place = np.searchsorted(ordered[0], wanted[0]) + wanted[1]
    there = place < len(ordered[0])
    if not there.all() or any((have[place] != want).any() for have, want in zip(ordered, wanted)):
        raise GenRecError("The .inter file does not have every interaction of the dataset: it has changed meanwhile.")
    return place


def first_sentence(text):
    """The first sentence of a review, as one line: what the explanation family learns to write.

    P5 takes sentences in which a feature was found by another tool; a review's first sentence needs none.
    """
    text = clean_text(text)
    for place, character in enumerate(text):
        if character in ".!?" and place + 1 < len(text) and text[place + 1] == " " and place > 20:
            return text[: place + 1]
    return text
