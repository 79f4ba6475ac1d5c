"""Columns of items, such as genres, as learned vectors that are added to an item wherever it stands in a history.

Letters: I items, item 0 padding; M the most values that an item has in a column; H width.
"""

import numpy as np
import torch
from torch import nn

from recbole_genrec.catalogue.item_text import item_columns
from recbole_genrec.errors import GenRecError, listed, shown
from recbole_genrec.files.user_table import ValueColumn
from recbole_genrec.model.user_values import vectors_of
from recbole_genrec.model.value_vectors import ColumnVectors

#: types of columns that are read, and what stands for one: categories, or numbers.
KINDS = {"token": "token", "token_seq": "token", "float": "float"}


def check_item_columns_of(items, names):
    """Refuse names of columns that an ``.item`` file lacks or that hold neither categories nor one number an item.

    Args:
        items: :class:`~recbole_genrec.files.item_table.ItemTable`.
        names: of the setting ``item_columns``.

    Raises:
        GenRecError: so; the message names column and file.
    """
    for name in names:
        if name not in items.kinds or name == items.item_field:
            others = listed(kind for kind in items.kinds if kind != items.item_field)
            raise GenRecError(f"'item_columns' needs the column {shown(name)} of {items.path}, which has: {others}.")
        if items.kinds[name] not in KINDS:
            raise GenRecError(
                f"'item_columns': the column {shown(name)} of {items.path} must be of type {' or '.join(KINDS)}, not "
                f"{items.kinds[name]!r}."
            )


def columns_of_items(columns, names):
    """The :class:`~recbole_genrec.files.user_table.ValueColumn` of some columns by name.

    Args:
        columns: :class:`~recbole_genrec.catalogue.item_text.ItemColumn` by name.
        names: of those that are read.
    """
    return {
        name: ValueColumn.of(KINDS[columns[name].kind], [text for own in columns[name].values.values() for text in own])
        for name in names
    }


class ItemValues(nn.Module):
    """The sum over columns of an item's vectors: of a category, of a range of numbers, or the mean of several.

    They start at zero. A value that is missing, or a category that training has not had, adds nothing.

    Args:
        columns: :class:`~recbole_genrec.files.user_table.ValueColumn` by name.
        width: of the vectors, H.
    """

    def __init__(self, columns, width):
        super().__init__()
        self.columns, self.vectors = columns, ColumnVectors()
        for place, (name, column) in enumerate(columns.items()):
            self.vectors[name] = vectors_of(column, width)
            self.register_buffer(f"numbers_{place}", torch.full((1, 1), torch.nan), persistent=False)

    @classmethod
    def of_dataset(cls, dataset, names, width):
        """Those of a dataset's items, ranges of numbers chosen by the items of its training part.

        Raises:
            GenRecError: see :func:`check_item_columns_of`; or there is no ``.item`` file.
        """
        from recbole_genrec.interactions.dataset import seen_items  # who only ranks has no RecBole

        items = dataset.item_texts()
        check_item_columns_of(items, names)
        columns = item_columns(items)
        module = cls(columns_of_items(columns, names), width)
        module.describe(dataset.field2id_token[dataset.iid_field][1:].tolist(), columns)
        module.fit(seen_items(dataset))
        return module

    def describe(self, tokens, columns):
        """Take the values of items.

        Args:
            tokens: of items 1, 2, ...
            columns: :class:`~recbole_genrec.catalogue.item_text.ItemColumn` by name; several may be none of these.
        """
        for place, (name, column) in enumerate(self.columns.items()):
            values = columns[name].values if name in columns else {}
            several = [[], *([column.number(text) for text in values.get(token, ())] for token in tokens)]
            numbers = np.full((len(several), max(1, *map(len, several))), np.nan, np.float32)
            for row, own in zip(numbers, several):
                row[: len(own)] = own
            self.register_buffer(f"numbers_{place}", self._like_before(place, numbers), persistent=False)

    def _like_before(self, place, numbers):
        return torch.from_numpy(numbers).to(getattr(self, f"numbers_{place}").device)

    def fit(self, seen):
        """Choose the ranges of numbers by some items, booleans ``[I]``."""
        for place, (name, column) in enumerate(self.columns.items()):
            if column.kind == "float":
                self.vectors[name].fit(getattr(self, f"numbers_{place}").numpy()[seen, 0])

    def forward(self, items):
        """The vectors ``[..., H]`` of items ``[...]``; padding and items that are not described have none."""
        count = len(self.numbers_0)
        items = items.masked_fill(items >= count, 0)
        if items.numel() > count:  # it costs less to make each item's vector once
            return self._of(torch.arange(count, device=items.device))[items]
        return self._of(items)

    def _of(self, items):
        total = 0
        for place, (_, vectors) in enumerate(self.vectors.items()):
            numbers = getattr(self, f"numbers_{place}")[items]  # [..., M]
            known = (~numbers.isnan()).sum(-1, keepdim=True).clamp_min(1)
            total = total + vectors(numbers).sum(-2) / known
        return total
