"""The data of RecBole's general models: plain pairs of users and items, from the split that sequential models have.

A sequential model's row is a target with the history before it. A general model trains on the same interactions as
pairs, each user's first one among them, which is never a target; it is asked for the same targets, row by row.
RecBole's own split for general models would leave two interactions of every user out, where a history needs one more.

Letters: B rows of a batch.
"""

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.sampler import Sampler

from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.atomic_tables import MISSING
from recbole_genrec.interactions.dataset import exact_dataset_class
from recbole_genrec.interactions.histories import LazyInteraction
from recbole_genrec.interactions.interaction_text import interaction_columns
from recbole_genrec.interactions.unseen import items_before


def pairs(dataset, place=None):
    """Interactions as RecBole's plain ``Dataset``.

    Args:
        dataset: a part of a split, with lazy windows.
        place: of the interactions in the store; by default the targets of the rows, in their order.

    Raises:
        GenRecError: the dataset has no whole histories.
    """
    store = _rows(dataset).histories
    place = dataset.inter_feat.place if place is None else place
    plain = object.__new__(exact_dataset_class(Dataset))
    plain.__dict__.update(dataset.__dict__)
    columns = [field for field in dataset.inter_feat.columns if field in store.columns]
    plain.inter_feat = Interaction({field: store.gather(field, place) for field in columns})
    return plain


def rated_pairs(dataset, column, place=None):
    """:func:`pairs` of the interactions whose cell in a column of the file holds a number; RecBole fills others in.

    Args:
        dataset, place: as for :func:`pairs`. column: its name.

    Raises:
        GenRecError: there is none.
    """
    _rows(dataset)
    place = dataset.inter_feat.place if place is None else place
    missing = np.isin(interaction_columns(dataset, [column])[column].astype(str), MISSING)
    if missing[place].all():
        raise GenRecError(f"No interaction to train on, to validate or to test has a value in the column {column!r}.")
    return pairs(dataset, place[~missing[place]])


def training_places(dataset, config):
    """Places in the store of all that a general model trains on, user by user and each user's in order of time.

    They are what the training rows hold, targets or histories: of no user one that stands behind a target of
    validation or test, or is one. Where each user is split alone, a user with a single interaction has no row, and
    that interaction is training data as well.

    Args:
        dataset: the training part of a split. config: RecBole's.

    Raises:
        GenRecError: the dataset has no whole histories.
    """
    feat = _rows(dataset)
    store, users = feat.histories, feat.histories.users
    if config["benchmark_filename"]:
        return np.flatnonzero(dataset.part_of(store.file_row) == 0)
    kept = np.zeros(len(users), bool)
    kept[feat.place] = True
    kept[store.begin(np.unique(users[feat.place]))] = True
    split, group_by = config["eval_args"]["split"], config["eval_args"]["group_by"]
    if "LS" in split or ("RS" in split and group_by == "user"):
        kept |= np.bincount(users)[users] == 1
    return np.flatnonzero(kept)


def _rows(dataset):
    if isinstance(dataset.inter_feat, LazyInteraction):
        return dataset.inter_feat
    raise GenRecError(
        "A general model needs whole histories, of which its pairs are taken: 'lazy_windows: True', no files with "
        "histories of their own ('benchmark_filename'), and beside it models of RecBole's plain sequential dataset."
    )


def training_sampler(dataset, config):
    """RecBole's sampler of negative items: none that the user has in training; ``None`` where a model needs none.

    RecBole draws by popularity of all interactions, those of the test too; here those of training count.

    Args:
        dataset: the :func:`pairs` of training. config: RecBole's.
    """
    asked = config["train_neg_sample_args"]
    if asked["distribution"] == "none":
        return None
    return Sampler(["train"], [dataset], asked["distribution"], asked["alpha"]).set_phase("train")


class TargetLoader(FullSortEvalDataLoader):
    """Ranks the whole catalogue for a general model, once for each target, as for a sequential one.

    RecBole's loader asks once for a user, with all targets of a test together, and always leaves seen items out. This
    one leaves them out with ``repeatable: False`` alone: all of :func:`~.unseen.items_before`, never the target.

    A batch holds ``eval_batch_size`` rows; of a model that scores pairs alone, so many pairs.
    """

    def __init__(self, config, dataset, sampler, shuffle=False):
        _rows(dataset)
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        self.sample_size = len(dataset)
        self._by_pairs = config.model_class.full_sort_predict is AbstractRecommender.full_sort_predict
        AbstractDataLoader.__init__(self, config, dataset, sampler, shuffle=shuffle)

    def _init_batch_size_and_step(self):
        size = self.config["eval_batch_size"]
        self.step = max(size // self._dataset.item_num, 1) if self._by_pairs else size
        self.set_batch_size(self.step)

    def collate_fn(self, index):
        """Users ``[B]`` with their columns, (row, item) of what is left out, and each row's target ``[B]``."""
        index = np.asarray(index)
        rows = self._dataset.inter_feat[index]
        target = rows[self.iid_field]
        interaction = self._dataset.join(Interaction({self.uid_field: rows[self.uid_field]}))
        left_out = None
        if not self.config["repeatable"]:
            owner, _, item = map(torch.from_numpy, items_before(self._dataset, index))
            others = item != target[owner]
            left_out = owner[others], item[others]
        return interaction, left_out, torch.arange(len(index)), target
