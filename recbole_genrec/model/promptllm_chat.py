"""PromptLLM with ``ranking: chat``: an OpenAI-compatible server names titles, and they are found in the catalogue."""

import numpy as np
import torch
from recbole.model.abstract_recommender import SequentialRecommender

from recbole_genrec.catalogue.catalogue import Catalogue
from recbole_genrec.catalogue.index import build_index
from recbole_genrec.catalogue.schemes import draft_identifiers
from recbole_genrec.chat.client import ChatClient
from recbole_genrec.chat.grounding import Grounder, GroundingReport, read_number, read_text
from recbole_genrec.config.arguments import IndexingArguments, PromptArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.model.promptllm import PromptLLM

#: what a chat model calls its answer in each task.
ANSWER_KEYS = {"rating": "rating", "explanation": "explanation", "review": "summary"}


class ChatPromptLLM(PromptLLM):
    """A PromptLLM without a language model of its own.

    Attributes:
        chat: :class:`~recbole_genrec.chat.client.ChatClient`.
        grounder: :class:`~recbole_genrec.chat.grounding.Grounder`.
    """

    def _find_language_model(self, config, dataset):
        """Take the place of the base class's constructor: the server has the language model."""
        SequentialRecommender.__init__(self, config, dataset)
        self.arguments = {"prompt": PromptArguments.from_config(config)}
        self.k = max(config["topk"])
        if self.k >= self.n_items:
            raise GenRecError(f"'topk' asks for {self.k} items, but the catalogue has {self.n_items - 1}.")
        item_tokens = dataset.field2id_token[dataset.iid_field][1:].tolist()
        texts = self._item_texts(dataset.item_texts(), item_tokens)
        settings = IndexingArguments.from_config(config)
        draft = draft_identifiers("title", item_tokens, texts, None, settings=settings, seed=self.seed)
        index = build_index(draft, item_tokens, lambda texts, follows: [list(text.encode()) for text in texts])
        self.catalogue = Catalogue(item_tokens, texts, index.symbols, index)
        self.chat = ChatClient(self.settings)
        self.grounder = Grounder(self.catalogue.texts, self.settings.fuzzy_threshold)
        self._device = config["device"]
        self.reset_statistics()

    def calculate_loss(self, batch):
        raise GenRecError("PromptLLM with 'ranking: chat' has no loss: the language model is the server's.")

    def _apply(self, fn, recurse=True):
        return SequentialRecommender._apply(self, fn, recurse)

    @property
    def compute_device(self):
        return self._device

    # ---- counts ----

    def reset_statistics(self):
        self.statistics = {"lists": 0, "valid_lists": 0, "filled_lists": 0}
        self.grounder.report = GroundingReport()

    def generation_statistics(self):
        share = self.statistics["valid_lists"] / max(self.statistics["lists"], 1)
        return {**self.statistics, "valid_share": share, **self._grounding()}

    def identifier_statistics(self):
        return {}  # items are named by their texts, whichever tokens the server's model has

    def usage(self):
        """Requests, tokens and cost of the run so far."""
        return self.chat.report()

    def _grounding(self):
        return {"grounding": self.grounder.report.report()}

    # ---- ranking ----

    @torch.no_grad()
    def full_sort_predict(self, interaction):
        """Scores of the catalogue ``[B, n_items]``: of K items each, -inf elsewhere; see :meth:`_scores`."""
        if self.task == "direct":
            return self._rank_candidates(interaction)
        histories, seen = self._histories(interaction), self._seen(interaction)
        if not self.settings.chat_candidates:
            return self._scores(self._ask("sequential", histories), left_out=seen)
        count, barred = self.settings.chat_candidates, seen or [()] * len(histories)
        candidates = [self.counts.candidates(history, count, own) for history, own in zip(histories, barred)]
        return self._scores(self._ask("choice", histories, candidates), left_out=seen)

    @torch.no_grad()
    def predict(self, interaction):
        """Score of each row's item after its history ``[B]``; the rows of a user are its candidates."""
        items = interaction[self.ITEM_ID].cpu().numpy()
        keys = torch.cat(
            [interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN][:, None], interaction[self.USER_ID][:, None]], 1
        )
        prompts, row = torch.unique(keys.cpu(), dim=0, return_inverse=True)
        row, histories, candidates = row.numpy(), [], []
        for number, prompt in enumerate(prompts.numpy()):
            histories.append(prompt[: prompt[-2]])
            generator = np.random.default_rng([self.seed, int(prompt[-1])])
            # RecBole puts the target first: an order of our own gives nothing away
            candidates.append(generator.permutation(np.unique(items[row == number])))
        return self._scores(self._ask("choice", histories, candidates), candidates)[row, items]

    def _choose(self, histories, candidates):
        return self._ask("direct", histories, candidates)

    def _ask(self, task, histories, candidates=None):
        """Items that the server names for each history, the best first; K at most, maybe none."""
        given = candidates if candidates is not None else [()] * len(histories)
        asked = [self.writer.about_items(*row) for row in zip(histories, given)]
        answers = self.chat.ask([self.writer.messages(task, fields) for fields in asked])
        limits = candidates if candidates is not None else [None] * len(histories)
        return [
            self.grounder.ground(answer.text, self.k, None if limit is None else limit.tolist())
            for answer, limit in zip(answers, limits)
        ]

    def _scores(self, lists, rest=None, left_out=None):
        pairs = zip(lists, left_out or [()] * len(lists))
        self.statistics["filled_lists"] += sum(len(set(items).difference(seen)) < self.k for items, seen in pairs)
        return super()._scores(lists, rest, left_out)

    # ---- the other tasks ----

    def _answer(self, task, places):
        asked = [self.writer.messages(task, self.writer.about_interaction(task, place)) for place in places]
        texts = [answer.text for answer in self.chat.ask(asked)]
        if task == "rating":
            lowest, highest = float(self.writer.ratings[0]), float(self.writer.ratings[-1])
            return [read_number(text, ANSWER_KEYS[task], lowest, highest) for text in texts]
        return [read_text(text, ANSWER_KEYS[task]) for text in texts]
