"""P5: five families of recommendation tasks as prompts for one encoder-decoder.

Reference: Shijie Geng et al. "Recommendation as Language Processing (RLP): A Unified Pretrain, Personalized Prompt &
Predict Paradigm (P5)", RecSys 2022, arXiv 2203.13366.
Reference code: https://github.com/jeykigung/P5

Deviations from the paper and its code:

* Items are named by their path in a tree of co-occurrence clusters by default (``item_indexing``; Hua et al. 2023).
  ``sequential`` numbers them from training interactions only: the published consecutive numbers tell which item comes
  next.
* Prompts are worded differently, and there are fewer per family; the last of each family is held out, as in the paper.
* Lists come from exact search over the catalogue instead of a beam search that may invent items, and a rating is the
  mean over the ratings that exist instead of one generated text.
* The explanation is the first sentence of the review: the paper picks sentences with a tool that is not public.
* Two families that the paper lacks, ``review_generation`` and ``item_summary``, are off by default
  (:mod:`~recbole_genrec.model.review_tasks`).
* ``normalization: vocab`` is the paper's loss; ``trie`` takes items' probabilities over the identifiers that exist.

``soft_prompts`` is POD: Lei Li, Yongfeng Zhang, Li Chen. "Prompt Distillation for Efficient LLM-based Recommendation",
CIKM 2023. Some learned vectors of each task stand before its prompts, and training alternates between tasks, a batch of
each in turn; a task with more examples has batches in between. As in its code (https://github.com/lileipisces/POD) the
vectors begin between -0.1 and 0.1, and no whole word is counted among them.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers.modeling_outputs import BaseModelOutput

from recbole_genrec.backbone.loading import read_seq2seq
from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.task_loader import TaskLoader
from recbole_genrec.batches.tasks import (
    BETWEEN_ITEMS,
    MIDDLE,
    Example,
    PromptName,
    TaskBatch,
    TaskData,
    TaskWriter,
)
from recbole_genrec.batches.tokens import PromptParts
from recbole_genrec.catalogue.user_index import NUMBER
from recbole_genrec.checkpoint.folder import BUILT_FOR, read_prompt, verify
from recbole_genrec.config.arguments import P5Arguments, UserArguments
from recbole_genrec.decoding.finite import FiniteLogits
from recbole_genrec.decoding.scoring import score_pairs
from recbole_genrec.decoding.tree import prompt_tree
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.segments import ragged
from recbole_genrec.model.abstract_recommender import GenerativeRecommender
from recbole_genrec.model.explaining import Explaining, check_feature_prompts, explained_columns
from recbole_genrec.model.task_families import check_limits, choose_families, limits_of
from recbole_genrec.model.task_tests import TaskTests
from recbole_genrec.prompt.task_prompts import load_tasks, parse_prompt, tasks_of
from recbole_genrec.prompt.user_words import check_users


class P5(TaskTests, Explaining, GenerativeRecommender):
    """P5; see the module's header and :class:`GenerativeRecommender`.

    Attributes:
        tasks: :class:`~recbole_genrec.prompt.task_prompts.TaskPrompts`.
        data: :class:`~recbole_genrec.batches.tasks.TaskData`, the interactions with their ratings and texts.
        shares: by family that is trained, its share of the examples.
        writer: :class:`~recbole_genrec.batches.tasks.TaskWriter`.
        ranking: family and number of the prompt that :meth:`full_sort_predict` uses.
        whole_words: one vector for the number of each whole word in a prompt, or ``None``.
        soft_prompts: by family, vectors ``[S, H]`` before its prompts; empty without ``soft_prompts``.
    """

    plain_with = GenerativeRecommender.plain_with | {"whole_word_embedding": False, "soft_prompts": 0}
    plain_with |= {"user_indexing": NUMBER}
    names_users = True

    def __init__(self, config, dataset):
        self.settings = P5Arguments.from_config(config)
        self.tasks = self._read_tasks(config)
        longest, count = config["MAX_ITEM_LIST_LENGTH"], self.settings.n_candidates
        columns, shown = explained_columns(config), self.settings.summary_reviews
        self.data = TaskData(dataset, columns, longest, count, config["seed"], shown)
        self.shares = choose_families(self.settings.tasks, self.tasks, self.data, columns)
        self._read_features(config, dataset)
        check_feature_prompts(self.tasks, self.about.explain_about, "explanation" in self.shares)
        super().__init__(config, dataset)
        if self.engine.packing:
            raise GenRecError("P5 reads each prompt with an encoder: it takes 'packing: false'.")
        self.ranking = ("sequential", 0)
        self.whole_words = None
        if self.settings.whole_word_embedding:
            # Every token of a prompt may be a word; number 0 is padding.
            places = self.arguments["prompt"].max_prompt_tokens + 2
            self.whole_words = torch.nn.Embedding(places, self.backbone.hidden_size)
            # A tenth of the size of T5's token embeddings, so that numbers of words do not drown the words.
            torch.nn.init.normal_(self.whole_words.weight, std=0.1 * self.backbone.embedding_std)
        # a parameter for each: the optimizer leaves those alone that a batch does without
        self.soft_prompts = torch.nn.ParameterDict()
        for family in self.shares if self.settings.soft_prompts else ():
            vectors = torch.empty(self.settings.soft_prompts, self.backbone.hidden_size)
            self.soft_prompts[family] = torch.nn.init.uniform_(vectors, -0.1, 0.1)

    # ---- what the base class asks for ----

    @classmethod
    def text_columns(cls, config):
        """See the base class; also ratings and reviews."""
        return super().text_columns(config)._replace(interactions=tuple(explained_columns(config).values()))

    def _read_tasks(self, config):
        named, checkpoint = self.settings.task_prompts, config[BUILT_FOR]
        if not checkpoint:
            return load_tasks(named)
        return tasks_of(read_prompt(verify(checkpoint)), Path(named).stem, f"prompt.yaml of {checkpoint}")

    @classmethod
    def _read_user_settings(cls, config):
        """See the base class; what an earlier version trained has numbers."""
        settings = UserArguments.from_config(config)
        return settings if config["user_indexing"] else replace(settings, user_indexing=NUMBER)

    @classmethod
    def _check_prompts(cls, config):
        """Of its prompts, those of the families that are trained name users, or users have no names."""
        settings = P5Arguments.from_config(config)
        prompts = load_tasks(settings.task_prompts)
        families = [family for family, share in settings.tasks.items() if share and family in prompts.families]
        named = any(prompts.has(family, n, "user") for family in families for n in prompts.trained(family))
        check_users(cls._read_user_settings(config).user_indexing, named, f"'task_prompts: {settings.task_prompts}'")

    def _load_prompts(self, stored=None):
        """The families to train depend on them: they are there already."""

    def _fixed_texts(self):
        literals = [piece.text for prompts in self.tasks.families.values() for prompt in prompts for piece in prompt]
        texts = [text for field in ("review", "summary") for text in self._training_texts(field)]
        users = [f" {text}" for text in self.user_index.texts]
        if self.user_settings.user_indexing == NUMBER:
            users = [f" user {number}" for number in range(100)]
        return [*filter(None, literals), *users, *texts]

    def _training_texts(self, field):
        return self.data.texts[field][self.data.seen].tolist() if field in self.data.texts else []

    def _read_backbone(self, corpus, checkpoint=None):
        return read_seq2seq(self.arguments["backbone"], corpus, checkpoint=checkpoint)

    def _encode_pieces(self, backbone, texts, follows):
        return backbone.encode_many(texts if follows else [f" {text}" for text in texts], MIDDLE)

    def _lay_out(self):
        self.trie = build_trie(self.catalogue.identifiers, self.backbone.eos_id)
        self.writer = TaskWriter(
            self.tasks,
            self.backbone,
            self.trie,
            ["", *(text or "" for text in self.catalogue.item_texts)],
            self.engine.normalization,
            limits_of(self),
        )
        self.writer.users = self.user_tokens
        check_limits(self)

    def training_loader(self, config, train_dataset):
        """The loader of P5's task families, each with its number of examples per user."""
        examples_per_user = {family: share * self.settings.examples_per_user for family, share in self.shares.items()}
        settings = EpochSettings(config["seed"], config["train_batch_size"])
        alternates = self.settings.soft_prompts > 0
        return TaskLoader(self.writer, self.data, train_dataset, examples_per_user, settings, alternates)

    def _count_virtual(self):
        return super()._count_virtual() + self.settings.soft_prompts

    def prompt_settings(self):
        """The prompts of each task family, as they are kept in a checkpoint."""
        return self.tasks.as_dict()

    @classmethod
    def prompt_parts(cls, prompts, backbone):
        """The first sequential prompt for user 0, who is nobody; see the base class."""
        before, after = [], []
        pieces = parse_prompt(prompts["sequential"][0], "sequential", "prompt.yaml")
        history = [piece.field for piece in pieces].index("history")
        for place, piece in enumerate(pieces):
            if piece.field == "candidates":
                raise GenRecError("P5: the first sequential prompt has candidates, which are drawn anew for each user.")
            text = {"history": "", "user": " user 0"}.get(piece.field, piece.text)
            (before if place < history else after).extend(backbone.encode(text, MIDDLE))
        between, end = backbone.encode(BETWEEN_ITEMS, MIDDLE), backbone.eos_id
        return PromptParts(before, between, [], [*after, end], end)

    # ---- training ----

    def encode_prompts(self, prompts):
        """Input embeddings ``[B, S + P, H]`` and lengths ``[B]`` of prompts, soft ones before them, whole words added.

        The prompts are :class:`~recbole_genrec.batches.tasks.TaskPromptTokens`.
        """
        device = self.compute_device
        embeds = self.backbone.embed(prompts.input_ids.to(device))
        if self.whole_words is not None:
            embeds = embeds + self.whole_words(prompts.word.to(device)).to(embeds.dtype)
        if self.soft_prompts:
            soft = torch.stack([self.soft_prompts[family] for family in prompts.families]).to(embeds.dtype)
            embeds = torch.cat([soft, embeds], 1)
        return embeds, prompts.lengths.to(device) + self.settings.soft_prompts

    def answer_states(self, batch):
        """States of the decoder that is fed the targets of a :class:`~recbole_genrec.batches.tasks.TaskBatch`.

        Returns:
            ``[B * (T + 1), H]``, to which its cells point.
        """
        encoded = self.backbone.read(*self.encode_prompts(batch.prompts))
        answers = torch.cat([self.backbone.start(len(batch.target_ids)), self.backbone.embed(batch.target_ids)], 1)
        return self.backbone(answers, prompts=encoded).flatten(0, 1)

    def calculate_loss(self, batch):
        """Mean over examples of each one's mean negative log-likelihood a decision (token, for texts).

        Args:
            batch: :class:`~recbole_genrec.batches.tasks.TaskBatch`, or RecBole's interaction with one target a row.

        Returns:
            A scalar.
        """
        if not isinstance(batch, TaskBatch):
            batch = self.pack_interaction(batch)
        hidden = self.answer_states(batch)
        loss = hidden.new_zeros(())
        if len(batch.label) and self.engine.normalization == "trie":
            loss = self.decision_loss(hidden[batch.cell], batch.label, batch.weight)
        elif len(batch.label):
            loss = self._token_loss(hidden[batch.cell], batch.label, batch.weight)
        if len(batch.text_label):
            loss = loss + self._token_loss(hidden[batch.text_cell], batch.text_label, batch.text_weight)
        return loss / batch.n_targets

    def _token_loss(self, hidden, label, weight):
        return (cross_entropy(self.backbone.logits(hidden), label, reduction="none") * weight).sum()

    def pack_interaction(self, interaction):
        """Write RecBole's rows as sequential prompts, each one of those that training uses."""
        count = len(interaction[self.ITEM_SEQ])
        trained = self.tasks.trained("sequential")
        chosen = torch.randint(len(trained), (count,)).tolist() if self.training else [0] * count
        examples = self._examples(interaction, "sequential", [trained[number] for number in chosen])
        return self.writer.write(examples).to(self.compute_device)

    # ---- ranking ----

    def _examples(self, interaction, family, prompts, with_items=True):
        """Examples of RecBole's rows."""
        histories, lengths = interaction[self.ITEM_SEQ].cpu().numpy(), interaction[self.ITEM_SEQ_LEN].cpu().numpy()
        users = interaction[self.USER_ID].tolist()
        items = interaction[self.ITEM_ID].tolist() if with_items else [0] * len(users)
        examples = []
        for row, (user, item, prompt) in enumerate(zip(users, items, prompts)):
            history, candidates = histories[row, : lengths[row]], histories[row, :0]
            if self.tasks.has(family, prompt, "candidates"):
                draws = np.random.default_rng([self.data.seed, user])
                candidates = self.data.candidates(item, history, draws)
            examples.append(Example(PromptName(family, prompt), user, item, history, candidates, {}))
        return examples

    def forward(self, item_seq, item_seq_len, user=None):
        """State of the decoder before its answer.

        Args:
            item_seq: item ids, right-padded with 0, ``[B, L]``.
            item_seq_len: ``[B]``.
            user: user ids ``[B]``; 0, nobody, by default.

        Returns:
            ``[B, H]``, from which the first token of the next item's identifier is predicted.
        """
        interaction = {self.ITEM_SEQ: item_seq, self.ITEM_SEQ_LEN: item_seq_len}
        interaction[self.USER_ID] = torch.zeros_like(item_seq_len) if user is None else user
        examples = self._examples(interaction, "sequential", [0] * len(item_seq), with_items=False)
        encoded = self.backbone.read(*self.encode_prompts(self.writer.write_prompts(examples)))
        return self.backbone(self.backbone.start(len(item_seq)), prompts=encoded)[:, 0]

    def _tree(self, examples, trie=None):
        embeds, lengths = self.encode_prompts(self.writer.write_prompts(examples))
        return prompt_tree(self.backbone, trie or self.trie, embeds, lengths)

    @torch.no_grad()
    def full_sort_predict(self, interaction):
        """Scores of the catalogue ``[B, n_items]`` for the prompt of :attr:`ranking`.

        Where the prompt gives candidates, all other items have -inf.
        """
        family, prompt = self.ranking
        examples = self._examples(interaction, family, [prompt] * len(interaction[self.ITEM_SEQ]))
        tree = self._tree(examples)
        if not self.tasks.has(family, prompt, "candidates"):
            return self.rank(tree, interaction)
        items = torch.from_numpy(np.concatenate([example.candidates for example in examples])).to(self.compute_device)
        row, _ = ragged(np.array([len(example.candidates) for example in examples]))
        row = torch.from_numpy(row).to(items.device)
        scores = torch.full((len(tree), self.n_items), -torch.inf, device=items.device)
        scores[row, items] = score_pairs(tree, row, items, self.engine.normalization)
        return scores

    @torch.no_grad()
    def predict(self, interaction):
        """Log-probability of each row's item after its history ``[B]``; a prompt shared by rows is fed once."""
        users = interaction[self.USER_ID]
        keys = torch.cat([interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN][:, None], users[:, None]], 1)
        prompts, row = torch.unique(keys, dim=0, return_inverse=True)
        asked = {self.ITEM_SEQ: prompts[:, :-2], self.ITEM_SEQ_LEN: prompts[:, -2], self.USER_ID: prompts[:, -1]}
        family, prompt = self.ranking
        tree = self._tree(self._examples(asked, family, [prompt] * len(prompts), with_items=False))
        return self.score_rows(tree, row, interaction[self.ITEM_ID])

    # ---- texts ----

    def write_explanations(self, users, items, abouts):
        """See the base class; the prompt is the first of training that asks for no rating."""
        if "explanation" not in self.shares:
            raise GenRecError("This P5 was not trained on explanations: the data had no reviews, or 'tasks' no share.")
        trained = self.tasks.trained("explanation")
        prompt = PromptName("explanation", min(trained, key=lambda n: self.tasks.has("explanation", n, "rating")))
        nothing = self.data.items[:0]
        asked = zip(users, items, abouts, strict=True)
        return self.write_texts(
            [Example(prompt, u, i, nothing, nothing, {"feature": f, "rating": ""}) for u, i, f in asked]
        )

    @torch.no_grad()
    def write_texts(self, examples):
        """Generate the texts that examples of one family ask for, greedily."""
        encoded = self.backbone.read(*self.encode_prompts(self.writer.write_prompts(examples)))
        tokens = self.backbone.causal_model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded.states),
            attention_mask=encoded.mask.long(),
            max_new_tokens=self.writer.limits.of(examples[0].prompt.family),
            do_sample=False,
            num_beams=1,
            logits_processor=[FiniteLogits(self.backbone)],
        )
        return [text.strip() for text in self.backbone.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
