"""The upper part of a trie: the nodes that hold at least an eighth of all items, and their edges.

Most histories pass these nodes, so what a history's items weigh is summed for all their edges at once. Below them a
history visits few nodes, each with few items, and sums only these.

Example: in the trie of the header of :mod:`recbole_genrec.decoding.trie` all nodes are wide:

    edge  0 1 2 3        row_edge  2 3 1  (the lowest edge above the rows 0, 1 and 2)
    number of edge  0 1 2 3              levels  ((2, 3), below (0, 0))

Letters: E edges, W edges of the upper part, I items.
"""

from dataclasses import dataclass

import torch

from recbole_genrec.decoding.ragged import ragged_arange

#: a node belongs to the upper part where it holds at least one of this many items.
ONE_OF = 8


@dataclass(frozen=True)
class UpperPart:
    """Edges are counted among those of the upper part, the root's first: from 0 to W - 1.

    Attributes:
        n_edges: W.
        number: of every edge of the trie, its number in the upper part, or -1 ``[E]``.
        row_edge: the lowest edge above each row of the sorted items ``[I]``.
        levels: edges below the root and the edges right above them, a level each, the deepest first.
    """

    n_edges: int
    number: torch.Tensor
    row_edge: torch.Tensor
    levels: list[tuple[torch.Tensor, torch.Tensor]]


def find_upper_part(
    edge_node: torch.Tensor, edge_child: torch.Tensor, edge_low: torch.Tensor, edge_high: torch.Tensor
) -> UpperPart:
    """The :class:`UpperPart` of a trie, of its columns ``[E]``."""
    size, n_items = edge_high - edge_low, int(edge_high.max())
    leading = torch.nonzero(edge_child >= 0)[:, 0]
    above_node = torch.full((int(edge_node.max()) + 1,), -1, device=edge_node.device)
    above_node[edge_child[leading]] = leading
    above = above_node[edge_node]  # the edge above each edge, -1 for the root's
    upper = torch.nonzero((above < 0) | (ONE_OF * size[above] >= n_items))[:, 0]
    number = torch.full_like(edge_node, -1)
    number[upper] = torch.arange(len(upper), device=number.device)
    parent = torch.where(above[upper] < 0, -1, number[above[upper]])

    owner, order = ragged_arange(size[upper])
    row_edge = torch.zeros(n_items, dtype=torch.long, device=number.device)
    row_edge.scatter_reduce_(0, edge_low[upper][owner] + order, owner, "amax")  # lower edges have higher numbers

    levels, last = [], parent < 0
    while (level := (parent >= 0) & last[parent]).any():
        edges = torch.nonzero(level)[:, 0]
        levels.append((edges, parent[edges]))
        last = level
    return UpperPart(len(upper), number, row_edge, levels[::-1])
