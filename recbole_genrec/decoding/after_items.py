"""Model outputs after prompts that end with an item: each history is computed once, and the items follow it as a trie.

The trie of :func:`read_pairs` and :func:`read_catalogue` is one of
:meth:`~recbole_genrec.decoding.trie.Trie.with_ending`: a path is an item and the text after it. The functions that
score, too, take the catalogue's own.

Letters: B prompts, I items, C pairs of prompt and item, H hidden size, N states.
"""

from collections.abc import Callable

import torch

from recbole_genrec.decoding.ragged import last_of
from recbole_genrec.decoding.scoring import (
    TREE_TOKENS,
    at_root,
    edges_of_a_forward,
    follow,
    of_items,
    paths,
    subtrees,
)
from recbole_genrec.decoding.tree import PromptTree

#: numbers ``[N]`` of last states ``[N, H]``.
Reader = Callable[[torch.Tensor], torch.Tensor]


@torch.no_grad()
def read_pairs(tree: PromptTree, prompt: torch.Tensor, item: torch.Tensor, read: Reader) -> torch.Tensor:
    """Read the state after some items.

    Args:
        tree: a fresh :class:`~recbole_genrec.decoding.tree.PromptTree`.
        prompt: ``[C]``, row of the tree.
        item: ``[C]``, item ids.
        read: gives a number for each state.

    Returns:
        ``[C]``.
    """
    trie = tree.trie
    owner, edge = paths(trie, item)
    pairs = torch.unique(prompt[owner] * trie.n_edges + edge)  # sorted: parents come before their children
    state = _last_states(tree, pairs // trie.n_edges, pairs % trie.n_edges)
    leaf = trie.path_edge[trie.path_offset[item + 1] - 1]
    return read(state[torch.searchsorted(pairs, prompt * trie.n_edges + leaf)])


@torch.no_grad()
def read_catalogue(tree: PromptTree, read: Reader, edges_at_once: int | None = None) -> torch.Tensor:
    """Read the state after every item: one pass over the trie, shared prefixes fed once.

    Args:
        tree: a fresh :class:`~recbole_genrec.decoding.tree.PromptTree`.
        read: gives a number for each state.
        edges_at_once: edges fed to all prompts in one forward; by default so many that they have about
            :data:`~recbole_genrec.decoding.scoring.TREE_TOKENS` tokens.

    Returns:
        ``[B, I + 1]`` by item id; column 0 is -inf.
    """
    trie, batch = tree.trie, len(tree)
    device = tree.root_hidden.device
    if edges_at_once is None:
        mean_length = (trie.edge_end - trie.edge_begin).float().mean()
        edges_at_once = max(1, int(TREE_TOKENS / mean_length))
    values = torch.full((batch, trie.n_items + 1), -torch.inf, device=device)
    prompt = torch.arange(batch, device=device)
    for edges in subtrees(trie, torch.arange(trie.n_edges, device=device), edges_at_once):
        for chunk in edges.split(edges_at_once):
            row, edge = prompt.repeat_interleave(len(chunk)), chunk.repeat(batch)
            state, leaf = _last_states(tree, row, edge), trie.edge_item[edge] > 0
            values[row[leaf], trie.edge_item[edge[leaf]]] = read(state[leaf])
        tree.rewind()
    return values


@torch.no_grad()
def score_and_read_pairs(
    tree: PromptTree, prompt: torch.Tensor, item: torch.Tensor, read: Reader
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability over the vocabulary of some items' tokens, end tokens included, and the value read after them.

    Args: those of :func:`read_pairs`.

    Returns:
        Two times ``[C]``.
    """
    trie = tree.trie
    owner, edge = paths(trie, item)
    row, probabilities = prompt[owner], tree.probabilities("vocab")
    log_probs = at_root(tree, probabilities)
    pairs = torch.unique(row * trie.n_edges + edge)  # sorted: parents come before their children
    state = follow(tree, probabilities, pairs // trie.n_edges, pairs % trie.n_edges, log_probs, whole=True)
    total = torch.zeros(len(item), device=log_probs.device).index_add_(0, owner, log_probs[row, edge])
    leaf = trie.path_edge[trie.path_offset[item + 1] - 1]
    return total, read(state[torch.searchsorted(pairs, prompt * trie.n_edges + leaf)])


@torch.no_grad()
def score_and_read_catalogue(
    tree: PromptTree, read: Reader, edges_at_once: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`score_and_read_pairs` of every item: one pass over the trie, shared prefixes fed once.

    Args:
        tree, read: those of :func:`read_catalogue`.
        edges_at_once: edges fed to all prompts in one forward; see
            :func:`~recbole_genrec.decoding.scoring.edges_of_a_forward`.

    Returns:
        Two times ``[B, I + 1]`` by item id; columns 0 are -inf.
    """
    trie, batch = tree.trie, len(tree)
    device = tree.root_hidden.device
    every, prompt = torch.arange(trie.n_edges, device=device), torch.arange(batch, device=device)
    edges_at_once = edges_at_once or edges_of_a_forward(tree, every)
    probabilities = tree.probabilities("vocab")
    log_probs = at_root(tree, probabilities)
    values = torch.full((batch, trie.n_items + 1), -torch.inf, device=device)
    for edges in subtrees(trie, every, edges_at_once):
        for chunk in edges.split(edges_at_once):
            row, edge = prompt.repeat_interleave(len(chunk)), chunk.repeat(batch)
            state, leaf = follow(tree, probabilities, row, edge, log_probs, whole=True), trie.edge_item[edge] > 0
            values[row[leaf], trie.edge_item[edge[leaf]]] = read(state[leaf])
        tree.rewind()
    return of_items(trie, log_probs), values


def _last_states(tree: PromptTree, prompt: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
    """Feed edges after prompts, both ``[M]``; the state after the last token of each ``[M, H]``."""
    hidden, owner = tree.extend(prompt, edge)
    return hidden[last_of(owner)]
