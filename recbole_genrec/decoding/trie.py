"""The catalogue as a path-compressed prefix tree over identifiers.

Letters: I items, N branching nodes, E edges, P path entries, D decisions, F children of a node.

Only places where identifiers part are nodes (the root always is one); an edge carries its first token, on which the
decision falls, and the forced tokens after it. An item is decided as soon as its prefix is unique.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch

from recbole_genrec.decoding.ragged import ragged_arange
from recbole_genrec.errors import GenRecError


@dataclass
class Trie:
    """All identifiers of a catalogue. Build it with :func:`build_trie`; all fields but the last are int64 tensors.

    Item ids are those of the caller (RecBole's: 1 to I, 0 for padding). Nodes and edges are numbered level by level,
    so a parent's number is below its children's; node 0 is the root; the edges of a node are consecutive and in the
    order of their tokens.
    """

    #: tokens of each item's identifier with its end token, flat, and where each item's begin, by item id ``[I + 2]``.
    token: torch.Tensor
    token_offset: torch.Tensor
    #: first edge of each node ``[N + 1]``.
    node_offset: torch.Tensor
    #: tokens between the root and the node ``[N]``.
    node_depth: torch.Tensor
    #: node that the edge leaves, its decisive token, the node it leads to (-1: none) and the item it decides (0: none).
    edge_node: torch.Tensor
    edge_token: torch.Tensor
    edge_child: torch.Tensor
    edge_item: torch.Tensor
    #: an item below the edge: its identifier's tokens ``begin`` to ``end`` are the edge's own.
    edge_sample: torch.Tensor
    edge_begin: torch.Tensor
    edge_end: torch.Tensor
    #: items below the edge are ``low`` to ``high - 1`` in the order of sorted identifiers.
    edge_low: torch.Tensor
    edge_high: torch.Tensor
    #: edges from the root to each item, flat, and where each item's begin, by item id ``[I + 2]``.
    path_edge: torch.Tensor
    path_offset: torch.Tensor
    #: tokens that edges below the root begin with, sorted, and each such edge's place among them (root edges: 0).
    inner_token: torch.Tensor
    edge_inner: torch.Tensor
    #: what a model has learnt about each edge, ``[E, H]``, or None; see :mod:`recbole_genrec.decoding.softmax`.
    edge_embedding: torch.nn.Embedding | None = None

    @property
    def n_items(self):
        return len(self.token_offset) - 2

    @property
    def n_nodes(self):
        return len(self.node_depth)

    @property
    def n_edges(self):
        return len(self.edge_token)

    @property
    def root_token(self):
        """Tokens an identifier can begin with; their place here is the number of the root's edge."""
        return self.edge_token[: self.node_offset[1]]

    def to(self, device):
        """The same trie on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Trie(**{name: value if value is None else value.to(device) for name, value in values.items()})

    def children(self, node):
        """Edges of some nodes, padded to the widest.

        Args:
            node: ``[D]``.

        Returns:
            ``edge [D, F]`` and a boolean mask of the same shape, false where ``edge`` is padding (then 0).
        """
        first = self.node_offset[node]
        fanout = self.node_offset[node + 1] - first
        width = int(fanout.max()) if len(node) else 0
        column = torch.arange(width, device=node.device)
        mask = column < fanout[:, None]
        return torch.where(mask, first[:, None] + column, 0), mask

    def common_edges(self, former):
        """Edges that a trie of the first of these items has, too: those whose first token stands after the same tokens.

        Args:
            former: :class:`Trie` of items 1 to J, J <= I, with the same identifiers.

        Returns:
            numbers of the edges here, and there, both ``[C]``; of an edge that a new item parts, the upper half is
            common.
        """
        here, there = (trie._places() for trie in (self, former))
        common, own, other = np.intersect1d(here, there, assume_unique=True, return_indices=True)
        pairs = torch.stack([self.path_edge[torch.from_numpy(own)], former.path_edge[torch.from_numpy(other)]])
        return torch.unique(pairs, dim=1).unbind()

    def _places(self):
        """A number for the item and the depth of every path entry ``[P]``."""
        item = np.repeat(np.arange(len(self.path_offset) - 1), self.path_offset.diff().cpu().numpy())
        return (item << 32) + self.edge_begin[self.path_edge].cpu().numpy()

    def count_below(self, chosen):
        """How many of some items stand below each edge.

        Args:
            chosen: booleans by item id ``[R, I + 1]``; item 0, padding, is below no edge.

        Returns:
            ``[R, E]``.
        """
        owner, _ = ragged_arange(self.path_offset.diff())
        counts = torch.zeros(len(chosen), self.n_edges, dtype=torch.long, device=chosen.device)
        return counts.index_add_(1, self.path_edge, chosen[:, owner].long())


def build_trie(identifiers, end):
    """Build the trie of a catalogue.

    Args:
        identifiers: for item ids 1 to I, in order, the tokens of the identifier without the end token.
        end: token that ends every identifier; it may stand in none.

    Returns:
        The :class:`Trie`, on the CPU. Built level by level with array operations: O(tokens log I).

    Raises:
        GenRecError: an identifier is empty, repeated or holds the end token.
    """
    count = len(identifiers)
    lengths = np.fromiter((len(identifier) for identifier in identifiers), np.int64, count)
    if count == 0:
        raise GenRecError("The catalogue is empty: there is no item to build a trie from.")
    if not lengths.all():
        raise GenRecError(f"Item {int(np.flatnonzero(lengths == 0)[0]) + 1} has an empty identifier.")
    table = np.full((count, lengths.max() + 1), -1, np.int64)
    place = np.arange(table.shape[1])
    table[place < lengths[:, None]] = np.concatenate([np.asarray(identifier, np.int64) for identifier in identifiers])
    holds_end = (table == end).any(1)
    if holds_end.any():
        raise GenRecError(f"Item {int(holds_end.argmax()) + 1} has the end token in its identifier.")
    table[np.arange(count), lengths] = end
    lengths += 1
    order = np.lexsort(table.T[::-1])
    rows = table[order]
    equal = np.cumprod(rows[1:] == rows[:-1], axis=1, dtype=bool)
    common = np.concatenate([[-1], equal.sum(1)])  # tokens that a row shares with the one before it
    if (common == rows.shape[1]).any():
        first = int(np.flatnonzero(common == rows.shape[1])[0])
        raise GenRecError(f"Items {order[first - 1] + 1} and {order[first] + 1} share an identifier.")

    parts = _edges(rows, common)
    edge_node, edge_low, edge_high, edge_begin, node_depth, edge_child, path_row, path_edge = parts
    leaf = edge_child < 0
    edge_item = np.where(leaf, order[edge_low] + 1, 0)
    edge_end = np.where(leaf, lengths[order[edge_low]], node_depth[edge_child])
    edge_token = rows[edge_low, edge_begin]
    path_item = order[path_row] + 1
    path_order = np.argsort(path_item, kind="stable")  # within an item edges stay in the order of depth
    inner = edge_node > 0
    inner_token, edge_inner = np.unique(edge_token[inner], return_inverse=True)
    edge_place = np.zeros(len(edge_token), np.int64)
    edge_place[inner] = edge_inner
    arrays = {
        "token": table[place < lengths[:, None]],
        "token_offset": np.concatenate([[0, 0], lengths.cumsum()]),
        "node_offset": np.searchsorted(edge_node, np.arange(len(node_depth) + 1)),
        "node_depth": node_depth,
        "edge_node": edge_node,
        "edge_token": edge_token,
        "edge_child": edge_child,
        "edge_item": edge_item,
        "edge_sample": order[edge_low] + 1,
        "edge_begin": edge_begin,
        "edge_end": edge_end,
        "edge_low": edge_low,
        "edge_high": edge_high,
        "path_edge": path_edge[path_order],
        "path_offset": np.concatenate([[0], np.bincount(path_item, minlength=count + 1).cumsum()]),
        "inner_token": inner_token,
        "edge_inner": edge_place,
    }
    return Trie(**{name: torch.from_numpy(np.ascontiguousarray(array, np.int64)) for name, array in arrays.items()})


def _edges(rows, common):
    """Find nodes and edges depth by depth.

    Args:
        rows: ``[I, L]`` identifiers in sorted order.
        common: ``[I]`` tokens that a row shares with the one before it; -1 for the first.

    Returns:
        For edges ``[E]``: node, first row, row after the last, depth, child (-1 at leaves); depth of each node
        ``[N]``; and for path entries ``[P]``: row and edge.
    """
    count, depths = rows.shape
    edges = {name: [] for name in ("node", "low", "high", "begin")}
    node_depth, path_row, path_edge, child_of = [], [], [], []
    last_edge = np.full(count, -1, np.int64)  # the edge that a row has gone through last
    n_nodes = n_edges = 0
    for depth in range(depths):
        low = np.flatnonzero(common < depth + 1)  # rows that begin a new prefix of depth + 1 tokens
        group_start = common[low] < depth  # of these, rows that begin a new prefix of depth tokens
        group = group_start.cumsum() - 1
        high = np.append(low[1:], count)
        branching = np.bincount(group) > 1 if depth else np.ones(1, bool)
        kept = branching[group]
        low, high, group = low[kept], high[kept], group[kept]
        if len(low) == 0:
            continue
        first = np.append(True, group[1:] != group[:-1])
        node = n_nodes + first.cumsum() - 1
        number = n_edges + np.arange(len(low))
        parent = last_edge[low[first]]
        child_of.append(np.stack([parent, node[first]], 1)[parent >= 0])
        covered = np.repeat(number, high - low)
        offset = np.repeat(low - np.append(0, (high - low).cumsum()[:-1]), high - low)
        row = np.arange(len(covered)) + offset
        last_edge[row] = covered
        path_row.append(row)
        path_edge.append(covered)
        for name, values in (("node", node), ("low", low), ("high", high), ("begin", np.full(len(low), depth))):
            edges[name].append(values)
        node_depth.append(np.full(first.sum(), depth))
        n_nodes += int(first.sum())
        n_edges += len(low)
    child = np.full(n_edges, -1, np.int64)
    pairs = np.concatenate(child_of)
    child[pairs[:, 0]] = pairs[:, 1]
    flat = {name: np.concatenate(values) for name, values in edges.items()}
    return (
        flat["node"],
        flat["low"],
        flat["high"],
        flat["begin"],
        np.concatenate(node_depth),
        child,
        np.concatenate(path_row),
        np.concatenate(path_edge),
    )
