"""A dataset of some of its users alone, for trials of settings."""

import numpy as np


class UserSample:
    """Mixin before a RecBole dataset class: ``sample_users`` of the users stay, drawn by seed, and the others go.

    They go before every filter, so the rest is as if the file held these users' interactions alone.
    """

    def _data_filtering(self):
        count = self.config["sample_users"]
        if count is not None:
            owner = self.inter_feat[self.uid_field]
            users = np.sort(owner.dropna().unique().astype(str))
            if count < len(users):
                kept = np.random.default_rng([self.config["seed"], count]).choice(users, count, replace=False)
                self.inter_feat = self.inter_feat[owner.isin(kept)]
        super()._data_filtering()
