"""The catalogue as a path-compressed prefix tree over identifiers.

Only depths at which identifiers part are nodes (the root always is one). An edge carries its first token, on which the
decision falls, and the forced tokens after it. An item is decided as soon as its prefix is unique.

Example: three items, with 2 as the end token. Rows are the items in the order of their sorted identifiers.

    item  identifier   token      row               root ─┬─ 5 6 ─┬─ 7 2   item 2
    1     9 4          9 4 2      2                       │       └─ 8 2   item 3
    2     5 6 7        5 6 7 2    0                       └─ 9 4 2         item 1
    3     5 6 8        5 6 8 2    1

    edge  node  token  child  item  sample  begin  end  low  high  inner
    0     0     5      1      0     2       0      2    0    2     0
    1     0     9      -1     1     1       0      3    2    3     0
    2     1     7      -1     2     2       2      4    0    1     0
    3     1     8      -1     3     3       2      4    1    2     1

    node  depth  offset          path of item 1: edge 1; of item 2: edges 0, 2; of item 3: edges 0, 3
    0     0      0               path_edge    1 | 0 2 | 0 3
    1     2      2 (to 4)        path_offset  0 0 1 3 5      token_offset  0 0 3 7 11      inner_token  7 8

The builder walks down depth by depth. It looks at the rows that still share all tokens so far with another row; rows of
one group share one prefix. A group with several next tokens is a node, and each of these tokens an edge:

    depth  row    group  next token  first  node  new edges
    0      0 1 2  0 0 0  5 5 9       0 2    0     0 (rows 0, 1), 1 (row 2)
    1      0 1    0 0    6 6         0      -     -
    2      0 1    0 0    7 8         0 1    1     2 (row 0), 3 (row 1)

Letters: I items, N branching nodes, E edges, P path entries, D decisions, F children of a node.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch

from recbole_genrec.decoding.ragged import ragged_arange
from recbole_genrec.decoding.upper_part import UpperPart, find_upper_part
from recbole_genrec.errors import GenRecError
from recbole_genrec.vectors.item_vectors import ItemVectors

#: the columns of a table, by name.
Columns = dict[str, np.ndarray]


@dataclass
class Trie:
    """All identifiers of a catalogue, built by :func:`build_trie`; all fields but the last three are int64 tensors.

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
    #: an item below the edge: its identifier's tokens ``begin`` to ``end - 1`` are the edge's own.
    edge_sample: torch.Tensor
    edge_begin: torch.Tensor
    edge_end: torch.Tensor
    #: items below the edge are the rows ``low`` to ``high - 1`` in the order of sorted identifiers.
    edge_low: torch.Tensor
    edge_high: torch.Tensor
    #: edges from the root to each item, flat, and where each item's begin, by item id ``[I + 2]``.
    path_edge: torch.Tensor
    path_offset: torch.Tensor
    #: tokens that edges below the root begin with, sorted, and the index of each such edge's among them (root: 0).
    inner_token: torch.Tensor
    edge_inner: torch.Tensor
    #: what a model has learnt about each edge, ``[E, H]``, or None; see :mod:`recbole_genrec.decoding.softmax`.
    edge_embedding: torch.nn.Embedding | None = None
    #: what it has learnt about each item, ``[I + 1, H]``, or None; see :mod:`recbole_genrec.decoding.prior`.
    item_vectors: torch.nn.Embedding | ItemVectors | None = None
    #: probability that the items which training has not seen have together in a ranking; 0: what their texts give them.
    unseen_share: float = 0.0
    #: a list has an item that training has not seen in each so many places; 0: where their scores put them.
    unseen_every: int = 0
    #: what logits of tokens and edges are multiplied with in a ranking before the prior is added to them.
    title_weight: float = 1.0

    @property
    def n_items(self) -> int:
        """How many items the trie holds, I."""
        return len(self.token_offset) - 2

    @property
    def n_nodes(self) -> int:
        """How many nodes the trie has, the root among them."""
        return len(self.node_depth)

    @property
    def n_edges(self) -> int:
        """How many edges the trie has, E."""
        return len(self.edge_token)

    @property
    def root_token(self) -> torch.Tensor:
        """Tokens an identifier can begin with, by the number of the root's edge."""
        return self.edge_token[: self.node_offset[1]]

    @cached_property
    def row_leaf(self) -> torch.Tensor:
        """Edges that decide items, by the row of the item ``[I]``."""
        leaf = torch.nonzero(self.edge_item)[:, 0]
        return leaf[torch.argsort(self.edge_low[leaf])]

    @cached_property
    def row_item(self) -> torch.Tensor:
        """Items by row: in the order of their sorted identifiers ``[I]``."""
        return self.edge_item[self.row_leaf]

    @cached_property
    def upper_part(self) -> UpperPart:
        """The nodes that most histories pass."""
        return find_upper_part(self.edge_node, self.edge_child, self.edge_low, self.edge_high)

    def to(self, device: torch.device | str) -> "Trie":
        """The same trie on another device."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {name: value.to(device) if hasattr(value, "to") else value for name, value in values.items()}
        return Trie(**moved)

    def with_ending(self, ending: Sequence[int]) -> "Trie":
        """The same trie with several tokens in the place of each end token.

        A path is an identifier and what follows it. Siblings may then begin alike, if an identifier goes on as another
        ends: the trie says what to feed, it has no probabilities.

        Args:
            ending: token ids, at least one.
        """
        tail, device = torch.tensor(list(ending), device=self.token.device), self.token.device
        length = self.token_offset.diff()
        own = (length - 1).clamp_min(0)  # item 0 has no tokens at all
        longer = torch.where(length > 0, own + len(tail), 0)
        owner, order = ragged_arange(longer)
        is_own = order < own[owner]
        token = tail[(order - own[owner]).clamp_min(0)]
        token[is_own] = self.token[(self.token_offset[owner] + order)[is_own]]
        offset = torch.cat([torch.zeros(1, dtype=torch.long, device=device), longer.cumsum(0)])
        edge_end = self.edge_end + (len(tail) - 1) * (self.edge_item > 0)
        first = token[offset[self.edge_sample] + self.edge_begin]
        return replace(self, token=token, token_offset=offset, edge_end=edge_end, edge_token=first)

    def children(self, node: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The edges of some nodes, padded to the largest number of edges.

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

    def common_edges(self, former: "Trie") -> tuple[torch.Tensor, torch.Tensor]:
        """Edges that a trie of the first of these items has, too: those whose first token stands after the same tokens.

        Args:
            former: :class:`Trie` of items 1 to J, J <= I, with the same identifiers.

        Returns:
            numbers of the edges here, and there, both ``[C]``; of an edge that a new item parts, the upper half is
            common.
        """
        keys, former_keys = self._path_keys(), former._path_keys()
        _, own, other = np.intersect1d(keys, former_keys, assume_unique=True, return_indices=True)
        pairs = torch.stack([self.path_edge[torch.from_numpy(own)], former.path_edge[torch.from_numpy(other)]])
        here, there = torch.unique(pairs, dim=1)
        return here, there

    def _path_keys(self) -> np.ndarray:
        """A number for the item and the depth of every path entry ``[P]``."""
        item = np.repeat(np.arange(len(self.path_offset) - 1), self.path_offset.diff().cpu().numpy())
        return (item << 32) + self.edge_begin[self.path_edge].cpu().numpy()

    def count_below(self, chosen: torch.Tensor) -> torch.Tensor:
        """How many of some items stand below each edge.

        Args:
            chosen: booleans by item id ``[R, I + 1]``; item 0, padding, is below no edge.

        Returns:
            ``[R, E]``.
        """
        owner, _ = ragged_arange(self.path_offset.diff())
        counts = torch.zeros(len(chosen), self.n_edges, dtype=torch.long, device=chosen.device)
        return counts.index_add_(1, self.path_edge, chosen[:, owner].long())


def build_trie(identifiers: Sequence[Sequence[int]], end: int) -> Trie:
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
    token, offset = _flat_tokens(identifiers, end)
    walk = _DepthWalk(token, offset, end)
    walk.run()
    node, edge, path = walk.columns()
    arrays = {"token": token, "token_offset": np.append(0, offset), "node_depth": node["depth"]}
    arrays |= _edge_arrays(edge, node["depth"], walk.order, token, offset)
    arrays["node_offset"] = np.searchsorted(arrays["edge_node"], np.arange(len(node["depth"]) + 1))
    item = walk.order[path["row"]] + 1
    arrays["path_edge"] = path["edge"][np.argsort(item, kind="stable")]  # an item's edges stay in the order of depth
    arrays["path_offset"] = np.append(0, np.bincount(item, minlength=len(identifiers) + 1).cumsum())
    whole = {name: np.ascontiguousarray(array, np.int64) for name, array in arrays.items()}
    tensors: dict[str, Any] = {name: torch.from_numpy(array) for name, array in whole.items()}
    return Trie(**tensors)


def _flat_tokens(identifiers: Sequence[Sequence[int]], end: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of all identifiers, flat, with end tokens, and where those of each item begin ``[I + 1]``."""
    count = len(identifiers)
    if count == 0:
        raise GenRecError("The catalogue is empty: there is no item to build a trie from.")
    lengths = np.fromiter(map(len, identifiers), np.int64, count)
    if not lengths.all():
        raise GenRecError(f"Item {int(np.flatnonzero(lengths == 0)[0]) + 1} has an empty identifier.")
    offset = np.append(0, (lengths + 1).cumsum())
    token = np.full(offset[-1], end, np.int64)
    own = np.ones(len(token), bool)
    own[offset[1:] - 1] = False
    token[own] = np.fromiter(chain.from_iterable(identifiers), np.int64, lengths.sum())
    with_end = np.flatnonzero(own & (token == end))
    if len(with_end):
        item = int(np.searchsorted(offset, with_end[0], "right"))
        raise GenRecError(f"Item {item} has the end token in its identifier.")
    return token, offset


def _edge_arrays(
    edge: Columns, node_depth: np.ndarray, order: np.ndarray, token: np.ndarray, offset: np.ndarray
) -> Columns:
    """All columns of the header's table of edges, by their names in :class:`Trie`."""
    sample = order[edge["low"]]  # from 0
    leaf, inner = edge["child"] < 0, edge["node"] > 0
    length = np.diff(offset)[sample]
    first_token = token[offset[sample] + edge["begin"]]
    inner_token, index = np.unique(first_token[inner], return_inverse=True)
    edge = edge | {
        "token": first_token,
        "item": np.where(leaf, sample + 1, 0),
        "sample": sample + 1,
        "end": np.where(leaf, length, node_depth[edge["child"]]),
        "inner": np.zeros(len(sample), np.int64),
    }
    edge["inner"][inner] = index
    return {"inner_token": inner_token} | {f"edge_{name}": column for name, column in edge.items()}


class _DepthWalk:
    """Sorts identifiers, first token first, and finds nodes and edges on the way: the header's second table.

    A depth looks only at rows that share all tokens before it: the work follows the prefixes that identifiers share,
    and a long identifier costs its own tokens, not a column for everybody.

    Args:
        token: tokens of all identifiers, flat, end tokens included.
        offset: where each one's begin ``[I + 1]``.
        end: the end token.

    Attributes:
        order: the item of each row, from 0 ``[I]``; final where the walk is over.
        row: rows that share ``depth`` tokens with another, ascending ``[R]``.
        group: number of the prefix that each of them shares ``[R]``.
        last_edge: the edge that each row has passed last, -1 for none ``[I]``.
    """

    def __init__(self, token: np.ndarray, offset: np.ndarray, end: int) -> None:
        count = len(offset) - 1
        self._token, self._offset, self._end = token, offset, end
        self.order, self.row, self.group = np.arange(count), np.arange(count), np.zeros(count, np.int64)
        self.depth = self.n_nodes = self.n_edges = 0
        self.last_edge = np.full(count, -1, np.int64)
        self._nodes: list[Columns] = []
        self._edges: list[Columns] = []
        self._paths: list[Columns] = []

    def run(self) -> None:
        """Walk down until no two rows share a prefix.

        Raises:
            GenRecError: two identifiers are the same.
        """
        while len(self.row):
            first = self._sort()
            size = np.diff(np.append(first, len(self.row)))
            self._branch(first, size)
            shared = size > 1
            self.row = self.row[np.repeat(shared, size)]
            self.group = np.repeat(np.arange(shared.sum()), size[shared])
            self.depth += 1

    def columns(self) -> tuple[Columns, Columns, Columns]:
        """The columns of nodes ``[N]``, of edges ``[E]`` and of path entries ``[P]``, these by row and edge."""
        node, edge, path = (
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            for parts in (self._nodes, self._edges, self._paths)
        )
        below = np.flatnonzero(node["above"] >= 0)
        edge["child"] = np.full(self.n_edges, -1, np.int64)
        edge["child"][node["above"][below]] = below
        return node, edge, path

    def _sort(self) -> np.ndarray:
        """Sort the rows of every group by their next token; indices into ``row`` where a new prefix begins."""
        next_token = self._token[self._offset[self.order[self.row]] + self.depth]
        by_token = np.lexsort((next_token, self.group))
        self.order[self.row], next_token = self.order[self.row[by_token]], next_token[by_token]
        differs = (next_token[1:] != next_token[:-1]) | (self.group[1:] != self.group[:-1])
        begins = np.append(True, differs)
        repeated = np.flatnonzero(~begins & (next_token == self._end))
        if len(repeated):
            second = self.row[repeated[0]]
            raise GenRecError(f"Items {self.order[second - 1] + 1} and {self.order[second] + 1} share an identifier.")
        return np.flatnonzero(begins)

    def _branch(self, first: np.ndarray, size: np.ndarray) -> None:
        """Make nodes of the groups that hold several prefixes, and edges of these prefixes.

        Args:
            first: where each prefix begins in ``row``.
            size: how many rows have it.
        """
        group = self.group[first]
        parts = np.bincount(group) > 1 if self.depth else np.ones(1, bool)
        is_edge = parts[group]
        if not is_edge.any():
            return
        low, width, group = self.row[first[is_edge]], size[is_edge], group[is_edge]
        opens = np.append(True, group[1:] != group[:-1])  # the first edge of each node
        edge = self.n_edges + np.arange(len(low))
        row, row_edge = self.row[np.repeat(is_edge, size)], np.repeat(edge, width)
        node = self.n_nodes + opens.cumsum() - 1
        self._nodes.append({"depth": np.full(opens.sum(), self.depth), "above": self.last_edge[low[opens]]})
        begin = np.full(len(low), self.depth)
        self._edges.append({"node": node, "begin": begin, "low": low, "high": low + width})
        self._paths.append({"row": row, "edge": row_edge})
        self.last_edge[row] = row_edge
        self.n_nodes += int(opens.sum())
        self.n_edges += len(low)
