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
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

from recbole_genrec.errors import GenRecError


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
            place = by_user[_targets(self.inter_feat[self.uid_field].to_numpy()[by_user])]
        super()._change_feat_format()
        self._place = place

    def sort(self, by, ascending=True):
        """Sort the interactions in place; a sort by time alone follows the exact order across users, too."""
        if self._place is None or by != self.time_field or ascending is not True:
            return super().sort(by, ascending)
        self.inter_feat = _rows(self.inter_feat, torch.from_numpy(np.argsort(self._place)))
        self._place = None

    def __reduce__(self):
        # a class made on demand has no importable name: its pickle names the base class and makes it again
        stock_class = vars(type(self)).get("_stock_class")
        if stock_class is None:
            return copyreg.__newobj__, (type(self),), self.__dict__
        return _new, (stock_class,), self.__dict__


class FlatAugmentation:
    """Mixin: RecBole's ``data_augmentation`` by index arithmetic, the same tensors without a loop over interactions."""

    def data_augmentation(self):
        """Replace every interaction but a user's first by itself and its history of at most L items."""
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        self.sort(by=[self.uid_field, self.time_field])
        feat = self.inter_feat
        users = feat[self.uid_field].numpy()
        targets = _targets(users)
        starts = np.maximum(np.searchsorted(users, users[targets]), targets - self.max_item_list_len)
        lengths = torch.from_numpy(targets - starts)
        steps = torch.arange(self.max_item_list_len)
        padding = steps >= lengths[:, None]  # [N', L]
        window = (torch.from_numpy(starts)[:, None] + steps).masked_fill_(padding, 0)  # [N', L]
        augmented = _rows(feat, torch.from_numpy(targets)).interaction
        augmented[self.item_list_length_field] = lengths
        for field in feat.columns:
            if field != self.uid_field:
                history = feat[field][window]  # [N', L, ...]
                history[padding] = 0
                augmented[getattr(self, f"{field}_list_field")] = history
        self.inter_feat = Interaction(augmented)


def _targets(users):
    """Rows that have an earlier row of the same user, where ``users`` [N] is grouped by user."""
    return np.flatnonzero(users[1:] == users[:-1]) + 1


def _rows(interaction, index):
    # Interaction's own indexing turns the index into a list first
    return Interaction({field: interaction[field][index] for field in interaction.columns})


def exact_dataset_class(base=SequentialDataset):
    """The subclass of a RecBole dataset class in which timestamps are ordered exactly and stably.

    Where ``base`` uses ``SequentialDataset``'s data augmentation, it is replaced by a vectorised one.

    Args:
        base: a RecBole dataset class; an exact one is returned as it is.

    Returns:
        The class, the same one at every call; its instances can be pickled and copied.
    """
    return base if issubclass(base, ExactOrder) else _exact(base)


@cache
def _exact(base):
    mixins = (ExactOrder,)
    if getattr(base, "data_augmentation", None) is SequentialDataset.data_augmentation:
        mixins += (FlatAugmentation,)
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


def _no_histories():
    return GenRecError(
        "Training on whole histories needs a training split that holds every user's interactions one after the other "
        "from the first on; this one does not (the files of 'benchmark_filename' need not)."
    )
