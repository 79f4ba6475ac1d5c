"""A softmax over whole items as prior of the softmax over the trie.

Its vectors know the items apart from the first token on, where their titles still are one. From the state before the
first token every item gets a logit; an edge has the sum of ``exp(logit)`` over the items below it, and the logarithm
of that sum is added to the logit of the edge's token. So each decision weighs how its tokens read against how many, and
how likely, items they lead to: with equal token logits the probabilities of the trie are those of the softmax over
items, with zero vectors an edge counts its items. In between they sum to 1 over the catalogue, too, and exact search
goes on as before.

Only edges that somebody asks for are summed: those of the trie's upper part for all histories at once, the others for
the histories that visit them. The weights of all items are there by then, so the softmax over items has its own loss,
:meth:`EdgePrior.item_loss`, at the price of a sum over the root's edges.

Letters: D histories, N pairs of a history and an edge, H hidden size, I items, E edges, W edges of the upper part.
"""

import math

import torch

from recbole_genrec.decoding.ragged import ragged_arange
from recbole_genrec.decoding.trie import Trie
from recbole_genrec.vectors.item_vectors import ItemVectors


class EdgePrior:
    """The prior's part in the logits of edges, after some histories.

    Args:
        trie: the catalogue.
        vectors: of its items ``[I + 1, H]``.
        hidden: ``[D, H]``, the states before the first token.
        unknown: edges to items that the prior must pass over, as if they did not exist ``[E]``; by default none.
        unseen_share: probability that all items without a learned vector have together, after every history; 0: what
            their texts give them.

    Attributes:
        title_weight: what the logits of identifiers are to be multiplied with before the prior's are added; 1 in
            training.
    """

    title_weight = 1.0

    def __init__(
        self,
        trie: Trie,
        vectors: torch.nn.Embedding | ItemVectors,
        hidden: torch.Tensor,
        unknown: torch.Tensor | None = None,
        unseen_share: float = 0.0,
    ) -> None:
        self._trie, upper, self._unseen_share = trie, trie.upper_part, unseen_share
        self._hidden, self._vectors = hidden.float(), vectors(trie.row_item)
        self._left_out = None if unknown is None else unknown[trie.row_leaf]
        # autocast may give a product of half precision, in which sums over items would lose most of them
        logits = (self._vectors @ self._hidden.T).float()  # [I, D]
        if unseen_share:
            logits = _with_share(logits, unseen_items(vectors)[trie.row_item], unseen_share)
        if self._left_out is not None:
            logits.masked_fill_(self._left_out[:, None], -torch.inf)
        self._highest = logits.detach().amax(0)  # any shift does: it is the same for all children of a node
        self._weight = logits.sub_(self._highest).exp_()
        mass = self._weight.new_zeros(upper.n_edges, len(hidden)).index_add(0, upper.row_edge, self._weight)
        for edges, parents in upper.levels:
            mass = mass.index_add_(0, parents, mass[edges])
        self._mass = mass  # [W, D]

    def root(self) -> torch.Tensor:
        """For the root's edges ``[D, root edges]``."""
        return _log(self._root_mass()).T

    def of(self, history: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
        """For edges ``[N]`` after the histories ``[N]``, numbers from 0 to D - 1."""
        number = self._trie.upper_part.number[edge]
        is_upper = number >= 0
        below = torch.nonzero(~is_upper)[:, 0]
        low = self._trie.edge_low[edge[below]]
        owner, order = ragged_arange(self._trie.edge_high[edge[below]] - low)
        weight = self._weights(low[owner] + order, history[below][owner])
        mass = self._weight.new_zeros(len(edge))
        if len(below) < len(edge):
            mass = _cells(self._mass, number.clamp_min(0), history).masked_fill(~is_upper, 0)
        return _log(mass.index_add(0, below[owner], weight))

    def item_loss(self, item: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Cross-entropy of an item after each history ``[D]`` in the softmax over whole items.

        Args:
            item: ``[D]``, none of them one that the prior passes over.
            weight: of each ``[D]``; by default 1.

        Returns:
            The weighted sum, a scalar.
        """
        row = self._trie.edge_low[self._trie.path_edge[self._trie.path_offset[item + 1] - 1]]
        loss = _log(self._root_mass().sum(0)) - self._logits(row, torch.arange(len(item), device=item.device))
        return loss.sum() if weight is None else (loss * weight).sum()

    def _weights(self, row: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """Weights of rows of items ``[N]`` after histories ``[N]``."""
        if self._unseen_share or not self._weight.requires_grad:
            return _cells(self._weight, row, history)
        # they are few: the gradient of the table [I, D] would be zeros for the most part
        weight = self._logits(row, history).exp()
        return weight if self._left_out is None else weight.masked_fill(self._left_out[row], 0)

    def _logits(self, row: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """Logits of rows of items ``[N]`` after histories ``[N]``, less the highest."""
        product = self._vectors.index_select(0, row).float() * self._hidden.index_select(0, history)
        return product.sum(1) - self._highest[history]

    def _root_mass(self) -> torch.Tensor:
        return self._mass[: len(self._trie.root_token)]


def edge_prior(
    trie: Trie, hidden: torch.Tensor, unknown: torch.Tensor | None = None, *, ranks: bool = False
) -> EdgePrior | None:
    """The :class:`EdgePrior` of a catalogue whose trie has vectors of items, else ``None``.

    Args:
        trie, hidden, unknown: see there.
        ranks: whether it is for ranking, where the trie's ``unseen_share`` and ``title_weight`` count, and not for a
            loss.
    """
    if trie.item_vectors is None:
        return None
    prior = EdgePrior(trie, trie.item_vectors, hidden, unknown, trie.unseen_share if ranks else 0.0)
    if ranks:
        prior.title_weight = trie.title_weight
    return prior


def unseen_items(vectors: torch.nn.Embedding | ItemVectors) -> torch.Tensor:
    """Which items, padding among them, have no learned vector ``[I + 1]``: training has not seen them."""
    learned = vectors.learned if isinstance(vectors, ItemVectors) else vectors.weight
    return ~learned.detach().any(1)


def _with_share(logits: torch.Tensor, unseen: torch.Tensor, share: float) -> torch.Tensor:
    """Logits ``[I, D]`` whose softmax gives the ``unseen [I]`` items a share together, where there are some."""
    if not unseen.any() or unseen.all():
        return logits
    odds = logits[~unseen].logsumexp(0) - logits[unseen].logsumexp(0) + math.log(share / (1 - share))  # [D]
    return torch.where(unseen[:, None], logits + odds, logits)


def _cells(table: torch.Tensor, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Entries of a table; the backward of this is faster than that of indexing with two tensors."""
    return table.flatten().index_select(0, row * table.shape[1] + column)


def _log(mass: torch.Tensor) -> torch.Tensor:
    """Logarithm, finite where the exponential was too small for a float (88 below the likeliest item)."""
    return mass.clamp_min(torch.finfo(mass.dtype).tiny).log()
