"""A softmax over whole items as prior of the softmax over the trie.

Its vectors know the items apart from the first token on, where their titles still are one. From the state before the
first token every item gets a logit; an edge has the sum of ``exp(logit)`` over the items below it, and the logarithm
of that sum is added to the logit of the edge's token. So each decision weighs how its tokens read against how many, and
how likely, items they lead to: with equal token logits the probabilities of the trie are those of the softmax over
items, with zero vectors an edge counts its items. In between they sum to 1 over the catalogue, too, and exact search
goes on as before.

Letters: D histories, M of them or of decisions, H hidden size, I items, E edges, F children of a node.
"""

import torch


class EdgePrior:
    """The prior's part in the logits of all edges, after some histories.

    Args:
        trie: the catalogue, with ``item_vectors``.
        hidden: ``[D, H]``, the states before the first token.
        unknown: edges to items that the prior must pass over, as if they did not exist ``[E]``; by default none.
    """

    def __init__(self, trie, hidden, unknown=None):
        leaf = torch.nonzero(trie.edge_item)[:, 0]
        # autocast may give a product of half precision, in which sums over items would lose most of them
        logits = (hidden.float() @ trie.item_vectors(trie.edge_item[leaf]).T).float()
        highest = logits.detach().amax(1, keepdim=True)  # any shift does: it is the same for all children of a node
        weight = (logits - highest).exp()
        if unknown is not None:
            weight = weight.masked_fill(unknown[leaf], 0)
        mass = weight.new_zeros(len(hidden), trie.n_edges).index_add(1, leaf, weight)
        for edges, parents in trie.levels:
            mass = mass.index_add_(1, parents, mass[:, edges])
        self.n_root_edges = len(trie.root_token)
        self._mass = mass

    def root(self):
        """For the root's edges ``[D, root edges]``."""
        return _log(self._mass[:, : self.n_root_edges])

    def of(self, history, edge):
        """For edges ``[M, F]`` after the histories ``[M]``."""
        return _log(self._mass[history[:, None], edge])

    def loss(self, edge):
        """Negative log-likelihood that the softmax over items, alone, gives the items that edges decide, one after each
        history: ``[D]`` of ``[D]``."""
        history = torch.arange(len(edge), device=edge.device)
        return _log(self._mass[:, : self.n_root_edges].sum(1)) - self.of(history, edge[:, None])[:, 0]


def edge_prior(trie, hidden, unknown=None):
    """The :class:`EdgePrior` of a catalogue that has vectors of items, else ``None``; the same arguments."""
    return None if trie.item_vectors is None else EdgePrior(trie, hidden, unknown)


def _log(mass):
    """Logarithm, finite where the exponential was too small for a float (88 below the likeliest item)."""
    return mass.clamp_min(torch.finfo(mass.dtype).tiny).log()
