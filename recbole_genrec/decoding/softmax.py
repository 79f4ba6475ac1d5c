"""Probabilities of a trie's edges from hidden states: over a node's children, or over the whole vocabulary.

Normalised over the children, the trie is a hierarchical softmax (Morin & Bengio 2005) whose tree is the catalogue:
the probabilities of all items sum to 1 for any history, and forced tokens weigh nothing. An edge's logit is that of its
first token; where the trie has edge embeddings, the product with the edge's own vector is added to it, as each node of
a hierarchical softmax has parameters of its own, and where it has vectors of items, their prior
(:mod:`recbole_genrec.decoding.prior`). The softmax over the vocabulary knows tokens alone.

Letters: D decisions, H hidden size, F children of a node.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from recbole_genrec.decoding.finite import check_scores
from recbole_genrec.decoding.language_model import LanguageModel
from recbole_genrec.decoding.prior import EdgePrior, edge_prior
from recbole_genrec.decoding.ragged import ragged_arange
from recbole_genrec.decoding.trie import Trie

#: where scores stand that may not be finite, and what their rows are.
_FIRST = ("at the first token of a title", "histories")
_LATER = ("within a title", "nodes of the catalogue")


def root_logits(
    backbone: LanguageModel, trie: Trie, hidden: torch.Tensor, prior: EdgePrior | None = None
) -> torch.Tensor:
    """Logits of the root's edges ``[D, root edges]`` from the states ``[D, H]`` before the first token.

    Added to them is what an :class:`~recbole_genrec.decoding.prior.EdgePrior` makes of the same states; the others
    count with its ``title_weight``.
    """
    values = backbone.logits(hidden, trie.root_token)
    if trie.edge_embedding is not None:
        values = values + hidden.float() @ trie.edge_embedding.weight[: len(trie.root_token)].T
    return values if prior is None else values * prior.title_weight + prior.root()


def _padded_child_logits(
    backbone: LanguageModel,
    trie: Trie,
    hidden: torch.Tensor,
    node: torch.Tensor,
    prior: EdgePrior | None,
    history: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of the children of some nodes below the root.

    One product with the tokens that edges below the root begin with serves all nodes, however few or many.

    Args:
        backbone: the language model.
        trie: the catalogue.
        hidden: ``[D, H]``, the state after the node's last token.
        node: ``[D]``, none of them the root.
        prior: :class:`~recbole_genrec.decoding.prior.EdgePrior`, or ``None``.
        history: which of the prior's histories each node stands after ``[D]``.

    Returns:
        ``logits [D, F]``, those of other tokens where there is no child; ``edge [D, F]``; and a mask, true where there
        is a child ``[D, F]``.
    """
    edge, mask = trie.children(node)
    values = backbone.logits(hidden, trie.inner_token).gather(1, trie.edge_inner[edge])
    # Few nodes have many children: what edges add is computed for the real ones only.
    decision = torch.nonzero(mask)[:, 0]
    if trie.edge_embedding is not None:
        product = (hidden.float()[decision] * trie.edge_embedding(edge[mask])).sum(-1)
        values = values + torch.zeros_like(values).masked_scatter(mask, product)
    if prior is not None and history is not None:
        added = prior.of(history[decision], edge[mask])
        values = values * prior.title_weight + torch.zeros_like(values).masked_scatter(mask, added)
    return values, edge, mask


def trie_loss(
    backbone: LanguageModel,
    trie: Trie,
    hidden: torch.Tensor,
    edge: torch.Tensor,
    weight: torch.Tensor | None = None,
    unknown: torch.Tensor | None = None,
) -> torch.Tensor:
    """Negative log-likelihood of decisions, each normalised over the children of its node.

    Args:
        backbone: the language model.
        trie: the catalogue.
        hidden: ``[D, H]``, the state at the decision.
        edge: ``[D]``, the edge that the target takes; a target's decisions stand together, the root's first.
        weight: of each decision ``[D]``; by default 1.
        unknown: edges that are no alternative, as if their items did not exist ``[E]``; no target takes one. ``None``:
            all are.

    Returns:
        The weighted sum over decisions, a scalar.
    """
    return trie_loss_and_prior(backbone, trie, hidden, edge, weight, unknown)[0]


def trie_loss_and_prior(
    backbone: LanguageModel,
    trie: Trie,
    hidden: torch.Tensor,
    edge: torch.Tensor,
    weight: torch.Tensor | None = None,
    unknown: torch.Tensor | None = None,
) -> tuple[torch.Tensor, EdgePrior | None]:
    """:func:`trie_loss`, and the prior of the states at the root's decisions, ``None`` where the trie has none."""
    node = trie.edge_node[edge]
    at_root = node == 0
    prior = edge_prior(trie, hidden[at_root], unknown)
    logits = root_logits(backbone, trie, hidden[at_root], prior)
    if unknown is not None:
        logits = logits.masked_fill(unknown[: len(trie.root_token)], -torch.inf)
    loss = _weighted_sum(logits, edge[at_root], weight, at_root)
    if not at_root.all():
        below, node, edge = hidden[~at_root], node[~at_root], edge[~at_root]
        history = at_root.cumsum(0)[~at_root] - 1
        logits, children, mask = _padded_child_logits(backbone, trie, below, node, prior, history)
        if unknown is not None:
            mask = mask & ~unknown[children]
        logits = logits.masked_fill(~mask, -torch.inf)
        loss = loss + _weighted_sum(logits, edge - trie.node_offset[node], weight, ~at_root)
    return loss, prior


def _weighted_sum(
    logits: torch.Tensor, label: torch.Tensor, weight: torch.Tensor | None, chosen: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy summed with the weights that ``chosen`` picks of all of them."""
    if weight is None:
        return cross_entropy(logits, label, reduction="sum")
    return (cross_entropy(logits, label, reduction="none") * weight[chosen]).sum()


@dataclass(frozen=True)
class EdgeProbabilities:
    """Log-probabilities of a trie's edges.

    Attributes:
        backbone: the language model.
        trie: the catalogue.
        normalization: ``trie`` or ``vocab``.
        prior: :class:`~recbole_genrec.decoding.prior.EdgePrior` of the prompts, or ``None``; ``vocab`` has none.
    """

    backbone: LanguageModel
    trie: Trie
    normalization: str
    prior: EdgePrior | None = None

    def of_root(self, hidden: torch.Tensor) -> torch.Tensor:
        """Of the root's edges ``[B, root edges]`` from the prompts' last states ``[B, H]``.

        Raises:
            GenRecError: one is not finite.
        """
        if self.normalization == "trie":
            values = root_logits(self.backbone, self.trie, hidden, self.prior)
            check_scores(self.backbone, self.trie, values, *_FIRST)
            return values.log_softmax(-1)
        values = self.backbone.logits(hidden).log_softmax(-1)[:, self.trie.root_token]
        check_scores(self.backbone, self.trie, values, *_FIRST)
        return values

    def of_children(
        self, hidden: torch.Tensor, node: torch.Tensor, prompt: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the children of nodes below the root.

        Args:
            hidden: ``[D, H]``, the state after the node's last token.
            node: ``[D]``.
            prompt: which prompt each node stands after ``[D]``.

        Returns:
            ``log_probs [D, F]``, -inf where there is no child, and ``edge [D, F]``.

        Raises:
            GenRecError: one of a child is not finite.
        """
        if self.normalization == "trie":
            values, edge, mask = _padded_child_logits(self.backbone, self.trie, hidden, node, self.prior, prompt)
            check_scores(self.backbone, self.trie, values, *_LATER)
            return values.masked_fill(~mask, -torch.inf).log_softmax(-1), edge
        edge, mask = self.trie.children(node)
        values = self.backbone.logits(hidden).log_softmax(-1).gather(1, self.trie.edge_token[edge])
        check_scores(self.backbone, self.trie, values, *_LATER)
        return values.masked_fill(~mask, -torch.inf), edge

    def of_forced(self, hidden: torch.Tensor, owner: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
        """Log-probabilities over the vocabulary of the forced tokens of some edges.

        Args:
            hidden: ``[R, H]``, the states after the edges' tokens, laid end to end.
            owner: ``[R]``, index of the edge that each belongs to.
            edge: ``[M]``.

        Returns:
            ``[M]``; 0 where an edge has no token but the decisive one.

        Raises:
            GenRecError: one is not finite.
        """
        trie = self.trie
        _, order = ragged_arange(torch.bincount(owner, minlength=len(edge)))
        depth = trie.edge_begin[edge][owner] + order + 1
        forced = depth < trie.edge_end[edge][owner]
        target = trie.token[(trie.token_offset[trie.edge_sample[edge]][owner] + depth)[forced]]
        log_probs = self.backbone.logits(hidden[forced]).log_softmax(-1).gather(1, target[:, None])[:, 0]
        check_scores(self.backbone, trie, log_probs, *_LATER)
        return torch.zeros(len(edge), device=edge.device).index_add_(0, owner[forced], log_probs)
