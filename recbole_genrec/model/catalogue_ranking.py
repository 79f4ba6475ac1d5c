"""How a generative recommender ranks the catalogue for RecBole's batches, and what it counts while it does.

Letters: B rows, L history length, K list length.
"""

from dataclasses import replace

import numpy as np
import torch

from recbole_genrec.batches.layout import HistoryContext
from recbole_genrec.decoding.scoring import score_catalogue, score_pairs
from recbole_genrec.decoding.search import SearchEffort
from recbole_genrec.decoding.unseen_places import search_with_unseen
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.context_columns import EXACT_TIME
from recbole_genrec.interactions.unseen import SEEN


class CatalogueRanking:
    """Mixin before :class:`~recbole_genrec.model.prompt_ranker.PromptRanker` and RecBole's sequential recommender.

    Attributes:
        statistics: counts of what ranking has done since :meth:`reset_statistics`.
        list_suffix: what a column's name ends with where it is a history.
        allowed: booleans by item id: those that :meth:`rank` may list ``[n_items]``; ``None``: all. A recommender sets
            it.
    """

    #: score every item, whatever ``decoding`` says: an evaluation that ranks some items alone sets it.
    scores_all_items = False
    #: whether :meth:`full_sort_predict` gives log-probabilities of items.
    scores_are_log_probabilities = True
    allowed = None

    def reset_statistics(self):
        """Start counting anew; the trainer calls it before each evaluation."""
        self.statistics = {
            "lists": 0,
            "valid_lists": 0,
            "expanded_nodes": 0,
            "most_expanded_nodes": 0,
            "over_budget": 0,
        }

    def merge_statistics(self, every):
        """Take over the counts of several processes, this one's among them, as if one process had counted."""
        for key in self.statistics:
            merge = max if key.startswith("most_") else sum
            self.statistics[key] = merge(statistics[key] for statistics in every)

    def generation_statistics(self):
        """What ranking has done since :meth:`reset_statistics`, ready for a report."""
        lists = max(self.statistics["lists"], 1)
        return {
            **self.statistics,
            "valid_share": self.statistics["valid_lists"] / lists,
            "expanded_nodes_per_list": self.statistics["expanded_nodes"] / lists,
        }

    def prompts(self, item_seq, item_seq_len, context=None):
        """Prompts of a batch of histories.

        Args:
            item_seq: item ids, right-padded with 0, ``[B, L]``.
            item_seq_len: ``[B]``.
            context: what :meth:`history_context` gives.

        Returns:
            :class:`~recbole_genrec.batches.packed_batch.Prompts`.
        """
        items, width = item_seq.cpu().numpy().ravel(), item_seq.shape[1]
        first = np.arange(len(item_seq)) * width
        return self.packer.prompts(items, first, first + item_seq_len.cpu().numpy(), context)

    def prompt_tree(self, item_seq, item_seq_len, context=None):
        """Feed the prompts of a batch of histories; see :class:`~recbole_genrec.decoding.tree.PromptTree`."""
        return self.feed(self.prompts(item_seq, item_seq_len, context))

    def history_context(self, interaction):
        """What RecBole's rows tell of their histories beside the items.

        Returns:
            :class:`~recbole_genrec.batches.layout.HistoryContext` of the histories ``[B, L]`` end to end.
        """
        times, asked = None, None
        if self._reads_times:
            times = interaction[EXACT_TIME + self.list_suffix].cpu().numpy().ravel()
        if self.arguments["context"].kinds:
            asked = interaction[EXACT_TIME].cpu().numpy()
        values = {name: interaction[name + self.list_suffix].cpu().numpy().ravel() for name in self._value_columns}
        if self.user_columns:
            length = interaction[self.ITEM_SEQ].shape[1]
            values |= self.users.of(interaction[self.USER_ID].cpu().numpy().repeat(length))
        user = interaction[self.USER_ID].cpu().numpy() if self._names_user else None
        return HistoryContext(times, values, asked, user=user)

    @torch.no_grad()
    def full_sort_predict(self, interaction):
        """Scores of the catalogue ``[B, n_items]``: log-probabilities of the K = max(topk) best items, -inf elsewhere.

        With ``decoding: full``, of all items. Where the batch says what a user has seen, that is not among them.
        """
        history = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        return self.rank(self.prompt_tree(*history, self.history_context(interaction)), interaction)

    def rank(self, tree, interaction):
        """Scores ``[B, n_items]`` as :meth:`full_sort_predict` gives them, of the prompts of a fresh tree."""
        left_out = interaction[SEEN] if SEEN in interaction else None
        if self.scores_all_items or self.engine.decoding == "full":
            scores = score_catalogue(tree, self.engine.normalization)
            if left_out is not None:
                scores = scores.scatter(1, left_out.to(scores.device), -torch.inf)
            self._count(scores[:, 1:].topk(self.k).indices + 1)
            return scores
        num_beams = self.engine.num_beams if self.engine.decoding == "beam" else 0
        effort = SearchEffort(num_beams, self.engine.node_budget)
        choice = {"allowed": self.allowed, "left_out": left_out}
        found = search_with_unseen(tree, self.k, self.engine.normalization, effort, **choice)
        self._count(found.items, found)
        scores = torch.full((len(tree), self.n_items), -torch.inf, device=found.scores.device)
        # RecBole sorts by score: where an item was put at its place, the scores are those of the places
        return scores.scatter_(1, found.items, found.scores.sort(1, descending=True).values)

    def identifier_statistics(self):
        """What the indexing made of the catalogue: numbers of items and new tokens, and means of an item.

        The means are those of its tokens, and of the tokens at which the catalogue leaves a choice.
        """
        index = self.catalogue.index
        return {
            "scheme": self.arguments["indexing"].item_indexing,
            "items": len(index.symbols),
            "tokens": sum(map(len, index.symbols)) / len(index.symbols),
            "decisions": float(self.decisions().mean()),
            "new_tokens": len(index.codes),
            "collisions": index.collisions,
        }

    def decisions(self):
        """Tokens of each item's identifier at which the catalogue leaves a choice ``[n_items - 1]``."""
        # The root has an edge even where all identifiers begin alike: that one is no choice.
        forced = self.n_items > 2 and len(self.trie.root_token) == 1
        return self.trie.path_offset.diff()[1:].cpu().numpy() - int(forced)

    def _count(self, items, found=None):
        """Add a batch of lists ``[B, K]`` to the statistics; a valid list holds K distinct items of the catalogue."""
        ordered = items.sort(1).values
        valid = (ordered[:, 0] > 0) & (ordered[:, -1] < self.n_items) & (ordered.diff(dim=1) > 0).all(1)
        statistics = self.statistics
        statistics["lists"] += len(items)
        statistics["valid_lists"] += int(valid.sum())
        if found is not None:
            statistics["expanded_nodes"] += int(found.expanded.sum())
            statistics["most_expanded_nodes"] = max(statistics["most_expanded_nodes"], int(found.expanded.max()))
            statistics["over_budget"] += int(found.over_budget.sum())

    @torch.no_grad()
    def predict(self, interaction):
        """Log-probability of each row's item after its history ``[B]``; a history shared by rows is fed once."""
        history, length = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        context = self.history_context(interaction)
        known = [*context.values.values(), *([] if context.times is None else [context.times])]
        parts = [history, length[:, None], *(torch.from_numpy(flat).view(len(length), -1) for flat in known)]
        of_prompts = {name: getattr(context, name) for name in ("asked", "user") if getattr(context, name) is not None}
        parts += [torch.from_numpy(column)[:, None] for column in of_prompts.values()]
        keys = torch.cat([part.cpu().double() for part in parts], 1).nan_to_num(-torch.inf).numpy()
        _, first, row = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        place = (first[:, None] * history.shape[1] + np.arange(history.shape[1])).ravel()
        asked = {name: column[first] for name, column in of_prompts.items()}
        tree = self.prompt_tree(history[first], length[first], replace(context.kept(place), **asked))
        row = torch.from_numpy(row.ravel()).to(self.compute_device)
        return self.score_rows(tree, row, interaction[self.ITEM_ID].to(row.device))

    def score_rows(self, tree, row, items):
        """Log-probability of items ``[B]`` after the prompts ``row [B]`` of a fresh tree.

        Raises:
            GenRecError: an item is padding.
        """
        if (items == 0).any():
            raise GenRecError("Item 0 is padding and has no score.")
        # A pair may come twice; the tree takes it once.
        pairs, place = torch.unique(row * self.n_items + items, return_inverse=True)
        return score_pairs(tree, pairs // self.n_items, pairs % self.n_items, self.engine.normalization)[place]
