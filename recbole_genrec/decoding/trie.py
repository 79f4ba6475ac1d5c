"""The catalogue as a path-compressed prefix tree over identifiers.

Letters: I items, N branching nodes, E edges, P path entries, D decisions, F children of a node.

Only places where identifiers part are nodes (the root always is one); an edge carries its first token, on which the
decision falls, and the forced tokens after it. An item is decided as soon as its prefix is unique.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain

import numpy as np
import torch

from recbole_genrec.decoding.ragged import ragged_arange
from recbole_genrec.errors import GenRecError


@dataclass
class Trie:
    """All identifiers of a catalogue. Build it with :func:`build_trie`; all fields but the last two are int64 tensors.

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
    #: what it has learnt about each item, ``[I + 1, H]``, or None; see :mod:`recbole_genrec.decoding.prior`.
    item_vectors: torch.nn.Embedding | None = None

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

    @cached_property
    def levels(self):
        """Edges below the root and the edges right above them, in pairs of tensors, a level each, the deepest first."""
        above = torch.full_like(self.node_depth, -1)
        leading = torch.nonzero(self.edge_child >= 0)[:, 0]
        above[self.edge_child[leading]] = leading
        parent, levels = above[self.edge_node], []
        last = parent < 0
        while (level := (parent >= 0) & last[parent]).any():
            edges = torch.nonzero(level)[:, 0]
            levels.append((edges, parent[edges]))
            last = level
        return levels[::-1]

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
        The :class:`Trie`, on the CPU. Built level by level with array operations: O(tokens log I) steps, and memory for
        the tokens alone.

    Raises:
        GenRecError: an identifier is empty, repeated or holds the end token.
    """
    count = len(identifiers)
    if count == 0:
        raise GenRecError("The catalogue is empty: there is no item to build a trie from.")
    lengths = np.fromiter(map(len, identifiers), np.int64, count)
    if not lengths.all():
        raise GenRecError(f"Item {int(np.flatnonzero(lengths == 0)[0]) + 1} has an empty identifier.")
    offset = np.append(0, (lengths + 1).cumsum())  # [I + 1], where the tokens of each item begin, end token included
    token = np.full(offset[-1], end, np.int64)
    own = np.ones(len(token), bool)
    own[offset[1:] - 1] = False
    token[own] = np.fromiter(chain.from_iterable(identifiers), np.int64, lengths.sum())
    held = np.flatnonzero(own & (token == end))
    if len(held):
        item = int(np.searchsorted(offset, held[0], "right"))
        raise GenRecError(f"Item {item} has the end token in its identifier.")

    order, *parts = _branches(token, offset, end)
    edge_node, edge_low, edge_high, edge_begin, node_depth, edge_child, path_row, path_edge = parts
    leaf = edge_child < 0
    edge_item = np.where(leaf, order[edge_low] + 1, 0)
    edge_end = np.where(leaf, lengths[order[edge_low]] + 1, node_depth[edge_child])
    edge_token = token[offset[order[edge_low]] + edge_begin]
    path_item = order[path_row] + 1
    path_order = np.argsort(path_item, kind="stable")  # within an item edges stay in the order of depth
    inner = edge_node > 0
    inner_token, edge_inner = np.unique(edge_token[inner], return_inverse=True)
    edge_place = np.zeros(len(edge_token), np.int64)
    edge_place[inner] = edge_inner
    arrays = {
        "token": token,
        "token_offset": np.append(0, offset),
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


def _branches(token, offset, end):
    """Sort identifiers, first token first, and find nodes and edges on the way.

    A depth looks only at identifiers that are not told apart by then: the work follows the prefixes that they share,
    and a long identifier costs its own tokens, not a column for everybody.

    Args:
        token: tokens of all identifiers, flat, end tokens included. offset: where each one's begin ``[I + 1]``.
        end: the end token.

    Returns:
        Identifiers in sorted order ``[I]``; for edges ``[E]``: node, first row of that order, row after the last,
        depth, child (-1 at leaves); depth of each node ``[N]``; and for path entries ``[P]``: row and edge.

    Raises:
        GenRecError: two identifiers are the same.
    """
    count, depth = len(offset) - 1, 0
    order, row, group = np.arange(count), np.arange(count), np.zeros(count, np.int64)  # a group shares ``depth`` tokens
    edges = {name: [] for name in ("node", "low", "high", "begin")}
    node_depth, path_row, path_edge, child_of = [], [], [], []
    last_edge = np.full(count, -1, np.int64)  # the edge that a row has gone through last
    n_nodes = n_edges = 0
    while len(row):
        value = token[offset[order[row]] + depth]
        by_value = np.lexsort((value, group))
        order[row], value = order[row[by_value]], value[by_value]
        begins = np.append(True, (value[1:] != value[:-1]) | (group[1:] != group[:-1]))  # a prefix of one token more
        repeated = np.flatnonzero(~begins & (value == end))
        if len(repeated):
            second = row[repeated[0]]
            raise GenRecError(f"Items {order[second - 1] + 1} and {order[second] + 1} share an identifier.")
        first = np.flatnonzero(begins)
        size = np.diff(np.append(first, len(row)))
        branching = np.bincount(group[first]) > 1 if depth else np.ones(1, bool)
        kept = branching[group[first]]
        if kept.any():
            low, width, parted = row[first[kept]], size[kept], group[first[kept]]
            opens = np.append(True, parted[1:] != parted[:-1])
            node = n_nodes + opens.cumsum() - 1
            number = n_edges + np.arange(len(low))
            parent = last_edge[low[opens]]
            child_of.append(np.stack([parent, node[opens]], 1)[parent >= 0])
            covered, below = np.repeat(number, width), row[np.repeat(kept, size)]
            last_edge[below] = covered
            path_row.append(below)
            path_edge.append(covered)
            for name, values in (("node", node), ("low", low), ("high", low + width)):
                edges[name].append(values)
            edges["begin"].append(np.full(len(low), depth))
            node_depth.append(np.full(opens.sum(), depth))
            n_nodes += int(opens.sum())
            n_edges += len(low)
        several = size > 1
        row, group = row[np.repeat(several, size)], np.repeat(np.arange(several.sum()), size[several])
        depth += 1
    child = np.full(n_edges, -1, np.int64)
    pairs = np.concatenate(child_of)
    child[pairs[:, 0]] = pairs[:, 1]
    flat = {name: np.concatenate(values) for name, values in edges.items()}
    return (
        order,
        flat["node"],
        flat["low"],
        flat["high"],
        flat["begin"],
        np.concatenate(node_depth),
        child,
        np.concatenate(path_row),
        np.concatenate(path_edge),
    )
