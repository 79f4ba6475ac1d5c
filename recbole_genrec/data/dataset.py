"""RecBole datasets whose interactions stand in the exact order of time.

RecBole turns timestamps into float32 before it sorts by them (``recbole/data/dataset/dataset.py:2207``), which
rounds unix seconds to steps of 64 to 128: on ml-100k the test target of 149 of 943 users is then wrong
(of 4, with ``normalize_all``).

Letters: N interactions, U users, L the longest history (``MAX_ITEM_LIST_LENGTH``).
"""

import copyreg
import csv
from functools import cache
from itertools import islice

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import SequentialDataset
from recbole.utils import FeatureSource, FeatureType

from recbole_genrec.data.cold import ColdItems
from recbole_genrec.data.histories import Histories, LazyInteraction, with_history
from recbole_genrec.errors import GenRecError, shown

#: words that stand for a missing value, as pandas has them.
MISSING = ("", "NA", "N/A", "<NA>", "n/a", "#N/A", "#NA", "NaN", "nan", "-NaN", "-nan", "None", "NULL", "null")


class ExactOrder:
    """Mixin before a RecBole dataset class: rows are sorted once, stably, on the float64 timestamps of the file.

    Whatever happens to the timestamps afterwards cannot change that order. Normalisation subtracts a constant and
    divides by a positive one, and float32 rounds; each step is correctly rounded, hence monotone: it may create ties,
    but never swap two rows. RecBole's later sorts are stable, so they leave ties as they stand. Interactions of the
    same time stay in the order of the file. Pre-split datasets (``benchmark_filename``) keep the order of their files.
    """

    #: place of every row in the exact order, while the rows stand in another one (user by user, after augmentation).
    _place = None

    def _remove_duplication(self):
        # RecBole sorts with an unstable algorithm here; without ties there is nothing to get wrong
        if self.config["rm_dup_inter"] is None or self.time_field not in self.inter_feat:
            return super()._remove_duplication()
        times = self.inter_feat[self.time_field]
        ranks = np.empty(len(times))
        ranks[np.argsort(times.to_numpy(), kind="stable")] = np.arange(len(times))
        self.inter_feat[self.time_field] = ranks
        super()._remove_duplication()
        self.inter_feat[self.time_field] = times.loc[self.inter_feat.index]

    def _fill_nan(self):
        # the last step before timestamps may be changed (normalisation, discretisation)
        super()._fill_nan()
        if self.benchmark_filename_list is None and self._is_ordered_by_time():
            self.inter_feat.sort_values(self.time_field, kind="stable", ignore_index=True, inplace=True)

    def _is_ordered_by_time(self):
        if self.time_field in self.inter_feat:
            if self.field2type[self.time_field] != FeatureType.FLOAT:
                raise GenRecError(
                    f"The timestamp column {self.time_field!r} of {self.dataset_name}.inter must be of type 'float', "
                    f"not {self.field2type[self.time_field].value!r}."
                )
            return True
        if isinstance(self, SequentialDataset):
            raise GenRecError(
                f"A sequential model needs the timestamp column {self.time_field!r} of {self.dataset_name}.inter: "
                "name it under 'inter' in 'load_col' (and in 'TIME_FIELD')."
            )
        return False

    def _change_feat_format(self):
        place = None
        if isinstance(self, SequentialDataset) and self.benchmark_filename_list is None:
            by_user = np.argsort(self.inter_feat[self.uid_field].to_numpy(), kind="stable")
            place = by_user[with_history(self.inter_feat[self.uid_field].to_numpy()[by_user])]
        super()._change_feat_format()
        self._place = place

    def sort(self, by, ascending=True):
        """Sort the interactions in place; a sort by time alone follows the exact order across users, too."""
        if self._place is None or by != self.time_field or ascending is not True:
            return super().sort(by, ascending)
        self.inter_feat._reindex(np.argsort(self._place))
        self._place = None

    def __reduce__(self):
        # a class made on demand has no importable name: its pickle names the base class and makes it again
        stock_class = vars(type(self)).get("_stock_class")
        if stock_class is None:
            return copyreg.__newobj__, (type(self),), self.__dict__
        return _new, (stock_class,), self.__dict__


class CompactTables:
    """Mixin: interactions are read by pandas' C parser, their tokens as categories.

    RecBole reads every table with pandas' Python parser (``dataset.py:483``): for a million rows of three columns that
    takes seven times as long and 330 MB instead of 35.
    """

    def _load_feat(self, filepath, source):
        table = self._read_table(filepath, source)
        if table is not None:
            self._check_table(filepath, table)
        return table

    def _read_table(self, filepath, source):
        _check_bytes(filepath)
        columns = self._columns_to_load(filepath, source) if source == FeatureSource.INTERACTION else {}
        if not columns or any(kind.value.endswith("seq") for kind in columns.values()):
            return super()._load_feat(filepath, source)
        types = {}
        for cell, kind in columns.items():
            field = cell.split(":")[0]
            self.field2source[field], self.field2type[field], self.field2seqlen[field] = source, kind, 1
            if kind == FeatureType.FLOAT:
                self.field2bucketnum[field] = 2
            types[cell] = np.float64 if kind == FeatureType.FLOAT else "category"
        table = pd.read_csv(
            filepath,
            delimiter=self.config["field_separator"],
            usecols=list(columns),
            dtype=types,
            encoding=self.config["encoding"],
            quoting=csv.QUOTE_NONE,  # a cell that begins with a quote would swallow the rows up to the next one
            float_precision="round_trip",
            keep_default_na=False,  # a user or an item may be called "NA"
            na_values={
                cell: [""] if cell.split(":")[0] in (self.uid_field, self.iid_field) else MISSING for cell in columns
            },
        )
        return table.rename(columns={cell: cell.split(":")[0] for cell in columns})

    def _check_table(self, filepath, table):
        """Refuse a table that lacks rows of its file, or a user, an item or a time in one of them.

        RecBole would leave such rows out with a line in the log (``dataset.py:817``), but puts the mean for a time.
        """
        encoding = self.config["encoding"]
        if any(kind in (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ) for kind in map(self.field2type.get, table)):
            rows = sum(1 for _ in _rows(filepath, encoding))
            if rows != len(table):
                raise GenRecError(
                    f"{filepath}: of {rows} rows RecBole's reader finds {len(table)}. To it a cell that begins with a "
                    "quote reaches to the next quote, over rows too: leave columns of text out of 'load_col'."
                )
        for field in (self.uid_field, self.iid_field, self.time_field):
            if field not in table:
                continue
            missing = table[field].isna()
            if field == self.time_field and self.field2type[field] == FeatureType.FLOAT:
                missing |= ~np.isfinite(table[field])
            if missing.any():
                line, text = next(islice(_rows(filepath, encoding), int(missing.argmax()), None))
                raise GenRecError(
                    f"{filepath}, line {line}: the row {shown(text)} has no value in column {field!r} that can be read."
                )

    def _columns_to_load(self, filepath, source):
        """The cells of the header whose columns the configuration asks for, with their types, in file order."""
        wanted, unwanted = self._get_load_and_unload_col(source)
        with open(filepath, encoding=self.config["encoding"]) as file:
            cells = file.readline().rstrip("\n").split(self.config["field_separator"])
        columns = {cell: FeatureType(cell.split(":")[1]) for cell in cells}
        return {
            cell: kind
            for cell, kind in columns.items()
            if (wanted is None or cell.split(":")[0] in wanted) and cell.split(":")[0] not in (unwanted or ())
        }

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


class LazyWindows:
    """Mixin: the rows of RecBole's ``data_augmentation``, their histories gathered when a batch is made.

    Batch for batch the same tensors, without a loop over interactions; see :mod:`recbole_genrec.data.histories`.
    ``lazy_windows: False`` has RecBole write them out.
    """

    def data_augmentation(self):
        """Replace every interaction but a user's first by itself and its history of at most L items."""
        if self.config["lazy_windows"] is False:
            return super().data_augmentation()
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        feat = self.inter_feat  # in the exact order of time
        by_user = torch.from_numpy(np.argsort(feat[self.uid_field].numpy(), kind="stable"))
        columns = {}
        for field in feat.columns:
            columns[field] = feat[field][by_user]
            del feat[field]  # two copies of all columns are not needed at once
        histories = Histories(
            columns,
            columns[self.uid_field],
            self.max_item_list_len,
            {field: getattr(self, f"{field}_list_field") for field in columns if field != self.uid_field},
            self.item_list_length_field,
        )
        self.inter_feat = LazyInteraction(histories, with_history(histories.users))

    def __getitem__(self, index, join=True):
        rows = self.inter_feat[index]
        if isinstance(rows, LazyInteraction):
            rows = rows.gather()
        return self.join(rows) if join else rows

    def _grouped_index(self, group_by_list):
        # the groups in the order in which they first come, as RecBole's loop gives them
        order = np.argsort(group_by_list, kind="stable")
        begins = np.flatnonzero(np.diff(group_by_list[order])) + 1
        groups = np.split(order, begins) if len(order) else []
        return sorted(groups, key=lambda group: group[0])

    def _split_index_by_leave_one_out(self, grouped_index, leave_one_num):
        sizes = np.fromiter(map(len, grouped_index), np.int64, len(grouped_index))
        left_out = np.minimum(leave_one_num, sizes - 1)[:, None]
        parts = np.arange(leave_one_num + 1)
        counts = np.where(parts == 0, sizes[:, None] - left_out, parts > leave_one_num - left_out)
        return _deal(grouped_index, counts)

    def split_by_ratio(self, ratios, group_by=None):
        """Split the rows by ratios, within each group of equal ``group_by``; see RecBole's method."""
        if group_by is None:
            return super().split_by_ratio(ratios)
        shares = [ratio / sum(ratios) for ratio in ratios]
        groups = self._grouped_index(self.inter_feat[group_by].numpy())
        ends = {size: self._calcu_split_ids(size, shares) for size in set(map(len, groups))}
        counts = np.array([np.diff([0, *ends[len(group)], len(group)]) for group in groups])
        self._drop_unused_col()
        return [self.copy(self.inter_feat[index]) for index in _deal(groups, counts)]


def _check_bytes(filepath):
    """Refuse a file with a NUL, at which pandas ends a cell: two ids that part behind it would be one.

    UTF-16 and UTF-32 are full of them, so that a file in either needs to become UTF-8.
    """
    line = 1
    with open(filepath, "rb") as file:
        while block := file.read(1 << 20):
            place = block.find(b"\0")
            if place >= 0:
                line += block.count(b"\n", 0, place)
                raise GenRecError(f"{filepath}, line {line}: the file holds a NUL byte; it must be text in UTF-8.")
            line += block.count(b"\n")


def _rows(filepath, encoding):
    """Numbers and texts of the lines that are rows; empty lines are none."""
    with open(filepath, encoding=encoding) as file:
        next(file)
        yield from ((number, line.rstrip("\r\n")) for number, line in enumerate(file, 2) if line.strip("\r\n"))


def _deal(groups, counts):
    """Deal the members of each group out to parts, in order: ``counts [G, P]`` says how many to each part."""
    members = np.concatenate(groups)
    part = np.repeat(np.tile(np.arange(counts.shape[1]), len(groups)), counts.ravel())
    return [members[part == number] for number in range(counts.shape[1])]


def exact_dataset_class(base=SequentialDataset):
    """The subclass of a RecBole dataset class in which timestamps are ordered exactly and stably.

    Where ``base`` uses ``SequentialDataset``'s data augmentation, its windows are lazy.

    Args:
        base: a RecBole dataset class; an exact one is returned as it is.

    Returns:
        The class, the same one at every call; its instances can be pickled and copied.
    """
    return base if issubclass(base, ExactOrder) else _exact(base)


@cache
def _exact(base):
    mixins = (ExactOrder, CompactTables, ColdItems)
    if getattr(base, "data_augmentation", None) is SequentialDataset.data_augmentation:
        mixins += (LazyWindows,)
    name = "GenRecDataset" if base is SequentialDataset else f"Exact{base.__name__}"
    return type(name, (*mixins, base), {"__module__": __name__, "__doc__": base.__doc__, "_stock_class": base})


def _new(stock_class):
    exact = _exact(stock_class)
    return exact.__new__(exact)


#: the dataset class of the plugin's own models.
GenRecDataset = exact_dataset_class(SequentialDataset)


def train_sequences(dataset):
    """Recover every user's training items in order from the augmented rows of a training split.

    Args:
        dataset: the training part that RecBole's ``build`` returned for a sequential dataset.

    Returns:
        Arrays of int64: user ids [U], all items of all users one after the other [N], offsets [U + 1]; user number u
        has items ``offsets[u]`` to ``offsets[u + 1]``. The item that is only ever history, a user's first, is included.

    Raises:
        GenRecError: the rows are not the beginnings of the users' histories, as with ``benchmark_filename``.
    """
    feat = dataset.inter_feat
    if isinstance(feat, LazyInteraction):
        return _stored_sequences(feat, dataset.iid_field)
    needed = (dataset.item_list_length_field, dataset.iid_field + dataset.config["LIST_SUFFIX"])
    if any(field not in feat for field in needed):
        raise _no_histories()
    order = np.argsort(feat[dataset.uid_field].numpy(), kind="stable")
    users, targets, lengths = (
        feat[field].numpy()[order] for field in (dataset.uid_field, dataset.iid_field, needed[0])
    )
    histories = feat[needed[1]].numpy()
    previous = histories[order, lengths - 1]  # the item right before the target
    first = np.flatnonzero(np.r_[True, users[1:] != users[:-1]][: len(users)])  # each user's first row
    rows = np.diff(np.r_[first, len(users)])
    step = np.arange(len(users)) - np.repeat(first, rows)
    follows = step > 0
    follows_on = np.array_equal(previous[follows], targets[np.flatnonzero(follows) - 1])
    if not follows_on or not np.array_equal(lengths, np.minimum(step + 1, dataset.max_item_list_len)):
        raise _no_histories()
    items = np.insert(targets, first, previous[first])
    return users[first], items, np.r_[0, np.cumsum(rows + 1)]


def _stored_sequences(feat, item_field):
    """``train_sequences`` of lazy rows: the beginnings of the users' interactions as they stand in the store."""
    place, store = np.sort(feat.place), feat.histories
    users = store.users[place]
    first = np.flatnonzero(np.append(True, users[1:] != users[:-1])[: len(users)])
    rows = np.diff(np.append(first, len(users)))
    begin = place[first] - 1
    expected = np.arange(len(place)) - np.repeat(first - place[first], rows)
    if not np.array_equal(place, expected) or not np.array_equal(begin, store.begin(users[first])):
        raise _no_histories()
    taken = np.insert(place, first, begin)
    items = store.columns[item_field].numpy()[taken]
    return users[first], items, np.append(0, np.cumsum(rows + 1))


def _no_histories():
    return GenRecError(
        "Training on whole histories needs a training split that holds every user's interactions one after the other "
        "from the first on; this one does not (the files of 'benchmark_filename' need not)."
    )
