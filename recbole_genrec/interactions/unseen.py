"""Ranking among the items that the user has not interacted with (``repeatable: False``).

RecBole masks the others for general models and refuses to for sequential ones. Where users do not come back to an item,
as in MovieLens, a list that holds seen items wastes ranks; published tables mostly leave them out.

Letters: B rows of a batch, S the most items that one of them has seen.
"""

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader

from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.histories import LazyInteraction
from recbole_genrec.interactions.segments import ragged

#: column of a batch: the items that each row's user had before, its own target left out, padded with 0 ``[B, S]``.
SEEN = "seen_items"


def items_before(dataset, index):
    """All that users had before the targets of some rows, further back than a model's history reaches, too.

    Args:
        dataset: a part of a split.
        index: of the rows ``[B]``.

    Returns:
        Arrays: the row that an item stands before, its number in the user's history, and the item ``[N]``.

    Raises:
        GenRecError: the dataset has no whole histories.
    """
    feat = dataset.inter_feat
    if not isinstance(feat, LazyInteraction):
        raise GenRecError(
            "'repeatable: False' needs whole histories: 'lazy_windows: True', no files with histories of their own "
            "('benchmark_filename'), and models of RecBole's plain sequential dataset."
        )
    store, place = feat.histories, feat.place[index]
    begin = store.begin(store.users[place])
    owner, order = ragged(place - begin)
    return owner, order, store.columns[dataset.iid_field].numpy()[begin[owner] + order]


class UnseenLoader(FullSortEvalDataLoader):
    """RecBole's loader for ranking the whole catalogue, which tells what to leave out of the ranking.

    That is all of :func:`items_before`, but never the target itself, to which a user may come back. RecBole's trainer
    masks these items; a model that searches for the best K finds them in the batch's column :data:`SEEN`.

    Raises:
        GenRecError: the dataset has no whole histories.
    """

    def __init__(self, config, dataset, sampler, shuffle=False):
        super().__init__(config, dataset, sampler, shuffle)
        items_before(dataset, np.zeros(0, np.int64))  # refuses other datasets before anything trains

    def collate_fn(self, index):
        """RecBole's batch, with :data:`SEEN` and with (row, item) of what is left out."""
        interaction, _, row, target = super().collate_fn(index)
        owner, order, item = map(torch.from_numpy, items_before(self._dataset, np.asarray(index)))
        left_out = item != target[owner]
        seen = torch.zeros(len(index), int(order.max()) + 1, dtype=item.dtype)
        seen[owner[left_out], order[left_out]] = item[left_out]
        interaction.interaction[SEEN] = seen
        return interaction, (owner[left_out], item[left_out]), row, target


def add_items_before(sampler, dataset):
    """Have RecBole's sampler of candidates draw nothing of :func:`items_before`.

    It counts targets as used: a user's first item, which is never one, could be drawn.

    Args:
        sampler: of one phase.
        dataset: the part of the split of that phase.

    Raises:
        GenRecError: a user has nothing left to draw, or the dataset has no whole histories.
    """
    owner, _, items = items_before(dataset, np.arange(len(dataset)))
    users = dataset.inter_feat[dataset.uid_field].numpy()
    used = sampler.used_ids.copy()
    for user, item in np.unique(np.stack([users[owner], items], 1), axis=0).tolist():
        used[user] = used[user] | {item}
    drawn = set(sampler.prob) if sampler.distribution == "popularity" else set(range(1, dataset.item_num))
    for user in np.unique(users).tolist():
        if drawn <= used[user]:
            raise GenRecError(
                f"'repeatable: False': the user {str(dataset.id2token(dataset.uid_field, user))!r} has interacted with "
                "every item that 'mode' draws candidates from. Leave such users out by 'user_inter_num_interval', or "
                "take 'mode: full'."
            )
    sampler.used_ids = used
