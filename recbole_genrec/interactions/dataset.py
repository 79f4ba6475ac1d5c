"""RecBole datasets whose interactions stand in the exact order of time.

RecBole turns timestamps into float32 before it sorts by them (``recbole/data/dataset/dataset.py:2207``), which
rounds unix seconds to steps of 64 to 128: on ml-100k the test target of 149 of 943 users is then wrong
(of 4, with ``normalize_all``).

Letters: N interactions, U users, L the longest history (``MAX_ITEM_LIST_LENGTH``).
"""

import copyreg
from functools import cache

import numpy as np
import torch
from recbole.data.dataset import SequentialDataset
from recbole.utils import FeatureType

from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.atomic_tables import KEPT_TEXTS, AtomicTables
from recbole_genrec.interactions.cold_items import ColdItems
from recbole_genrec.interactions.context_columns import ContextColumns
from recbole_genrec.interactions.histories import Histories, LazyInteraction, with_history
from recbole_genrec.interactions.item_rows import UnseenItems
from recbole_genrec.interactions.presplit import PreSplit
from recbole_genrec.interactions.segments import ragged
from recbole_genrec.interactions.user_sample import UserSample


class ExactOrder(PreSplit):
    """Mixin before a RecBole dataset class: rows are sorted once, stably, on the float64 timestamps of the file.

    Whatever happens to the timestamps afterwards cannot change that order. Normalisation subtracts a constant and
    divides by a positive one, and float32 rounds; each step is correctly rounded, hence monotone: it may create ties,
    but never swap two rows. RecBole's later sorts are stable, so they leave ties as they stand. Interactions of the
    same time stay in the order of the file. Pre-split files (``benchmark_filename``) come one after the other, each in
    the order of time.
    """

    #: number of every row in the exact order, while the rows stand in another one (user by user, after augmentation).
    _order = None
    #: for every interaction in the exact order, its row in the file, from 0 ``[N]``; files split beforehand count on.
    _file_row = None

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

    def _reset_index(self):
        # RecBole numbers the rows that its filters left; their row in the file would be lost
        row = self.inter_feat.index
        super()._reset_index()
        self.inter_feat.index = row

    def _fill_nan(self):
        # the last step before timestamps may be changed (normalisation, discretisation)
        super()._fill_nan()
        if (self.has_lists() and self.time_field not in self.inter_feat) or not self._is_ordered_by_time():
            return
        if self.benchmark_filename_list is None:
            self.inter_feat.sort_values(self.time_field, kind="stable", inplace=True)
        else:
            times = self.inter_feat[self.time_field].to_numpy()
            self.inter_feat = self.inter_feat.iloc[np.lexsort((times, self.part_of(self.inter_feat.index)))]

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
                f"The split by time needs the timestamp column {self.time_field!r} of {self.dataset_name}.inter: "
                "name it under 'inter' in 'load_col' (and in 'TIME_FIELD')."
            )
        return False

    def _change_feat_format(self):
        order = None
        if isinstance(self, SequentialDataset) and self.benchmark_filename_list is None:
            by_user = np.argsort(self.inter_feat[self.uid_field].to_numpy(), kind="stable")
            order = by_user[with_history(self.inter_feat[self.uid_field].to_numpy()[by_user])]
        row = self.inter_feat.index.to_numpy()
        self._file_row = row.astype(np.int32 if row.max(initial=0) < 2**31 else np.int64)
        super()._change_feat_format()
        self._order = order

    def sort(self, by, ascending=True):
        """Sort the interactions in place; a sort by time alone follows the exact order across users, too."""
        if self._order is None or by != self.time_field or ascending is not True:
            return super().sort(by, ascending)
        self.inter_feat._reindex(np.argsort(self._order))
        self._order = None

    def __copy__(self):  # the parts of a split share the texts, which a pickle leaves out
        again = object.__new__(type(self))
        again.__dict__.update(self.__dict__)
        return again

    def __reduce__(self):
        # a class made on demand has no importable name: its pickle names the base class and makes it again
        state = {name: value for name, value in self.__dict__.items() if name not in KEPT_TEXTS}
        stock_class = vars(type(self)).get("_stock_class")
        if stock_class is None:
            return copyreg.__newobj__, (type(self),), state
        return _new, (stock_class,), state


class LazyWindows:
    """Mixin: the rows of RecBole's ``data_augmentation``, their histories gathered when a batch is made.

    Batch for batch the same tensors, without a loop over interactions; see
    :mod:`recbole_genrec.interactions.histories`. ``lazy_windows: False`` has RecBole write them out.
    """

    def data_augmentation(self):
        """Replace every interaction but a user's first by itself and its history of at most L items."""
        if self.config["lazy_windows"] is False:
            return super().data_augmentation()
        self.make_windows()

    def make_windows(self):
        """Make the rows of :meth:`data_augmentation`, whose histories are gathered when a batch asks for them."""
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
            self._file_row[by_user.numpy()],
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
        fractions = [ratio / sum(ratios) for ratio in ratios]
        groups = self._grouped_index(self.inter_feat[group_by].numpy())
        ends = {size: self._calcu_split_ids(size, fractions) for size in set(map(len, groups))}
        counts = np.array([np.diff([0, *ends[len(group)], len(group)]) for group in groups])
        self._drop_unused_col()
        return [self.copy(self.inter_feat[index]) for index in _deal(groups, counts)]


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
    mixins = (ExactOrder, UserSample, UnseenItems, ContextColumns, AtomicTables, ColdItems)
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
    users, offsets, column = _sequences(dataset)
    return users, column(dataset.iid_field), offsets


def train_columns(dataset, fields):
    """Other columns of the interactions of :func:`train_sequences`.

    Args:
        dataset: the training part that RecBole's ``build`` returned for a sequential dataset.
        fields: names of columns of its interactions.

    Returns:
        By field, an array aligned with the items of :func:`train_sequences` ``[N]``, of the column's own type.

    Raises:
        GenRecError: as :func:`train_sequences`.
    """
    _, _, column = _sequences(dataset)
    return {field: column(field) for field in fields}


def _sequences(dataset):
    """Users, offsets, and a function that gives a column ``[N]`` by its name; see :func:`train_sequences`."""
    feat = dataset.inter_feat
    if isinstance(feat, LazyInteraction):
        return _stored_sequences(feat)
    suffix = dataset.config["LIST_SUFFIX"]
    needed = (dataset.item_list_length_field, dataset.iid_field + suffix)
    if any(field not in feat for field in needed):
        raise _no_histories()
    order = np.argsort(feat[dataset.uid_field].numpy(), kind="stable")
    users, targets, lengths = (
        feat[field].numpy()[order] for field in (dataset.uid_field, dataset.iid_field, needed[0])
    )
    previous = feat[needed[1]].numpy()[order, lengths - 1]  # the item right before the target
    first = np.flatnonzero(np.r_[True, users[1:] != users[:-1]][: len(users)])  # each user's first row
    rows = np.diff(np.r_[first, len(users)])
    step = np.arange(len(users)) - np.repeat(first, rows)
    follows = step > 0
    follows_on = np.array_equal(previous[follows], targets[np.flatnonzero(follows) - 1])
    if not follows_on or not np.array_equal(lengths, np.minimum(step + 1, dataset.max_item_list_len)):
        raise _no_histories()

    def column(field):
        histories = feat[field + suffix].numpy()
        return np.insert(feat[field].numpy()[order], first, histories[order[first], lengths[first] - 1])

    return users[first], np.r_[0, np.cumsum(rows + 1)], column


def seen_items(dataset):
    """Which items a training part holds, as targets or in histories.

    Args:
        dataset: a part of a split.

    Returns:
        Booleans by item id ``[n_items]``; false for padding.
    """
    feat, seen = dataset.inter_feat, np.zeros(dataset.item_num, bool)
    if isinstance(feat, LazyInteraction):
        store, place = feat.histories, feat.place
        last = np.full(store.users.max(initial=0) + 1, -1)  # place of each user's last target
        np.maximum.at(last, store.users[place], place)
        users = np.flatnonzero(last >= 0)
        begin = store.begin(users)
        owner, order = ragged(last[users] - begin + 1)
        seen[store.columns[dataset.iid_field].numpy()[begin[owner] + order]] = True
    else:
        for field in (dataset.iid_field, dataset.iid_field + dataset.config["LIST_SUFFIX"]):
            if field in feat:
                seen[feat[field].numpy()] = True
    seen[0] = False
    return seen


def _stored_sequences(feat):
    """:func:`_sequences` of lazy rows: the beginnings of the users' interactions as they stand in the store."""
    place, store = np.sort(feat.place), feat.histories
    users = store.users[place]
    first = np.flatnonzero(np.append(True, users[1:] != users[:-1])[: len(users)])
    rows = np.diff(np.append(first, len(users)))
    begin = place[first] - 1
    expected = np.arange(len(place)) - np.repeat(first - place[first], rows)
    if not np.array_equal(place, expected) or not np.array_equal(begin, store.begin(users[first])):
        raise _no_histories()
    taken = np.insert(place, first, begin)
    return users[first], np.append(0, np.cumsum(rows + 1)), lambda field: store.columns[field].numpy()[taken]


def _no_histories():
    return GenRecError(
        "Training on whole histories needs a training split that holds every user's interactions one after the other "
        "from the first on; this one does not (files of 'benchmark_filename' that hold histories need not; with "
        "'packing: False' GenRec trains on any)."
    )
