"""Cold items: a share of the catalogue that training never meets, and the rows that ask for it.

Interactions with cold items are taken out before the split: histories, targets and what indexing learns from are those
of a world without them, in training, validation and test alike. The catalogue keeps the items.
"""

import copy

import numpy as np

from recbole_genrec.errors import GenRecError


class ColdItems:
    """Mixin before a RecBole dataset class: ``cold_items`` of the items with interactions are held out, drawn by seed.

    A user is asked for the last cold item that has a warm one before it, after the warm items before it.
    """

    #: ids of the cold items, sorted.
    cold_items = np.zeros(0, np.int64)
    #: the rows that ask for them, a dataset like the parts of the split; ``None`` without cold items.
    cold_part = None

    def build(self):
        """RecBole's ``build`` of the interactions with warm items."""
        share = self.config["cold_items"]
        if not share:
            return super().build()
        table = self.inter_feat  # in the exact order of time
        items = np.unique(table[self.iid_field])
        count = max(1, round(share * len(items)))
        cold = np.sort(np.random.default_rng([self.config["seed"], count]).choice(items, count, replace=False))
        is_cold = np.isin(table[self.iid_field], cold)
        part = self._ask(table, is_cold)
        self.inter_feat = table[~is_cold]
        self.cold_items = cold  # of the parts, too: a model's loss leaves them out
        parts = super().build()
        self.cold_part = part
        return parts

    def _ask(self, table, is_cold):
        """The part of the users' last cold interactions, each with the warm ones before it."""
        users = table[self.uid_field].to_numpy()
        asked = np.full(users.max() + 1, -1)
        asked[users[is_cold]] = np.flatnonzero(is_cold)  # the last one of a user stays
        row = np.arange(len(users))
        kept = (row == asked[users]) | (~is_cold & (row < asked[users]))
        part = copy.copy(self)
        part.inter_feat = table[kept]
        part._change_feat_format()
        part._order = None
        part._drop_unused_col()
        users = part.inter_feat[self.uid_field].numpy()  # user by user, and in each one the cold item last
        part.inter_feat = part.inter_feat[np.flatnonzero(np.append(users[1:] != users[:-1], True)[: len(users)])]
        if not len(part.inter_feat):
            raise GenRecError("'cold_items': no user has a cold item after a warm one. Raise the share.")
        return part
