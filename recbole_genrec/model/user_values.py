"""Columns of users as values of the interactions in their histories: each has a learned vector at every item.

A column stands among the values of a context under :func:`key_of` its name, as a number for each interaction, the same
for all of a user's.
"""

from pathlib import Path

import numpy as np

from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.user_table import ValueColumn, read_users
from recbole_genrec.model.value_vectors import CategoryVectors, ValueVectors


def key_of(column):
    """The name of a user column among the values of a context: a column of interactions may be called as it is."""
    return f"user:{column}"


def vectors_of(column, width):
    """The module that gives vectors of a :class:`~recbole_genrec.files.user_table.ValueColumn`, H ``width``."""
    return CategoryVectors(len(column.values), width) if column.kind == "token" else ValueVectors(width)


class UserValues:
    """The columns of a dataset's users.

    Args:
        dataset: RecBole's.
        names: of the columns.
        columns: :class:`~recbole_genrec.files.user_table.ValueColumn` by name, those of a checkpoint; by default those
            of the dataset.

    Attributes:
        columns: as given, or of the dataset.
        numbers: by :func:`key_of` each column, its numbers by user id ``[n_users]``, float32, NaN where none is known.

    Raises:
        GenRecError: see :func:`~recbole_genrec.files.user_table.read_users`.
    """

    def __init__(self, dataset, names, columns=None):
        self.columns, self.numbers = {}, {}
        if not names:
            return
        file = AtomicFile.of(Path(dataset.dataset_path) / f"{dataset.dataset_name}.user", dataset.config)
        table = read_users(file, dataset.uid_field, names)
        tokens = dataset.field2id_token[dataset.uid_field]
        for name in names:
            texts = table.texts[name]
            self.columns[name] = columns[name] if columns else ValueColumn.of(table.kinds[name], texts.values())
            numbers = [self.columns[name].number(texts.get(token)) for token in tokens[1:].tolist()]
            self.numbers[key_of(name)] = np.array([np.nan, *numbers], np.float32)

    def of(self, users):
        """Numbers ``[N]`` of some users ``[N]``, by key."""
        return {key: numbers[users] for key, numbers in self.numbers.items()}

    def fit(self, modules, dataset):
        """Choose the ranges of columns of numbers by the users of the training.

        Args:
            modules: those of :func:`vectors_of` by :func:`key_of`.
            dataset: the training part of a split.
        """
        numeric = [key_of(name) for name, column in self.columns.items() if column.kind == "float"]
        users = np.unique(dataset.inter_feat[dataset.uid_field].numpy()) if numeric else None
        for key in numeric:
            modules[key].fit(self.numbers[key][users])
