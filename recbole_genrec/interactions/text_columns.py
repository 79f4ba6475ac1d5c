"""Columns that models read as the files have them, such as titles, ratings and reviews.

RecBole would load text through ``token_seq``, which loses characters, and a column that one model loads would change
the tensors of every other model of the run. So the dataset keeps these columns beside RecBole's tables, from
the one reading of each file.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from recbole.utils import FeatureSource, FeatureType

from recbole_genrec.files.item_table import ItemTable, check_item_field, no_item


class TextColumns(NamedTuple):
    """Columns that a model reads as texts; a model class says so by a class method ``text_columns(config)``."""

    #: names of columns of ``.inter``; files may lack them.
    interactions: tuple = ()
    #: whether it reads ``.item``.
    items: bool = False


def text_columns_of(configs):
    """The :class:`TextColumns` of all models of some configurations."""
    interactions, items = {}, False
    for config in configs:
        model = getattr(config, "model_class", None)  # settings of a checkpoint have none
        if hasattr(model, "text_columns"):
            own = model.text_columns(config)
            interactions |= dict.fromkeys(own.interactions)
            items |= own.items
    return TextColumns(tuple(interactions), items)


def raw_type(kind, source):
    """The type of pandas for a column that is kept as texts: tokens and numbers of interactions repeat."""
    repeats = source == FeatureSource.INTERACTION and kind in (FeatureType.TOKEN, FeatureType.FLOAT)
    return "category" if repeats else str


def typed(texts, kind, missing, numbers):
    """The column that RecBole gets of one that is kept as texts, as if it had been read for RecBole alone.

    Args:
        texts: a ``pandas.Series``.
        kind: RecBole's type of the column.
        missing: the texts that stand for a missing value.
        numbers: gives the numbers of texts; see :meth:`recbole_genrec.files.atomic_file.Reading.numbers`.

    Returns:
        A ``pandas.Series``.

    Raises:
        ValueError: a text of a ``float`` column is no number.
    """
    if kind == FeatureType.FLOAT:
        codes, distinct = pd.factorize(texts)
        return pd.Series(numbers(distinct, missing)[codes], texts.index, np.float64)
    if isinstance(texts.dtype, pd.CategoricalDtype):
        return texts.cat.remove_categories([text for text in missing if text in texts.cat.categories])
    return texts.mask(texts.isin(missing))


def item_table(file, kinds, table, item_field):
    """The items of ``.item``, each with its first row.

    Args:
        file: :class:`~recbole_genrec.files.atomic_file.AtomicFile`.
        kinds: types of its columns by name.
        table: its rows as texts, a ``pandas.DataFrame``.
        item_field: name of the column of item tokens.

    Returns:
        :class:`~recbole_genrec.files.item_table.ItemTable`.

    Raises:
        GenRecError: there is no such column, or a row names no item.
    """
    check_item_field(file.path, kinds, item_field)
    nameless = (table[item_field] == "").to_numpy()
    if nameless.any():
        raise no_item(file.path, file.line(int(nameless.argmax()))[0], item_field)
    first = table[~table[item_field].duplicated()]
    return ItemTable(file.path, item_field, kinds, {name: first[name].to_numpy(object) for name in kinds})
