"""Exact top-K over the catalogue by branch and bound, and beam search, batched over prompts.

Letters: B prompts, K list length, M entries of the frontier, F children of a node.

Scores only fall along a path, so an edge whose score is below that of the K-th best item cannot lead into the list.
Under ``trie`` normalisation an edge over n items also promises one: the best of them has at least 1/n of the edge's
probability; these promises bound the K-th score from below before the first item is finished.

Where only some items may be listed, scores stay those of the whole catalogue: nodes are normalised over all their
children, edges that lead to no allowed item are not followed, and only an edge all of whose items are allowed promises.
"""

from dataclasses import dataclass

import torch

from recbole_genrec.decoding.listable import listable
from recbole_genrec.decoding.ragged import last_of, rank_within
from recbole_genrec.decoding.tree import PromptTree

#: floats of a logit row differ in the last digits with the batch; a promise is lowered by this much to stay safe.
ROUNDING = 1e-4


@dataclass(frozen=True)
class SearchEffort:
    """The settings of a search.

    Attributes:
        num_beams: 0: exact search; else the width of a beam search, at least K. A step is a decision: forced tokens
            cost no step.
        node_budget: number of nodes after which the search of a prompt continues as a beam search of width K.
        expand_at_once: maximal number of nodes that one forward expands for a prompt, the best first.
    """

    num_beams: int = 0
    node_budget: int = 1000
    expand_at_once: int = 16


@dataclass
class TopK:
    """Result of a search.

    Attributes:
        items: item ids, best first, ties by the lower id ``[B, K]``; 0 where a prompt has fewer allowed items.
        scores: their log-probabilities ``[B, K]``; -inf where there is no item.
        expanded: nodes expanded below the root, for each prompt ``[B]``.
        over_budget: true where the node budget was hit and beam search finished the list ``[B]``.
        rounds: forwards after the prompts'.
    """

    items: torch.Tensor
    scores: torch.Tensor
    expanded: torch.Tensor
    over_budget: torch.Tensor
    rounds: int


@dataclass
class _Frontier:
    """The edges that the search may still follow, flat over all prompts; all ``[M]``."""

    prompt: torch.Tensor
    edge: torch.Tensor
    score: torch.Tensor

    def __getitem__(self, index: torch.Tensor) -> "_Frontier":
        return _Frontier(self.prompt[index], self.edge[index], self.score[index])

    def joined(self, other: "_Frontier") -> "_Frontier":
        return _Frontier(
            torch.cat([self.prompt, other.prompt]),
            torch.cat([self.edge, other.edge]),
            torch.cat([self.score, other.score]),
        )


@torch.no_grad()
def search(
    tree: PromptTree,
    k: int,
    normalization: str = "trie",
    effort: SearchEffort | None = None,
    allowed: torch.Tensor | None = None,
    left_out: torch.Tensor | None = None,
) -> TopK:
    """Find the K most probable items of every prompt.

    Args:
        tree: a fresh :class:`~recbole_genrec.decoding.tree.PromptTree`.
        k: list length, at most the number of items.
        normalization: ``trie`` or ``vocab``.
        effort: :class:`SearchEffort`; by default the exact answer.
        allowed: booleans by item id, the items that may be listed ``[I + 1]``; ``None``: all.
        left_out: item ids that may not be listed for each prompt, padded with 0, in any order and also repeatedly
            ``[B, S]``; ``None``: none.

    Returns:
        :class:`TopK`.
    """
    run = _Search(tree, k, normalization, effort or SearchEffort())
    if allowed is not None or left_out is not None:
        run.open, run.whole = listable(tree.trie, len(tree), allowed, left_out)
    run.follow_root()
    while run.expand():
        pass
    return run.result()


class _Search:
    """State of one search: the finished lists, dense, and the frontier, flat."""

    def __init__(self, tree: PromptTree, k: int, normalization: str, effort: SearchEffort) -> None:
        self.tree, self.trie, self.k, self.normalization, self.effort = tree, tree.trie, k, normalization, effort
        self.probabilities = tree.probabilities(normalization)
        device, batch = tree.root_hidden.device, len(tree)
        self.kept = max(k, effort.num_beams)
        self.scores = torch.full((batch, self.kept), -torch.inf, device=device)
        self.items = torch.zeros(batch, self.kept, dtype=torch.long, device=device)
        self.expanded = torch.zeros(batch, dtype=torch.long, device=device)
        self.over_budget = torch.zeros(batch, dtype=torch.bool, device=device)
        self.rounds = 0
        none = torch.zeros(0, dtype=torch.long, device=device)
        self.frontier = _Frontier(none, none, torch.zeros(0, device=device))
        # Where all items may be listed, None; else booleans [B or 1, E].
        self.open: torch.Tensor | None = None
        self.whole: torch.Tensor | None = None

    def follow_root(self) -> None:
        """Put the root's edges on the frontier."""
        log_probs = self.probabilities.of_root(self.tree.root_hidden)
        prompt = torch.arange(len(log_probs), device=log_probs.device)[:, None]
        edge = torch.arange(log_probs.shape[1], device=log_probs.device)
        followed = torch.ones_like(log_probs, dtype=torch.bool)
        if self.normalization == "trie" and log_probs.shape[1] >= self.k:
            # The root has by far the most edges; its promises leave few of them to sort.
            followed = log_probs >= self._promised(prompt, edge, log_probs).topk(self.k).values[:, -1:]
        if self.open is not None:
            followed &= self._of(self.open, prompt, edge)
        prompt, edge = torch.nonzero(followed, as_tuple=True)
        self._add(_Frontier(prompt, edge, log_probs[followed]))

    def expand(self) -> bool:
        """One forward: expand the best entries of every prompt's frontier; false when nothing is left."""
        frontier = self.frontier
        if len(frontier.edge) == 0:
            return False
        chosen = rank_within(frontier.prompt, frontier.score) < (self.effort.num_beams or self.effort.expand_at_once)
        self.frontier, taken = frontier[~chosen], frontier[chosen]
        leads_on = self.trie.edge_child[taken.edge] >= 0
        hidden, owner = self.tree.extend(taken.prompt, taken.edge, drop_last=~leads_on)
        self.rounds += 1
        self.expanded += torch.bincount(taken.prompt[leads_on], minlength=len(self.expanded))
        self.over_budget |= (self.expanded >= self.effort.node_budget) & (self.effort.num_beams == 0)
        if self.normalization == "vocab":
            taken.score = taken.score + self.probabilities.of_forced(hidden, owner, taken.edge)
        parents = taken[leads_on]
        state, node = hidden[last_of(owner) & leads_on[owner]], self.trie.edge_child[parents.edge]
        children, edge = self.probabilities.of_children(state, node, parents.prompt)
        score = parents.score[:, None] + children
        followed = (score >= self.bound[parents.prompt, None]) & (children > -torch.inf)
        if self.open is not None:
            followed &= self._of(self.open, parents.prompt[:, None], edge)
        self._finish(taken[~leads_on])
        self._add(_Frontier(parents.prompt[:, None].expand_as(edge)[followed], edge[followed], score[followed]))
        return True

    def _add(self, entries: _Frontier) -> None:
        """Sort new edges into finished items and frontier, then drop edges that can no longer enter a list."""
        done = self.trie.edge_item[entries.edge] > 0
        if self.normalization == "vocab":  # the tokens after the decision still have to be scored
            done &= self.trie.edge_end[entries.edge] - self.trie.edge_begin[entries.edge] == 1
        self._finish(entries[done])
        self.frontier = self.frontier.joined(entries[~done])
        self._drop_below(self._bound())
        if self.effort.num_beams:
            self._keep_beam(torch.ones_like(self.over_budget), self.effort.num_beams)
        elif self.over_budget.any():
            self._keep_beam(self.over_budget, self.k)

    def _finish(self, entries: _Frontier) -> None:
        """Merge finished items into the lists, ties by the lower item id."""
        worst = self.scores[:, -1]
        entries = entries[entries.score >= worst[entries.prompt]]
        batch, device = len(worst), worst.device
        old = self.scores > -torch.inf
        prompt = torch.cat([torch.arange(batch, device=device)[:, None].expand_as(old)[old], entries.prompt])
        score = torch.cat([self.scores[old], entries.score])
        item = torch.cat([self.items[old], self.trie.edge_item[entries.edge]])
        rank = rank_within(prompt, score, tie=item)
        kept = rank < self.kept
        self.scores.fill_(-torch.inf)
        self.scores[prompt[kept], rank[kept]] = score[kept]
        self.items[prompt[kept], rank[kept]] = item[kept]

    def _bound(self) -> torch.Tensor:
        """The score below which an edge cannot enter the list, for each prompt ``[B]``."""
        bound = self.scores[:, self.k - 1]
        if self.normalization == "trie":
            promised = self._promised(self.frontier.prompt, self.frontier.edge, self.frontier.score)
            bound = torch.maximum(bound, self._kth_best(promised, self.k))
        return bound

    def _drop_below(self, bound: torch.Tensor) -> None:
        self.bound = bound
        self.frontier = self.frontier[self.frontier.score >= bound[self.frontier.prompt]]

    def _keep_beam(self, prompts: torch.Tensor, width: int) -> None:
        """Keep the best of the frontier, finished items counted in, for the prompts that ``[B]`` booleans choose."""
        self._drop_below(self._kth_best(self.frontier.score, width).where(prompts, self.bound))
        # What was dropped may have promised more than what was kept: only finished items bound the next step.
        self.bound = self.scores[:, self.k - 1].where(prompts, self.bound)

    def _promised(self, prompt: torch.Tensor, edge: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
        """A lower bound on the score of the best allowed item below each edge; ``trie`` normalisation only."""
        promised = score - (self.trie.edge_high[edge] - self.trie.edge_low[edge]).log() - ROUNDING
        if self.whole is None:
            return promised
        return promised.masked_fill(~self._of(self.whole, prompt, edge), -torch.inf)

    @staticmethod
    def _of(table: torch.Tensor, prompt: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
        """Entries of a table ``[B, E]``, or ``[1, E]`` for all prompts alike."""
        return table[prompt, edge] if len(table) > 1 else table[0, edge]

    def _kth_best(self, value: torch.Tensor, k: int) -> torch.Tensor:
        """K-th best of the finished scores and of a value for each frontier edge, for each prompt ``[B]``."""
        width = self.scores.shape[1]
        row = torch.arange(len(self.scores), device=value.device)[:, None].expand(-1, width)
        prompt = torch.cat([row.flatten(), self.frontier.prompt])
        value = torch.cat([self.scores.flatten(), value])
        chosen = rank_within(prompt, value) == k - 1
        bound = torch.full((len(self.scores),), -torch.inf, device=value.device)
        bound[prompt[chosen]] = value[chosen]
        return bound

    def result(self) -> TopK:
        """The lists, when nothing is left to expand."""
        return TopK(self.items[:, : self.k], self.scores[:, : self.k], self.expanded, self.over_budget, self.rounds)
