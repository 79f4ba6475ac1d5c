"""SASRec trained at all positions of a history at once: the baseline at full strength, at a fraction of its cost.

Reference: Wang-Cheng Kang and Julian McAuley. "Self-Attentive Sequential Recommendation", ICDM 2018, section 3.5, whose
network learns the next item at every position of the input; with cross-entropy over the whole catalogue, as Aleksandr
Petrov and Craig Macdonald ("gSASRec", RecSys 2023) and Anton Klenitskiy and Alexey Vasilev ("Turning Dross Into Gold
Loss", RecSys 2023) found to be strongest.

The network is RecBole's SASRec: their state dicts are interchangeable. RecBole trains with one row for each target, and
so one forward of the whole history for each; here one forward of a history serves all its targets.

``text_vectors`` adds the vectors of item texts to the learned ones, in the input and in the output. The state dict then
has their projection, and a fingerprint of the texts' vectors. ``context`` adds vectors of values to the input, and a
bias of time to attention. Without both settings the network is RecBole's.
"""

import torch
from recbole.model.sequential_recommender.sasrec import SASRec

from recbole_genrec.model.all_positions import AllPositions


class SASRecAll(AllPositions, SASRec):
    """RecBole's SASRec with a loss over all positions; see the module's header."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self._add_knowledge(config, dataset)

    def states(self, interaction, vectors):
        """Hidden state at every position; see :meth:`~recbole_genrec.model.all_positions.AllPositions.states`."""
        item_seq, context = interaction[self.ITEM_SEQ], self.context_of(interaction)
        position = torch.arange(item_seq.shape[1], device=item_seq.device)
        embedded = self.embedded(item_seq, vectors) + self.position_embedding(position)
        embedded = self.context_input(embedded, context)
        mask = self.context_input.mask(self.get_attention_mask(item_seq), context)
        return self.trm_encoder(self.dropout(self.LayerNorm(embedded)), mask, output_all_encoded_layers=False)[-1]
