"""Atomic files as the tables of a RecBole dataset, read by the package's own reader."""

import numpy as np
import pandas as pd
from recbole.utils import FeatureSource, FeatureType

from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.item_table import check_there
from recbole_genrec.interactions.presplit import interaction_files
from recbole_genrec.interactions.text_columns import TextColumns, item_table, raw_type, text_columns_of, typed

#: words that stand for a missing value, as pandas has them; ids are never missing, whatever they are called.
MISSING = ("", "NA", "N/A", "<NA>", "n/a", "#N/A", "#NA", "NaN", "nan", "-NaN", "-nan", "None", "NULL", "null")
#: what RecBole calls the file that links items with entities: its columns get no properties of their own.
LINK = "link"
#: attributes of a dataset that no pickle holds: the files have them.
KEPT_TEXTS = ("_text_columns", "_interaction_texts", "_item_kinds", "_item_texts")


def no_interactions(path):
    """The error of an ``.inter`` file without rows."""
    return GenRecError(f"{path}, line 2: the file has a header and no interactions.")


def _type(kind, source):
    token = "category" if source == FeatureSource.INTERACTION else str
    return {FeatureType.FLOAT: np.float64, FeatureType.TOKEN: token}.get(kind, str)


class AtomicTables:
    """Mixin before a RecBole dataset class: every table is read once, tokens of interactions as categories.

    :class:`~recbole_genrec.files.atomic_file.AtomicFile` reads them.

    The index of the interactions is the number of the row in its file, from 0, whatever the filters leave; files split
    beforehand count on.

    Args:
        config: RecBole's.
        text_columns: the :class:`~recbole_genrec.interactions.text_columns.TextColumns` that are kept beside RecBole's
            tables; by default those of the configuration's own model.
    """

    #: what is kept as texts; a dataset out of a pickle keeps nothing, and reads the files again where it is asked.
    _text_columns = TextColumns()
    #: by column of ``.inter`` that is kept, the texts of each file that has it, in the order of the files.
    _interaction_texts = None
    #: types of the columns of ``.item``, and those that are kept as texts, a ``pandas.DataFrame``.
    _item_kinds = _item_texts = None

    def __init__(self, config, text_columns=None):
        self._text_columns = text_columns_of([config]) if text_columns is None else text_columns
        self._interaction_texts = {}
        super().__init__(config)

    def _load_feat(self, filepath, source):
        file = AtomicFile.of(filepath, self.config)
        with file.reading() as reading:
            kinds = self._columns_to_load(reading.columns, source)
            texts = self._columns_of_texts(reading.columns, source)
            if source == FeatureSource.ITEM:
                self._item_kinds = reading.columns
            if not kinds and not texts:
                return None
            for field, kind in kinds.items():
                if source != LINK:
                    self._describe(field, kind, source)
            missing = {field: self._missing(field, kind, source) for field, kind in kinds.items()}
            table = reading.table(
                {field: _type(kind, source) for field, kind in kinds.items()}
                | {field: raw_type(kind, source) for field, kind in texts.items()},
                {field: some for field, some in missing.items() if field not in texts},
            )
            if source == FeatureSource.INTERACTION and not len(table):
                raise no_interactions(file.path)
            self._keep_texts(table, texts, source)
            for field in texts:
                if field in kinds:
                    table[field] = typed(table[field], kinds[field], missing[field], reading.numbers)
                else:
                    del table[field]
        if not kinds:
            return None
        self._check_values(file, table)
        for field, kind in kinds.items():
            if kind in (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ):
                self._split_sequences(table, field, kind)
        return table

    def _columns_of_texts(self, columns, source):
        """Types of the columns that are kept as texts; of ``.item``, the ids always are."""
        wanted = ()
        if source == FeatureSource.INTERACTION:
            wanted = self._text_columns.interactions
        elif source == FeatureSource.ITEM:
            wanted = columns if self._text_columns.items else (self.iid_field,)
        return {field: FeatureType(kind) for field, kind in columns.items() if field in wanted}

    def _keep_texts(self, table, texts, source):
        if source == FeatureSource.INTERACTION:
            for field in texts:
                # not the column: it would keep the table's index, whose numbers RecBole has written out
                self._interaction_texts.setdefault(field, []).append(table[field].array)
        elif source == FeatureSource.ITEM:
            self._item_texts = table[list(texts)]

    def interaction_texts(self, fields):
        """Columns of ``.inter`` as texts.

        Args:
            fields: names of columns.

        Returns:
            By field, an array of pandas for each file, in the order of its rows; fields that a file lacks are absent.
        """
        files = [AtomicFile.of(path, self.config) for path in interaction_files(self.config)]
        if set(fields) <= set(self._text_columns.interactions):
            found = {field: self._interaction_texts.get(field, []) for field in fields}
        else:  # the dataset was not made for the model that asks
            found = {field: [] for field in fields}
            for file in files:
                with file.reading() as reading:
                    there = [field for field in fields if field in reading.columns]
                    table = reading.table(dict.fromkeys(there, str)) if there else {}
                for field in there:
                    found[field].append(table[field].array)
        return {field: columns for field, columns in found.items() if len(columns) == len(files)}

    def item_texts(self):
        """The items of ``.item``, each with the cells of its first row as texts.

        Returns:
            :class:`~recbole_genrec.files.item_table.ItemTable`.

        Raises:
            GenRecError: there is no such file or column, or a row is malformed or names no item.
        """
        file = AtomicFile.of(f"{self.dataset_path}/{self.dataset_name}.item", self.config)
        check_there(file.path)
        if not self._text_columns.items:  # the dataset was not made for the model that asks
            with file.reading() as reading:
                self._item_kinds = reading.columns
                self._item_texts = reading.table(dict.fromkeys(reading.columns, str))
            self._text_columns = self._text_columns._replace(items=True)
        return item_table(file, self._item_kinds, self._item_texts, self.iid_field)

    def _describe(self, field, kind, source):
        self.field2source[field], self.field2type[field] = source, kind
        if not kind.value.endswith("seq"):
            self.field2seqlen[field] = 1
        if kind.value.startswith("float"):
            self.field2bucketnum[field] = 2

    def _missing(self, field, kind, source):
        """The texts of a column that stand for a missing value; a text of several words has none."""
        if kind == FeatureType.TOKEN_SEQ:
            return ()
        is_id = field in (self.uid_field, self.iid_field) or source in (FeatureSource.KG, LINK)
        return ("",) if is_id and kind == FeatureType.TOKEN else MISSING

    def _check_values(self, file, table):
        """Refuse a row without a user, an item or a time.

        RecBole would leave such rows out with a line in the log (``dataset.py:817``), but puts the mean for a time.
        """
        for field in (self.uid_field, self.iid_field, self.time_field):
            if field not in table:
                continue
            missing = table[field].isna()
            if field == self.time_field and self.field2type[field] == FeatureType.FLOAT:
                missing |= ~np.isfinite(table[field])
            if missing.any():
                line, text = file.line(int(missing.argmax()))
                raise GenRecError(
                    f"{file.path}, line {line}: the row {shown(text)} has no value in column {field!r} that can be "
                    "read."
                )

    def _split_sequences(self, table, field, kind):
        """Make an array of each cell of several values, as RecBole does (``dataset.py:498``)."""
        convert = np.array if kind == FeatureType.TOKEN_SEQ else lambda cells: np.array(list(map(float, cells)))
        separator, longest = self.config["seq_separator"], (self.config["seq_len"] or {}).get(field)
        column = table[field].fillna("")
        table[field] = [convert([value for value in cell.split(separator) if value])[:longest] for cell in column]
        self.field2seqlen[field] = max(map(len, table[field]), default=0)

    def _columns_to_load(self, columns, source):
        """Types of the columns that the configuration asks for by name, in the order of the file.

        The id comes with the other columns of a user or an item, and histories come with pre-split interactions.
        """
        wanted, unwanted = self._get_load_and_unload_col(source)
        if wanted == set():
            return {}
        if wanted and source == FeatureSource.INTERACTION and self.config["benchmark_filename"]:
            wanted = wanted | {field + self.config["LIST_SUFFIX"] for field in wanted}
        if wanted and source in (FeatureSource.USER, FeatureSource.ITEM):
            wanted = wanted | {self.uid_field if source == FeatureSource.USER else self.iid_field}
        kept = {
            field: FeatureType(kind)
            for field, kind in columns.items()
            if (wanted is None or field in wanted) and field not in (unwanted or ())
        }
        if not kept:
            self.logger.warning(f"No columns has been loaded from [{source}]")
        return kept

    def _remap(self, remap_list):
        # RecBole concatenates all columns; their distinct tokens, in the order in which they first come, do as well
        if not remap_list:
            return
        columns = [self._distinct(feat[field], kind) for feat, field, kind in remap_list]
        ids, tokens = pd.factorize(np.concatenate([distinct for _, distinct in columns]))
        names = np.array(["[PAD]", *tokens])
        name_id = {name: number for number, name in enumerate(names)}
        begin = 0
        for (feat, field, kind), (codes, distinct) in zip(remap_list, columns):
            end = begin + len(distinct)
            new_ids = np.append(ids[begin:end] + 1, 0)[codes]  # a missing token's code is -1: it becomes 0, [PAD]
            begin = end
            self.field2id_token.setdefault(field, names)
            self.field2token_id.setdefault(field, name_id)
            if kind == FeatureType.TOKEN_SEQ:
                new_ids = np.split(new_ids, np.cumsum(feat[field].map(len))[:-1])
            feat[field] = new_ids

    @staticmethod
    def _distinct(column, kind):
        """Codes of a column's tokens, and its distinct tokens in the order in which they first come."""
        values = np.concatenate(column.to_list()) if kind == FeatureType.TOKEN_SEQ else column.values
        codes, distinct = pd.factorize(values)
        return codes, np.asarray(distinct, object)
