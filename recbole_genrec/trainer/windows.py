"""The trainer of SASRecAll."""

from recbole.trainer import Trainer


class SASRecAllTrainer(Trainer):
    """RecBole's trainer; the windows of an epoch follow from its number."""

    def _train_epoch(self, train_data, epoch_idx, *args, **kwargs):
        if hasattr(train_data, "set_epoch"):  # RecBole's own loader has none
            train_data.set_epoch(epoch_idx)
        return super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
