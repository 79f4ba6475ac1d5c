"""SASRec trained at all positions of a history at once: the baseline at full strength, at a fraction of its cost.

Reference: Wang-Cheng Kang and Julian McAuley. "Self-Attentive Sequential Recommendation", ICDM 2018, section 3.5, whose
network learns the next item at every position of the input; with cross-entropy over the whole catalogue, as Aleksandr
Petrov and Craig Macdonald ("gSASRec", RecSys 2023) and Anton Klenitskiy and Alexey Vasilev ("Turning Dross Into Gold
Loss", RecSys 2023) found to be strongest.

The network is RecBole's SASRec: their state dicts are interchangeable. RecBole trains with one row for each target, and
so one forward of the whole history for each; here one forward of a history serves all its targets.
"""

import torch
from recbole.model.sequential_recommender.sasrec import SASRec

from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.windows import WindowLoader
from recbole_genrec.errors import GenRecError
from recbole_genrec.model.catalogue_loss import catalogue_cross_entropy


class SASRecAll(SASRec):
    """RecBole's SASRec with a loss over all positions; see the module's header.

    Raises:
        GenRecError: ``loss_type`` is not ``CE``.
    """

    def __init__(self, config, dataset):
        self.check_settings(config)
        super().__init__(config, dataset)

    @classmethod
    def check_settings(cls, config):
        """Refuse, before anything is built or trained, another loss."""
        if config["loss_type"] != "CE":
            raise GenRecError(f"SASRecAll takes 'loss_type: CE', not {config['loss_type']!r}.")

    def training_loader(self, config, train_dataset):
        """:class:`~recbole_genrec.batches.windows.WindowLoader` over the training part of the split."""
        settings = EpochSettings(config["seed"], config["train_batch_size"])
        return WindowLoader(train_dataset, self.max_seq_length, settings)

    def loss_weight(self, interaction):
        """Number of terms in the mean loss of a batch: its new targets."""
        return interaction["new_targets"].sum() if "new_targets" in interaction else len(interaction)

    def states(self, item_seq):
        """Hidden state at every position ``[B, L, H]`` of histories ``[B, L]``, right-padded with 0."""
        position = torch.arange(item_seq.shape[1], device=item_seq.device)
        embedded = self.item_embedding(item_seq) + self.position_embedding(position)
        mask = self.get_attention_mask(item_seq)
        return self.trm_encoder(self.dropout(self.LayerNorm(embedded)), mask, output_all_encoded_layers=False)[-1]

    def calculate_loss(self, interaction):
        """Mean cross-entropy of the next item over the positions whose target is new.

        Args:
            interaction: batch of :class:`~recbole_genrec.batches.windows.WindowLoader`, or RecBole's, where every row's
                last target alone is new.

        Returns:
            A scalar.
        """
        item_seq, length = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        row = torch.arange(len(item_seq), device=item_seq.device)
        target = torch.cat([item_seq[:, 1:], item_seq.new_zeros(len(item_seq), 1)], 1)
        target[row, length - 1] = interaction[self.POS_ITEM_ID]
        new = interaction["new_targets"] if "new_targets" in interaction else torch.ones_like(length)
        position = torch.arange(item_seq.shape[1], device=item_seq.device)
        counted = (position >= (length - new)[:, None]) & (position < length[:, None])
        return catalogue_cross_entropy(self.states(item_seq)[counted], self.item_embedding.weight, target[counted])
