"""Losses of a generative recommender over its catalogue: of decisions in the trie, and of whole items.

Letters: D decisions or targets, H hidden size, C items.
"""

import torch

from recbole_genrec.decoding.softmax import trie_loss_and_prior
from recbole_genrec.model.catalogue_loss import catalogue_cross_entropy


class CatalogueLosses:
    """Mixin of :class:`~recbole_genrec.model.abstract_recommender.GenerativeRecommender`, whose attributes it reads."""

    def decision_loss(self, hidden, edge, weight=None):
        """:func:`~recbole_genrec.decoding.softmax.trie_loss` of decisions over this catalogue, and the prior's loss."""
        loss, prior = trie_loss_and_prior(self.backbone, self.trie, hidden, edge, weight, self.unknown_edges)
        if not self.engine.item_prior_loss:
            return loss
        at_root = self.trie.edge_node[edge] == 0
        item = self.trie.edge_item[edge]
        of_items = prior.item_loss(item[item > 0], None if weight is None else weight[at_root])
        return loss + of_items * self.engine.item_prior_loss

    def prior_loss(self, hidden, item, weight=None):
        """What the softmax over items alone, the prior, loses on targets, times ``item_prior_loss``.

        Args:
            hidden: states before the first token of each target ``[D, H]``.
            item: the targets ``[D]``.
            weight: of each ``[D]``; by default 1.

        Returns:
            The weighted sum, a scalar.
        """
        weight = hidden.new_ones(len(hidden)) if weight is None else weight
        return self.item_cross_entropy(hidden, item, weight * self.engine.item_prior_loss)

    def item_cross_entropy(self, hidden, item, weight):
        """Cross-entropy of items ``[D]`` in the softmax over items alone, after states ``[D, H]``, weighted ``[D]``."""
        vectors, known = self.item_embedding.weight, self.known_items
        chosen, target = (slice(1, None), item - 1) if known is None else (known, torch.searchsorted(known, item))
        return catalogue_cross_entropy(hidden, vectors[chosen], target, weight)
