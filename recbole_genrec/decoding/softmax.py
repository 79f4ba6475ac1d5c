"""Probabilities of a trie's edges from hidden states: over a node's children, or over the whole vocabulary.

Normalised over the children, the trie is a hierarchical softmax (Morin & Bengio 2005) whose tree is the catalogue:
the probabilities of all items sum to 1 for any history, and forced tokens weigh nothing. An edge's logit is that of its
first token; where the trie has edge embeddings, the product with the edge's own vector is added to it, as each node of
a hierarchical softmax has parameters of its own, and where it has vectors of items, their prior
(:mod:`recbole_genrec.decoding.prior`). The softmax over the vocabulary knows tokens alone.

Letters: D decisions, H hidden size, F children of a node.
"""

import torch
from torch.nn.functional import cross_entropy

from recbole_genrec.decoding.finite import check_scores
from recbole_genrec.decoding.prior import edge_prior
from recbole_genrec.decoding.ragged import ragged_arange

#: where scores stand that may not be finite, and what their rows are.
_FIRST = ("at the first token of a title", "histories")
_LATER = ("within a title", "nodes of the catalogue")


def root_logits(backbone, trie, hidden, prior=None):
    """Logits of the root's edges ``[D, root edges]`` from the states ``[D, H]`` before the first token, and what an
    :class:`~recbole_genrec.decoding.prior.EdgePrior` from the same states adds to them."""
    values = backbone.logits(hidden, trie.root_token)
    if trie.edge_embedding is not None:
        values = values + hidden.float() @ trie.edge_embedding.weight[: len(trie.root_token)].T
    return values if prior is None else values + prior.root()


def child_logits(backbone, trie, hidden, node, prior=None, history=None):
    """Logits of the children of some nodes below the root.

    One product with the tokens that edges below the root begin with serves all nodes, however few or many.

    Args:
        backbone: gives ``logits(hidden, token_ids)``.
        trie: the catalogue.
        hidden: ``[D, H]``, the state after the node's last token.
        node: ``[D]``, none of them the root.
        prior: :class:`~recbole_genrec.decoding.prior.EdgePrior`, or ``None``.
        history: which of its histories each node stands after ``[D]``.

    Returns:
        ``logits [D, F]``, -inf where there is no child, and ``edge [D, F]``.
    """
    values, edge, mask = _padded_child_logits(backbone, trie, hidden, node, prior, history)
    return values.masked_fill(~mask, -torch.inf), edge


def _padded_child_logits(backbone, trie, hidden, node, prior, history):
    """:func:`child_logits` with logits of other tokens where there is no child, and where there is one ``[D, F]``."""
    edge, mask = trie.children(node)
    values = backbone.logits(hidden, trie.inner_token).gather(1, trie.edge_inner[edge])
    if trie.edge_embedding is not None:
        # Few nodes have many children: products for the real ones only.
        decision = torch.nonzero(mask)[:, 0]
        product = (hidden.float()[decision] * trie.edge_embedding(edge[mask])).sum(-1)
        values = values + torch.zeros_like(values).masked_scatter(mask, product)
    if prior is not None:
        values = values + prior.of(history, edge)
    return values, edge, mask


def trie_loss(backbone, trie, hidden, edge, weight=None, unknown=None, prior_loss=0.0):
    """Negative log-likelihood of decisions, each normalised over the children of its node.

    Args:
        hidden: ``[D, H]``, the state at the decision.
        edge: ``[D]``, the edge that the target takes; a target's decisions stand together, the root's first.
        weight: of each decision ``[D]``; by default 1.
        unknown: edges that are no alternative, as if their items did not exist ``[E]``; no target takes one. By
            default all are.
        prior_loss: weight of what the prior over items, where there is one, would lose on the targets by itself.

    Returns:
        The weighted sum over decisions, a scalar.
    """
    node = trie.edge_node[edge]
    at_root = node == 0
    prior = edge_prior(trie, hidden[at_root], unknown)
    logits = root_logits(backbone, trie, hidden[at_root], prior)
    if unknown is not None:
        logits = logits.masked_fill(unknown[: len(trie.root_token)], -torch.inf)
    loss = _weighted_sum(logits, edge[at_root], weight, at_root)
    if prior is not None and prior_loss:
        alone = prior.loss(edge[trie.edge_item[edge] > 0])
        loss = loss + prior_loss * (alone if weight is None else alone * weight[at_root]).sum()
    if not at_root.all():
        below, node, edge = hidden[~at_root], node[~at_root], edge[~at_root]
        history = at_root.cumsum(0)[~at_root] - 1
        logits, children = child_logits(backbone, trie, below, node, prior, history)
        if unknown is not None:
            logits = logits.masked_fill(unknown[children], -torch.inf)
        loss = loss + _weighted_sum(logits, edge - trie.node_offset[node], weight, ~at_root)
    return loss


def _weighted_sum(logits, label, weight, chosen):
    """Cross-entropy summed with the weights that ``chosen`` picks of all of them."""
    if weight is None:
        return cross_entropy(logits, label, reduction="sum")
    return (cross_entropy(logits, label, reduction="none") * weight[chosen]).sum()


def root_log_probs(backbone, trie, hidden, normalization, prior=None):
    """Log-probabilities ``[B, root edges]`` of the root's edges from the prompts' last states ``[B, H]``; see
    :func:`root_logits` for ``prior``.

    Raises:
        GenRecError: one is not finite.
    """
    if normalization == "trie":
        values = root_logits(backbone, trie, hidden, prior)
        check_scores(backbone, trie, values, *_FIRST)
        return values.log_softmax(-1)
    values = backbone.logits(hidden).log_softmax(-1)[:, trie.root_token]
    check_scores(backbone, trie, values, *_FIRST)
    return values


def child_log_probs(backbone, trie, hidden, node, normalization, prior=None, history=None):
    """Log-probabilities of the children of nodes below the root; see :func:`child_logits` for the arguments.

    Returns:
        ``log_probs [D, F]``, -inf where there is no child, and ``edge [D, F]``.

    Raises:
        GenRecError: one of a child is not finite.
    """
    if normalization == "trie":
        values, edge, mask = _padded_child_logits(backbone, trie, hidden, node, prior, history)
        check_scores(backbone, trie, values, *_LATER)
        return values.masked_fill(~mask, -torch.inf).log_softmax(-1), edge
    edge, mask = trie.children(node)
    values = backbone.logits(hidden).log_softmax(-1).gather(1, trie.edge_token[edge])
    check_scores(backbone, trie, values, *_LATER)
    return values.masked_fill(~mask, -torch.inf), edge


def forced_log_probs(backbone, trie, hidden, owner, edge):
    """Log-probability that the vocabulary softmax gives the forced tokens of some edges.

    Args:
        hidden: ``[R, H]``, the states after the edges' tokens, laid end to end.
        owner: ``[R]``, which edge each belongs to.
        edge: ``[M]``.

    Returns:
        ``[M]``; 0 where an edge has no token but the decisive one.

    Raises:
        GenRecError: one is not finite.
    """
    _, order = ragged_arange(torch.bincount(owner, minlength=len(edge)))
    depth = trie.edge_begin[edge][owner] + order + 1
    forced = depth < trie.edge_end[edge][owner]
    target = trie.token[(trie.token_offset[trie.edge_sample[edge]][owner] + depth)[forced]]
    log_probs = backbone.logits(hidden[forced]).log_softmax(-1).gather(1, target[:, None])[:, 0]
    check_scores(backbone, trie, log_probs, *_LATER)
    return torch.zeros(len(edge), device=edge.device).index_add_(0, owner[forced], log_probs)
