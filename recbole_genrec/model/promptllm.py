"""PromptLLM: a language model recommends as it is, zero-shot or after a few examples; nothing is trained.

References: Junling Liu et al. "Is ChatGPT a Good Recommender? A Preliminary Study", 2023, arXiv 2304.10149; Yupeng Hou
et al. "Large Language Models are Zero-Shot Rankers for Recommender Systems", ECIR 2024, arXiv 2305.08845.

Deviations from the papers:

* ``ranking: scoring`` has a local model score titles instead of writing lists: the exact top-K of the whole catalogue.
* ``ranking: chat`` (:mod:`.promptllm_chat`) ranks the whole catalogue, too: open recommendation, or candidates that are
  retrieved from training interactions. The target is put among sampled candidates only where RecBole samples them for
  every model.
* Prompts are in words of our own.
"""

from dataclasses import replace
from functools import partial
from logging import getLogger

import numpy as np
import torch

from recbole_genrec.backbone.loading import SCRATCH, read_backbone
from recbole_genrec.batches.packing import Packer
from recbole_genrec.batches.questions import FewShot, QuestionWriter, TrainingCounts, draw_examples
from recbole_genrec.batches.tasks import TaskData, task_columns
from recbole_genrec.batches.tokens import MIDDLE, prepend_examples
from recbole_genrec.chat.client import ChatClient
from recbole_genrec.config.arguments import EngineArguments, IndexingArguments, P5Arguments, PromptLLMArguments
from recbole_genrec.decoding.finite import FiniteLogits
from recbole_genrec.decoding.scoring import score_catalogue, score_pairs
from recbole_genrec.decoding.tree import prompt_tree
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.unseen import SEEN
from recbole_genrec.model.genrec import GenRec
from recbole_genrec.model.text_metrics import text_task_metrics
from recbole_genrec.prompt.question_prompts import load_questions
from recbole_genrec.prompt.task_prompts import TARGETS


class PromptLLM(GenRec):
    """PromptLLM; see the module's header and :class:`GenerativeRecommender`.

    With ``ranking: chat`` the class gives a :class:`~recbole_genrec.model.promptllm_chat.ChatPromptLLM`.

    Attributes:
        settings: :class:`~recbole_genrec.config.arguments.PromptLLMArguments`.
        writer: :class:`~recbole_genrec.batches.questions.QuestionWriter`.
        tasks: what :meth:`evaluate_tasks` tests.
        task: ``sequential`` or ``direct``: what :meth:`full_sort_predict` ranks for.
        chat: the client of a server, where one answers.
    """

    chat = None
    is_trained = False

    def __new__(cls, config=None, dataset=None):
        # RecBole knows one class a model; without arguments, a copy is made of an object of any class
        if cls is PromptLLM and config is not None and PromptLLMArguments.from_config(config).ranking == "chat":
            from recbole_genrec.model.promptllm_chat import ChatPromptLLM

            cls = ChatPromptLLM
        return super().__new__(cls)

    def __init__(self, config, dataset):
        self.check_settings(config)
        self.settings, self.seed = PromptLLMArguments.from_config(config), config["seed"]
        self.examples = draw_examples(dataset, self.settings.few_shot, self.seed)
        self.task = "sequential"
        self._find_language_model(config, dataset)
        self._prepare_tasks(config, dataset)
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
        engine = EngineArguments.from_config(config)
        if engine.edge_embedding or engine.item_prior or engine.item_embedding != "none":
            raise GenRecError(
                "PromptLLM is not trained, so vectors of items and edges would stay zero: it takes "
                "'item_embedding: none', 'edge_embedding: false', 'item_prior: false'."
            )
        if settings.ranking == "chat":
            ChatClient(settings)

    @classmethod
    def needs_for_all_scores(cls, config):
        """See the base class; the answers of a chat name the best items alone."""
        chat = PromptLLMArguments.from_config(config).ranking == "chat"
        return super().needs_for_all_scores(config) + chat * ["'ranking: scoring'"]

    def _find_language_model(self, config, dataset):
        """The base class's constructor; nothing of what it makes is trained."""
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

    def _read_backbone(self, corpus, checkpoint=None):
        # as beside an adapter: weights that are not trained may stay in half precision, or be quantised
        return read_backbone(replace(self.arguments["backbone"], lora=True), corpus, checkpoint)

    def _lay_out(self):
        super()._lay_out()
        if self.examples:
            tokens = prepend_examples(
                self.packer.tokens, self.template, self.backbone, self.catalogue.identifiers, self.examples
            )
            longest, pad_id = self.arguments["prompt"].max_prompt_tokens, self.backbone.pad_id
            self.packer = Packer(tokens, self.trie, self.engine.normalization, longest, pad_id)

    def training_loader(self, config, train_dataset):
        return ()

    def usage(self):
        """What answers have cost so far; a model of one's own counts nothing."""
        return {}

    # ---- ranking ----

    @torch.no_grad()
    def full_sort_predict(self, interaction):
        """Scores of the catalogue ``[B, n_items]``: of K items each, -inf elsewhere."""
        if self.task == "direct":
            return self._rank_candidates(interaction)
        return super().full_sort_predict(interaction)

    def _rank_candidates(self, interaction):
        """Scores for direct recommendation: the target among items that the user has not had, as in P5."""
        histories, candidates = self._histories(interaction), []
        rows = zip(interaction[self.USER_ID].tolist(), interaction[self.ITEM_ID].tolist())
        for place, (user, item) in enumerate(rows):
            generator = np.random.default_rng([self.seed, user])
            candidates.append(self.data.candidates(item, histories[place], generator))
            histories[place] = generator.permutation(histories[place])
        return self._scores(self._choose(histories, candidates), candidates, self._seen(interaction))

    def _choose(self, histories, candidates):
        """The candidates of each history, the best first: lists of item ids."""
        ending = "" if self.template.lead else "\n"  # identifiers begin as the template has them
        prompts = [
            self._tokens("direct", partial(self.writer.about_items, *row), len(row[0]), ending)
            for row in zip(histories, candidates)
        ]
        items = torch.from_numpy(np.concatenate(candidates)).to(self.compute_device)
        row = np.repeat(np.arange(len(candidates)), list(map(len, candidates)))
        rows = torch.from_numpy(row).to(items.device)
        found = score_pairs(self._tree(prompts, self.trie), rows, items, self.engine.normalization).cpu().numpy()
        order = [own[np.argsort(-found[row == place], kind="stable")] for place, own in enumerate(candidates)]
        return [own.tolist() for own in order]

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
        scores = torch.full((len(lists), self.n_items), -torch.inf)
        filled = []
        for row, items in enumerate(lists):
            following = [] if rest is None else rest[row].tolist()
            barred = () if left_out is None else left_out[row]
            ranked = [item for item in dict.fromkeys([*items, *following]) if item not in barred]
            if len(ranked) < self.k:
                least_seen = self.counts.least_seen[: self.k + len(ranked) + len(barred)].tolist()
                ranked = list(dict.fromkeys([*ranked, *(item for item in least_seen if item not in barred)]))[: self.k]
            scores[row, torch.tensor(ranked)] = torch.arange(len(ranked), 0, -1, dtype=scores.dtype)
            filled.append(ranked[: self.k])
        self._count(torch.tensor(filled))
        return scores.to(self.compute_device)

    # ---- the other tasks ----

    @torch.no_grad()
    def evaluate_tasks(self, dataset, config, ranked, evaluate_ranking):
        """Test the tasks that ``tasks`` asks for beside the ranking.

        Args:
            dataset: the part of the split to test on.
            config: RecBole's configuration.
            ranked: RecBole's ranking metrics there, of the task that is not among these.
            evaluate_ranking: gives them for the current :attr:`task`.

        Returns:
            By task and ``zero-shot`` or ``<k>-shot``, its metrics.
        """
        self.eval()
        found = {}
        for task in self.tasks:
            if task != "direct":
                result = self._evaluate_texts(task, dataset.inter_feat.place, config)
            elif config["eval_args"]["mode"]["test"] != "full":
                continue  # its own candidates are not RecBole's sampled ones
            else:
                self.task = "direct"
                result = dict(evaluate_ranking())
                self.task = "sequential"
                result |= self._grounding()
            found[task] = {f"{len(self.examples)}-shot" if self.examples else "zero-shot": result}
        return found

    def _grounding(self):
        """How the items of lists were found in answers; a model of one's own writes none."""
        return {}

    def _evaluate_texts(self, task, places, config):
        target = self.data.texts[TARGETS[task]]
        complete = self.data.texts["review"] if task == "review" else target
        places = [place for place in places.tolist() if target[place] and complete[place]]
        if not places:
            return {"examples": 0}
        size, answers, read = config["eval_batch_size"], [], {}
        for start in range(0, len(places), size):
            answers += self._answer(task, places[start : start + size])
        if task == "rating":
            rated = self.data.texts["rating"][self.data.seen]
            mean = float(np.mean([float(text) for text in rated if text]))
            read = {"unread": sum(answer is None for answer in answers)}
            answers = [mean if answer is None else answer for answer in answers]
        return text_task_metrics(task, answers, [target[place] for place in places], config) | read

    def _answer(self, task, places):
        """Answers to questions about interactions: ratings, ``None`` for one that cannot be read, or texts."""
        prompts = [
            self._tokens(task, partial(self.writer.about_interaction, task, place), self.data.longest)
            for place in places
        ]
        return self._rate(prompts) if task == "rating" else self._write(prompts)

    def _tokens(self, task, fields, n_history, ending=""):
        """Tokens of a question; the oldest items go until it fits.

        Args:
            task: the task.
            fields: number of items to drop -> fields.
            n_history: items that can be dropped.
            ending: what stands after the cue.

        Raises:
            GenRecError: it does not fit without any history.
        """
        longest, dropped = self.arguments["prompt"].max_prompt_tokens - self.max_target_tokens, 0
        start = [] if self.backbone.bos_id is None else [self.backbone.bos_id]
        while True:
            tokens = start + self.backbone.encode(self.writer.prompt(task, fields(dropped)) + ending)
            if len(tokens) <= longest:
                return tokens
            if dropped >= n_history:
                raise GenRecError(
                    f"'max_prompt_tokens' ({longest + self.max_target_tokens}) is too short for {task!r}: a question "
                    f"without history takes {len(tokens)} tokens, and an answer {self.max_target_tokens} "
                    "('max_target_tokens')."
                )
            dropped += 1 + (n_history - dropped) // 8

    def _tree(self, prompts, trie):
        lengths = torch.tensor(list(map(len, prompts)))
        table = torch.full((len(prompts), int(lengths.max())), self.backbone.pad_id)
        for row, tokens in enumerate(prompts):
            table[row, : len(tokens)] = torch.tensor(tokens)
        embeds = self.backbone.embed(table.to(self.compute_device))
        return prompt_tree(self.backbone, trie, embeds, lengths.to(self.compute_device))

    def _rate(self, prompts):
        """Mean rating under the probabilities of the ratings that training has ``[B]``."""
        ratings = self.writer.ratings
        trie = build_trie([tuple(self.backbone.encode(f" {text}", MIDDLE)) for text in ratings], self.packer.tokens.end)
        tree = self._tree(prompts, trie.to(self.compute_device))
        share = score_catalogue(tree, self.engine.normalization)[:, 1:].softmax(-1)
        return (share @ torch.tensor([float(text) for text in ratings], device=share.device)).tolist()

    def _write(self, prompts):
        """The first line that the model writes after each prompt, greedily."""
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.backbone.pad_id)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(prompts):
            ids[row, width - len(tokens) :], mask[row, width - len(tokens) :] = torch.tensor(tokens), 1
        written = self.backbone.causal_model.generate(
            input_ids=ids.to(self.compute_device),
            attention_mask=mask.to(self.compute_device),
            max_new_tokens=self.max_target_tokens,
            do_sample=False,
            num_beams=1,
            logits_processor=[FiniteLogits(self.backbone)],
            pad_token_id=self.backbone.pad_id,
        )
        texts = self.backbone.tokenizer.batch_decode(written[:, width:], skip_special_tokens=True)
        return [(text.strip().splitlines() or [""])[0] for text in texts]
