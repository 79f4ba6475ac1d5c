"""Scores of given items: all of them through the trie, some of them, and the slow oracle.

Letters: B prompts, I items, E edges, C pairs of prompt and item.
"""

from collections.abc import Sequence
from typing import Any

import torch

from recbole_genrec.decoding.language_model import LanguageModel
from recbole_genrec.decoding.ragged import last_of, ragged_arange
from recbole_genrec.decoding.softmax import EdgeProbabilities
from recbole_genrec.decoding.tree import PromptTree
from recbole_genrec.decoding.trie import Trie

#: tokens of a tree that are fed at once: the cost of attention among them grows with their square.
TREE_TOKENS = 1024


@torch.no_grad()
def score_catalogue(tree: PromptTree, normalization: str = "trie", edges_at_once: int | None = None) -> torch.Tensor:
    """Log-probability of every item: one pass over the trie, shared prefixes fed once.

    Args:
        tree: a fresh :class:`~recbole_genrec.decoding.tree.PromptTree`.
        normalization: ``trie`` or ``vocab``.
        edges_at_once: edges fed to all prompts in one forward; by default so many that they have about
            :data:`TREE_TOKENS` tokens, and that logits over the vocabulary take at most some hundred MiB.

    Returns:
        ``[B, I + 1]`` by item id; column 0 is -inf.
    """
    trie, batch = tree.trie, len(tree)
    fed = torch.nonzero(_must_be_fed(trie, normalization))[:, 0]
    edges_at_once = edges_at_once or edges_of_a_forward(tree, fed)
    probabilities = tree.probabilities(normalization)
    log_probs = at_root(tree, probabilities)
    prompt = torch.arange(batch, device=log_probs.device)
    for edges in subtrees(trie, fed, edges_at_once):
        for chunk in edges.split(edges_at_once):
            follow(tree, probabilities, prompt.repeat_interleave(len(chunk)), chunk.repeat(batch), log_probs)
        tree.rewind()
    return of_items(trie, log_probs)


def edges_of_a_forward(tree: PromptTree, edge: torch.Tensor) -> int:
    """How many of the edges ``[M]`` are fed to all prompts at once, where logits over the vocabulary are taken."""
    trie = tree.trie
    n_tokens = min(TREE_TOKENS, 2**26 // (len(tree) * tree.backbone.vocab_size))
    mean_length = (trie.edge_end - trie.edge_begin)[edge].float().mean().nan_to_num(1)
    return max(1, int(n_tokens / mean_length))


def of_items(trie: Trie, log_probs: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of items ``[B, I + 1]``, column 0 -inf, from those of edges ``[B, E]``."""
    owner, _ = ragged_arange(trie.path_offset.diff())
    scores = torch.zeros(len(log_probs), trie.n_items + 1, device=log_probs.device)
    scores.index_add_(1, owner, log_probs[:, trie.path_edge])
    scores[:, 0] = -torch.inf
    return scores


def subtrees(trie: Trie, edges: torch.Tensor, at_once: int) -> Sequence[torch.Tensor]:
    """Split edges into whole subtrees of the root, as many at a time as have ``at_once`` edges together, or one.

    No edge lies above one of another subtree, so the tree can forget a part before it takes the next; what it holds,
    and with it the cost of attention, does not grow with the catalogue. Parents come before their children.
    """
    root = torch.searchsorted(trie.edge_low[: len(trie.root_token)], trie.edge_low[edges], right=True) - 1
    edges = edges[torch.argsort(root, stable=True)]
    sizes = [0]
    for size in torch.bincount(root).tolist():
        if sizes[-1] and sizes[-1] + size > at_once:
            sizes.append(0)
        sizes[-1] += size
    return edges.split(sizes)


@torch.no_grad()
def score_pairs(
    tree: PromptTree, prompt: torch.Tensor, item: torch.Tensor, normalization: str = "trie"
) -> torch.Tensor:
    """Log-probability of some items.

    Args:
        tree: a fresh :class:`~recbole_genrec.decoding.tree.PromptTree`.
        prompt: ``[C]``, row of the tree.
        item: ``[C]``, item ids.
        normalization: ``trie`` or ``vocab``.

    Returns:
        ``[C]``.
    """
    trie = tree.trie
    owner, edge = paths(trie, item)
    row = prompt[owner]
    probabilities = tree.probabilities(normalization)
    log_probs = at_root(tree, probabilities)
    fed = _must_be_fed(trie, normalization)[edge]
    pairs = torch.unique(row[fed] * trie.n_edges + edge[fed])  # sorted: parents still come before children
    follow(tree, probabilities, pairs // trie.n_edges, pairs % trie.n_edges, log_probs)
    return torch.zeros(len(item), device=item.device).index_add_(0, owner, log_probs[row, edge])


def paths(trie: Trie, item: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges from the root to each item, laid end to end: ``owner [N]`` and ``edge [N]``."""
    owner, order = ragged_arange(trie.path_offset[item + 1] - trie.path_offset[item])
    return owner, trie.path_edge[trie.path_offset[item[owner]] + order]


def _must_be_fed(trie: Trie, normalization: str) -> torch.Tensor:
    """Edges whose tokens have to go through the model ``[E]``.

    Those lead on or, where forced tokens count, have forced tokens.
    """
    leads_on = trie.edge_child >= 0
    return leads_on if normalization == "trie" else leads_on | (trie.edge_end - trie.edge_begin > 1)


def at_root(tree: PromptTree, probabilities: EdgeProbabilities) -> torch.Tensor:
    """Log-probabilities of edges ``[B, E]``, those of the root filled in."""
    log_probs = torch.zeros(len(tree), tree.trie.n_edges, device=tree.root_hidden.device)
    log_probs[:, : len(tree.trie.root_token)] = probabilities.of_root(tree.root_hidden)
    return log_probs


def follow(
    tree: PromptTree,
    probabilities: EdgeProbabilities,
    prompt: torch.Tensor,
    edge: torch.Tensor,
    log_probs: torch.Tensor,
    whole: bool = False,
) -> torch.Tensor:
    """Feed edges and write into ``log_probs [B, E]`` what they give: their forced tokens' and their children's.

    Args:
        tree: the tree.
        probabilities: of its edges.
        prompt: ``[M]``, the prompt that each edge continues.
        edge: ``[M]``.
        log_probs: written in place.
        whole: feed the last token of the edges that end items, too, which predicts nothing.

    Returns:
        The last state that each edge has ``[M, H]``; without ``whole``, of those that lead on alone.
    """
    if len(edge) == 0:
        return tree.root_hidden[:0]
    trie, vocab = tree.trie, probabilities.normalization == "vocab"
    leads_on = trie.edge_child[edge] >= 0
    hidden, owner = tree.extend(prompt, edge, drop_last=None if whole else ~leads_on)
    if vocab:
        # An edge's own entry is written by its parent, maybe in this very call: forced tokens are added after it.
        forced = probabilities.of_forced(hidden, owner, edge)
    last = last_of(owner)
    node = trie.edge_child[edge[leads_on]]
    state, prompt_on = hidden[last & leads_on[owner]], prompt[leads_on]
    values, child = probabilities.of_children(state, node, prompt_on)
    real = values > -torch.inf
    log_probs[prompt_on[:, None].expand_as(child)[real], child[real]] = values[real]
    if vocab:
        log_probs[prompt, edge] += forced
    return hidden[last] if whole else state


@torch.no_grad()
def score_by_teacher_forcing(
    backbone: LanguageModel, trie: Trie, prompt_embeds: torch.Tensor, item: torch.Tensor, normalization: str
) -> torch.Tensor:
    """Log-probability of items after one prompt, each fed whole and on its own: slow, plain, and the oracle.

    Args:
        backbone: the language model.
        trie: the catalogue.
        prompt_embeds: one prompt without padding, ``[1, P, H]``.
        item: ``[C]``, item ids.
        normalization: ``trie`` or ``vocab``.

    Returns:
        ``[C]``.
    """
    owner, order = ragged_arange(trie.token_offset[item + 1] - trie.token_offset[item])
    token = trie.token[trie.token_offset[item[owner]] + order]
    table = torch.full((len(item), int(order.max()) + 1), backbone.pad_id, device=item.device)
    table[owner, order] = token
    hidden = backbone.continuation(prompt_embeds, backbone.embed(table))  # [C, longest identifier, H]
    logits = backbone.logits(hidden)  # [C, longest identifier, V]
    if normalization == "vocab":
        values = logits.log_softmax(-1)[owner, order, token]
        return torch.zeros(len(item), device=item.device).index_add_(0, owner, values)
    owner, edge = paths(trie, item)
    children, mask = trie.children(trie.edge_node[edge])
    at_node, state = logits[owner, trie.edge_begin[edge]], hidden[owner, trie.edge_begin[edge]]
    values = at_node.gather(1, trie.edge_token[children])
    if trie.edge_embedding is not None:
        values = values + torch.einsum("dh,dfh->df", state.float(), trie.edge_embedding(children))
    if trie.item_vectors is not None:
        every = torch.arange(1, trie.n_items + 1, device=item.device)
        logit = trie.item_vectors(every) @ hidden[0, 0].float()  # [I], after the prompt
        if trie.unseen_share:
            logit = _shared(logit, trie)
        below = trie.count_below(torch.nn.functional.pad(torch.eye(len(every), device=item.device), (1, 0)) > 0) > 0
        mass = torch.where(below, logit[:, None], -torch.inf).logsumexp(0)  # [E]
        values = values * trie.title_weight + mass[children]
    log_probs = values.masked_fill(~mask, -torch.inf).log_softmax(-1)
    values = log_probs.gather(1, (edge - trie.node_offset[trie.edge_node[edge]])[:, None])[:, 0]
    return torch.zeros(len(item), device=item.device).index_add_(0, owner, values)


def _shared(logit: torch.Tensor, trie: Trie) -> torch.Tensor:
    """Logits ``[I]`` of items whose probabilities are scaled so that unseen ones have their share: plain, as above."""
    vectors: Any = trie.item_vectors
    unseen = (getattr(vectors, "learned", vectors.weight)[1:] == 0).all(1)
    probability = logit.softmax(0)
    for items, share in ((unseen, trie.unseen_share), (~unseen, 1 - trie.unseen_share)):
        if items.any() and not items.all():
            probability[items] *= share / probability[items].sum()
    return probability.log()
