"""PromptLLM: a language model recommends as it is, zero-shot or after a few examples; nothing is trained.

References: Junling Liu et al. "Is ChatGPT a Good Recommender? A Preliminary Study", 2023, arXiv 2304.10149; Yupeng Hou
et al. "Large Language Models are Zero-Shot Rankers for Recommender Systems", ECIR 2024, arXiv 2305.08845.

Deviations from the papers:

* ``ranking: scoring``: a local model scores titles instead of writing lists: the exact top-K of the whole catalogue.
* ``ranking: chat`` ranks the whole catalogue, too: either without candidates, or among candidates retrieved from
  training interactions. The target is put among sampled candidates only where RecBole samples them for every model.
* The prompts are worded differently.
"""

from contextlib import contextmanager
from dataclasses import replace
from logging import getLogger

import numpy as np
import torch
from recbole.model.abstract_recommender import SequentialRecommender

from recbole_genrec.backbone.loading import SCRATCH, read_backbone
from recbole_genrec.batches.questions import FewShot, QuestionWriter, TrainingCounts, draw_examples
from recbole_genrec.batches.tasks import TaskData, task_columns
from recbole_genrec.batches.tokens import prepend_examples, with_preface
from recbole_genrec.catalogue.catalogue import Catalogue
from recbole_genrec.catalogue.index import build_index
from recbole_genrec.catalogue.schemes import Given, draft_identifiers
from recbole_genrec.chat.chat_answers import ChatAnswers
from recbole_genrec.chat.client import ChatClient
from recbole_genrec.chat.grounding import Grounder
from recbole_genrec.config.arguments import (
    EngineArguments,
    IndexingArguments,
    P5Arguments,
    PromptArguments,
    PromptLLMArguments,
)
from recbole_genrec.config.arguments.models import REVIEW_FAMILIES
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.unseen import SEEN
from recbole_genrec.model.genrec import GenRec
from recbole_genrec.model.question_tests import QuestionTests
from recbole_genrec.model.scoring_answers import ScoringAnswers
from recbole_genrec.prompt.question_prompts import load_questions


class PromptLLM(QuestionTests, GenRec):
    """PromptLLM; see the module's header and :class:`GenerativeRecommender`.

    The model asks questions, and ``answers`` has them answered: by the model's own backbone or, with ``ranking: chat``,
    by a server. In the second case the model has texts of items, but no backbone, trie or packer.

    Attributes:
        settings: :class:`~recbole_genrec.config.arguments.PromptLLMArguments`.
        writer: :class:`~recbole_genrec.batches.questions.QuestionWriter`.
        answers: :class:`~recbole_genrec.model.scoring_answers.ScoringAnswers` or
            :class:`~recbole_genrec.chat.chat_answers.ChatAnswers`.
        chat: the :class:`~recbole_genrec.chat.client.ChatClient` of ``ranking: chat``, else ``None``.
        tasks: what :meth:`evaluate_tasks` tests.
        task: ``sequential`` or ``direct``: what :meth:`full_sort_predict` ranks for.
        fills_lists: whether a list of a chat that is too short is filled up, as an evaluation needs it.
    """

    fills_lists = True
    is_trained = False
    reads_context = False
    names_users = False

    def __init__(self, config, dataset):
        self.check_settings(config)
        self.settings, self.seed = PromptLLMArguments.from_config(config), config["seed"]
        self.examples = draw_examples(dataset, self.settings.few_shot, self.seed)
        self.task = "sequential"
        self.chat = ChatClient(self.settings) if self.settings.ranking == "chat" else None
        if self.chat is None:
            self._build_language_model(config, dataset)
        else:
            self._build_texts(config, dataset)
        self._prepare_tasks(config, dataset)
        if self.chat is None:
            self.answers = ScoringAnswers(self, self.max_target_tokens)
        else:
            grounder = Grounder(self.catalogue.texts, self.settings.fuzzy_threshold)
            self.answers = ChatAnswers(self.chat, grounder, self.writer, self.k)
            self.reset_statistics()
        if self.chat is not None or "direct" in self.tasks:
            self.counts = TrainingCounts(dataset)

    @classmethod
    def check_settings(cls, config):
        """Refuse, before anything is built or trained, what cannot run.

        Raises:
            GenRecError: a setting, a library, a key or a file is missing.
        """
        super().check_settings(config)
        settings = PromptLLMArguments.from_config(config)
        load_questions(settings.chat_prompts)
        if IndexingArguments.from_config(config).item_indexing != "title":
            raise GenRecError(
                "'item_indexing' must be 'title': PromptLLM is not trained, and knows no other identifiers."
            )
        for task in cls._asked_tasks(config):
            if task in REVIEW_FAMILIES:
                raise GenRecError(
                    f"'tasks' asks for {task!r}, which P5 alone has. PromptLLM takes a 'tasks' of its own."
                )
        engine = EngineArguments.from_config(config)
        if engine.edge_embedding or engine.item_prior:
            raise GenRecError(
                "PromptLLM is not trained, so vectors of items and edges would stay zero: it takes "
                "'edge_embedding: false', 'item_prior: false'."
            )
        if settings.ranking == "chat":
            ChatClient(settings)

    @classmethod
    def needs_for_all_scores(cls, config):
        """See the base class; a chat names the best items only."""
        chat = PromptLLMArguments.from_config(config).ranking == "chat"
        return super().needs_for_all_scores(config) + chat * ["'ranking: scoring'"]

    def _build_language_model(self, config, dataset):
        """Build what the base class builds; nothing of it is trained."""
        super().__init__(config, dataset)
        self.requires_grad_(False)
        if self.arguments["backbone"].backbone == SCRATCH:
            getLogger().warning("PromptLLM: 'backbone: scratch' knows nothing, and nothing is trained. Name another.")

    @staticmethod
    def _asked_tasks(config):
        """The tasks that ``tasks`` asks for beside the ranking."""
        shares = P5Arguments.from_config(config).tasks
        return [task for task, share in shares.items() if share and task != "sequential"]

    @classmethod
    def text_columns(cls, config):
        """See the base class; also ratings and reviews, where tasks ask for them."""
        asked = task_columns(config).values() if cls._asked_tasks(config) else ()
        return super().text_columns(config)._replace(interactions=tuple(asked))

    def _build_texts(self, config, dataset):
        """Read the unique texts of the items, and build nothing else: the server has the language model.

        Raises:
            GenRecError: ``topk`` asks for more items than there are.
        """
        SequentialRecommender.__init__(self, config, dataset)  # the parents between would load a language model
        self.arguments = {"prompt": PromptArguments.from_config(config)}
        self.k = max(config["topk"])
        if self.k >= self.n_items:
            raise GenRecError(f"'topk' asks for {self.k} items, but the catalogue has {self.n_items - 1}.")
        item_tokens = dataset.field2id_token[dataset.iid_field][1:].tolist()
        texts = self._item_texts(dataset.item_texts(), item_tokens)
        draft = draft_identifiers("title", Given(item_tokens, texts))
        index = build_index(draft, item_tokens, lambda texts, follows: [list(text.encode()) for text in texts])
        self.catalogue = Catalogue(item_tokens, texts, index.symbols, index)
        self._device = config["device"]

    def _prepare_tasks(self, config, dataset):
        settings, asked = P5Arguments.from_config(config), self._asked_tasks(config)
        self.max_target_tokens, self.data = settings.max_target_tokens, None
        if asked:
            longest = config["MAX_ITEM_LIST_LENGTH"]
            self.data = TaskData(dataset, task_columns(config), longest, settings.n_candidates, self.seed)
        self.tasks = [task for task in asked if task in self.data.families]
        for task in (task for task in asked if task not in self.tasks):
            getLogger().info(f"PromptLLM: no {task}: the interactions have no text for it.")
        prompts, texts = load_questions(self.settings.chat_prompts), ["", *self.catalogue.texts]
        self.writer = QuestionWriter(prompts, texts, self.k, FewShot(self.examples, self.tasks, self.seed), self.data)

    # ---- what the base class asks for ----

    @classmethod
    def _read_source(cls, config):
        return ""  # nothing is trained

    @classmethod
    def _read_vector_arguments(cls, config):
        return None

    def _read_backbone(self, corpus, checkpoint=None):
        # as beside an adapter: weights that are not trained may stay in half precision, or be quantised
        return read_backbone(replace(self.arguments["backbone"], adapter="lora"), corpus, checkpoint)

    def _prompt_tokens(self, identifiers):
        tokens = super()._prompt_tokens(identifiers)
        if not self.examples:
            return tokens
        return prepend_examples(tokens, self.template, self.backbone, identifiers, self.examples)

    @contextmanager
    def about_user(self, sentence):
        """Say a sentence about the user in every prompt of a block, before the history and behind few-shot examples."""
        preface, writer, packer = f"{sentence}\n", self.writer, getattr(self, "packer", None)
        try:
            writer.preface = preface
            if self.chat is None:
                tokens = with_preface(packer.tokens, self.template, self.backbone, preface)
                self.packer = self._make_packer(tokens)
            yield
        finally:
            writer.preface = ""
            if self.chat is None:
                self.packer = packer

    def training_loader(self, config, train_dataset):
        """No batches: the language model is not trained."""
        return ()

    def calculate_loss(self, batch):
        """See the base class.

        Raises:
            GenRecError: a server has the language model.
        """
        if self.chat is not None:
            raise GenRecError("PromptLLM with 'ranking: chat' has no loss: the language model is the server's.")
        return super().calculate_loss(batch)

    def _apply(self, fn, recurse=True):
        if self.chat is not None:  # there is no trie to move
            return SequentialRecommender._apply(self, fn, recurse)
        return super()._apply(fn, recurse)

    @property
    def compute_device(self):
        """Device of the parameters; that of the configuration where there are none."""
        return super().compute_device if self.chat is None else self._device

    # ---- statistics ----

    @property
    def scores_are_log_probabilities(self):
        """A chat names items in order; a local model scores them."""
        return self.chat is None

    def usage(self):
        """Requests, tokens and cost of the run so far; a local model counts nothing."""
        return self.answers.usage()

    def reset_statistics(self):
        """See the base class."""
        if self.chat is None:
            super().reset_statistics()
        else:
            self.statistics = {"lists": 0, "valid_lists": 0, "filled_lists": 0}
            self.answers.reset()

    def generation_statistics(self):
        """See the base class; of a chat also how its titles were found."""
        if self.chat is None:
            return super().generation_statistics()
        valid = self.statistics["valid_lists"] / max(self.statistics["lists"], 1)
        return {**self.statistics, "valid_share": valid, **self.answers.grounding()}

    def identifier_statistics(self):
        """See the base class; a chat names items by their texts, whatever tokens the server's model has."""
        return super().identifier_statistics() if self.chat is None else {}

    # ---- ranking ----

    @torch.no_grad()
    def full_sort_predict(self, interaction):
        """Scores of the catalogue ``[B, n_items]``: of K items each, -inf elsewhere."""
        if self.task == "direct":
            return self._rank_candidates(interaction)
        if self.chat is None:
            return super().full_sort_predict(interaction)
        histories, seen = self._histories(interaction), self._seen(interaction)
        if not self.settings.chat_candidates:
            return self._scores(self.answers.name_items("sequential", histories), left_out=seen)
        count, left_out = self.settings.chat_candidates, seen or [()] * len(histories)
        candidates = [self.counts.candidates(history, count, items) for history, items in zip(histories, left_out)]
        return self._scores(self.answers.name_items("choice", histories, candidates), left_out=seen)

    @torch.no_grad()
    def predict(self, interaction):
        """Score of each row's item after its history ``[B]``. A chat orders the rows of a user as candidates."""
        if self.chat is None:
            return super().predict(interaction)
        items = interaction[self.ITEM_ID].cpu().numpy()
        keys = torch.cat(
            [interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN][:, None], interaction[self.USER_ID][:, None]], 1
        )
        questions, row = torch.unique(keys.cpu(), dim=0, return_inverse=True)
        row, histories, candidates = row.numpy(), [], []
        for number, question in enumerate(questions.numpy()):
            histories.append(question[: question[-2]])
            generator = np.random.default_rng([self.seed, int(question[-1])])
            # RecBole puts the target first: a random order does not give it away
            candidates.append(generator.permutation(np.unique(items[row == number])))
        return self._scores(self.answers.name_items("choice", histories, candidates), candidates)[row, items]

    def _rank_candidates(self, interaction):
        """Scores for direct recommendation: the target among items new to the user, as in P5."""
        histories, candidates = self._histories(interaction), []
        users_and_items = zip(interaction[self.USER_ID].tolist(), interaction[self.ITEM_ID].tolist())
        for row, (user, item) in enumerate(users_and_items):
            generator = np.random.default_rng([self.seed, user])
            candidates.append(self.data.candidates(item, histories[row], generator))
            histories[row] = generator.permutation(histories[row])
        return self._scores(self.answers.choose(histories, candidates), candidates, self._seen(interaction))

    def _histories(self, interaction):
        items, lengths = interaction[self.ITEM_SEQ].cpu().numpy(), interaction[self.ITEM_SEQ_LEN].tolist()
        return [row[:length] for row, length in zip(items, lengths)]

    @staticmethod
    def _seen(interaction):
        """Items that each row may not list, as sets; ``None`` where all may be listed."""
        return [set(row) for row in interaction[SEEN].tolist()] if SEEN in interaction else None

    def _scores(self, lists, rest=None, left_out=None):
        """Scores ``[B, n_items]`` by rank. A list shorter than K is filled up, else RecBole would rank items with -inf.

        Args:
            lists: item ids of each row, the best first.
            rest: item ids ``[C]`` of each row that come next, in random order: candidates that were not named. After
                them come the items with the fewest training interactions, the least likely hits.
            left_out: item ids of each row that are not listed, as sets.
        """
        left_out = left_out or [()] * len(lists)
        if self.chat is not None:
            named = (len(set(items).difference(seen)) for items, seen in zip(lists, left_out))
            self.statistics["filled_lists"] += sum(count < self.k for count in named)
        scores = torch.full((len(lists), self.n_items), -torch.inf)
        filled = []
        for row, (items, barred) in enumerate(zip(lists, left_out)):
            following = [] if rest is None else rest[row].tolist()
            ranked = [item for item in dict.fromkeys([*items, *following]) if item not in barred]
            if len(ranked) < self.k and self.fills_lists:
                least_seen = self.counts.least_seen[: self.k + len(ranked) + len(barred)].tolist()
                ranked = list(dict.fromkeys([*ranked, *(item for item in least_seen if item not in barred)]))[: self.k]
            scores[row, torch.tensor(ranked, dtype=torch.long)] = torch.arange(len(ranked), 0, -1, dtype=scores.dtype)
            filled.append([*ranked[: self.k], *[0] * (self.k - len(ranked))])
        self._count(torch.tensor(filled))
        return scores.to(self.compute_device)
