"""Ranking among the items that a user has not had (``repeatable: False``).

RecBole masks them for general models and refuses to for sequential ones. Where users do not come back to an item, as in
MovieLens, a list that holds seen items wastes places; published tables mostly leave them out.

Letters: B rows of a batch, S the most items that one of them has seen.
"""

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader

from recbole_genrec.data.histories import LazyInteraction
from recbole_genrec.data.packing import ragged
from recbole_genrec.errors import GenRecError

#: column of a batch: the items that each row's user had before, its own target left out, padded with 0 ``[B, S]``.
SEEN = "seen_items"


class UnseenLoader(FullSortEvalDataLoader):
    """RecBole's loader for ranking the whole catalogue, which tells what to leave out of the ranking.

    That is all that the user had before the target, further back than a model's history reaches, too; but never the
    target itself, to which a user may come back. RecBole's trainer masks these items; a model that searches for the
    best K finds them in the batch's column :data:`SEEN`.

    Raises:
        GenRecError: the dataset has no whole histories.
    """

    def __init__(self, config, dataset, sampler, shuffle=False):
        super().__init__(config, dataset, sampler, shuffle)
        if not isinstance(dataset.inter_feat, LazyInteraction):
            raise GenRecError(
                "'repeatable: False' needs whole histories: 'lazy_windows: True', no 'benchmark_filename', and models "
                "of RecBole's plain sequential dataset."
            )

    def collate_fn(self, index):
        """RecBole's batch, with :data:`SEEN` and with (row, item) of what is left out."""
        interaction, _, row, target = super().collate_fn(index)
        feat, index = self._dataset.inter_feat, np.asarray(index)
        store, place = feat.histories, feat.place[index]
        begin = store.begin(store.users[place])
        owner, order = ragged(place - begin)
        item = store.columns[self.iid_field][torch.from_numpy(begin[owner] + order)]
        owner, order = torch.from_numpy(owner), torch.from_numpy(order)
        left_out = item != target[owner]
        seen = torch.zeros(len(index), int((place - begin).max()), dtype=item.dtype)
        seen[owner[left_out], order[left_out]] = item[left_out]
        interaction.interaction[SEEN] = seen
        return interaction, (owner[left_out], item[left_out]), row, target
