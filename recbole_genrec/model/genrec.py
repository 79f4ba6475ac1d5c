"""GenRec: a language model reads a user's history as text and generates the next item's title.

Reference: Jianchao Ji et al. "GenRec: Large Language Model for Generative Recommendation", 2023, arXiv 2307.00457.
Reference code: https://github.com/rutgerswiselab/GenRec

Deviations from the paper and its code. One setting each switches all but the last back, which is a permanent fix:

* ``packing``: one forward for a whole history instead of one prompt per target; the loss is the same.
* ``normalization: trie``: probabilities are normalised over existing titles (``vocab`` is the paper's).
* ``decoding: exact``: the K most probable titles of the catalogue (``beam`` is the paper's, kept on the catalogue).
* ``history: vectors`` or ``both``, ``item_prior``, ``text_vectors``, ``context`` and ``pretrain`` are additions, off by
  default.
* Equal titles of two items get a suffix; targets are never cut; the oldest items are dropped as a whole.
"""

from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from recbole_genrec.backbone.loading import SCRATCH
from recbole_genrec.backbone.scratch import drop_in_layers
from recbole_genrec.backbone.time_bias import NO_TIME, causal_bias
from recbole_genrec.batches.alignment_batches import AlignmentBatch
from recbole_genrec.batches.layout import moved
from recbole_genrec.batches.packing import PackedBatch, Windows
from recbole_genrec.batches.pretrain_loader import PretrainBatch, PretrainLoader
from recbole_genrec.catalogue.user_index import CLUSTER, RANDOM
from recbole_genrec.checkpoint.folder import BUILT_FOR
from recbole_genrec.config.arguments import (
    AlignmentArguments,
    BackboneArguments,
    EngineArguments,
    GenRecArguments,
    IndexingArguments,
    PretrainArguments,
    TextVectorArguments,
    UserArguments,
)
from recbole_genrec.decoding.softmax import trie_loss_and_prior
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import seen_items
from recbole_genrec.model.abstract_recommender import GenerativeRecommender
from recbole_genrec.model.alignment import AlignmentTraining, check_alignment
from recbole_genrec.model.pretraining import ahead_weight, mask_vector, pairs_ahead, row_weights
from recbole_genrec.model.vectors_of_items import Knowledge, catalogue_vectors, check_vectors
from recbole_genrec.model.warm_start import check_source, source_vectors, take_over
from recbole_genrec.prompt.wordings import evaluate_wordings
from recbole_genrec.vectors.hidden_states import embed_texts
from recbole_genrec.vectors.item_vectors import ItemVectors
from recbole_genrec.vectors.text_vectors import NONE


class GenRec(AlignmentTraining, GenerativeRecommender):
    """GenRec for causal language models; see the module's header and :class:`GenerativeRecommender`.

    Attributes:
        source: the checkpoint folder that training starts from (key ``warm_start``); empty: none.
        vectors_of_source: what makes its text vectors, where the settings ask for vectors of the same sources.
    """

    reads_context = True
    names_users = True
    vectors_of_source = None

    def __init__(self, config, dataset):
        self.source = "" if config[BUILT_FOR] else self._read_source(config)
        self.alignment = self._read_alignment(config)
        self._vector_training = self._what_vectors_train_with(config, dataset)
        super().__init__(config, dataset)
        backbone = self.arguments["backbone"]
        if self.is_trained and backbone.backbone == SCRATCH and backbone.scratch_dropout:
            drop_in_layers(self.backbone, backbone.scratch_dropout)
        self._add_mask(PretrainArguments.from_config(config) if self.is_trained else PretrainArguments())
        if self.source:
            take_over(self, self.source)

    def _add_mask(self, pretraining):
        """What pretraining needs beside the model; see :mod:`recbole_genrec.model.pretraining`."""
        self.pretraining, self.mask_vector = pretraining, None
        if pretraining.masks:
            self.mask_vector = mask_vector(self.backbone.hidden_size, self.backbone.embedding_std)

    @classmethod
    def check_settings(cls, config):
        """See the base class; also refuses what training cannot start from, or pretraining cannot learn."""
        super().check_settings(config)
        cls._check_vectors(config)
        if cls.is_trained:
            check_alignment(config, EngineArguments.from_config(config), IndexingArguments.from_config(config))
            cls._check_pretraining(PretrainArguments.from_config(config), EngineArguments.from_config(config))
        if source := cls._read_source(config):
            if (users := UserArguments.from_config(config).user_indexing) in (RANDOM, CLUSTER):
                raise GenRecError(
                    f"'warm_start' takes no 'user_indexing: {users}', whose tokens mean other users there."
                )
            scheme = IndexingArguments.from_config(config).item_indexing
            check_source(source, scheme, BackboneArguments.from_config(config))

    @classmethod
    def _check_pretraining(cls, pretraining, engine):
        if pretraining.pretrain == "none":
            return
        for key in ("item_prior", "packing"):
            if not getattr(engine, key):
                raise GenRecError(f"'pretrain: {pretraining.pretrain}' of GenRec needs '{key}: true'.")
        if pretraining.masks and engine.history == "text":
            raise GenRecError(
                f"'pretrain: {pretraining.pretrain}' puts a vector in the place of an item: it needs "
                "'history: vectors' or 'both'. With 'history: text' there is 'pretrain: next_k'."
            )

    @classmethod
    def _read_alignment(cls, config):
        return AlignmentArguments.from_config(config) if cls.is_trained else AlignmentArguments()

    def _value_texts(self, dataset):
        return super()._value_texts(dataset) + self._alignment_corpus(dataset)

    @classmethod
    def _read_source(cls, config):
        return GenRecArguments.from_config(config).warm_start

    @classmethod
    def _read_vector_arguments(cls, config):
        """The settings of text vectors, or ``None`` for a model that has none."""
        return TextVectorArguments.from_config(config)

    @classmethod
    def _check_vectors(cls, config):
        arguments, engine = cls._read_vector_arguments(config), EngineArguments.from_config(config)
        pretrained = BackboneArguments.from_config(config).backbone != SCRATCH
        if arguments is None or not check_vectors(arguments, pretrained):
            return
        if engine.history == "text" and not engine.item_prior:
            raise GenRecError(
                f"'text_vectors: {arguments.text_vectors}' is added to the vectors of items: it needs "
                "'history: vectors' or 'both', or 'item_prior: true'."
            )

    def _what_vectors_train_with(self, config, dataset):
        """What :class:`~recbole_genrec.vectors.item_vectors.ItemVectors` need to know in training."""
        arguments = self._read_vector_arguments(config)
        if arguments is None or arguments.text_vectors == NONE:
            return {}
        return {"seen": torch.from_numpy(seen_items(dataset)), "dropout": arguments.item_vector_dropout}

    def _item_vectors(self, embedding, **training):
        return super()._item_vectors(embedding, **self._vector_training)

    def _make_text_vectors(self, config, dataset, backbone):
        arguments = self._read_vector_arguments(config)
        if arguments is None or not check_vectors(arguments, backbone is not None):
            return None
        settings = self.arguments["backbone"]
        if self.source:
            self.vectors_of_source = source_vectors(self.source, arguments.text_vectors)
        knowledge = Knowledge(
            arguments,
            self.arguments["prompt"].item_text,
            backbone and partial(embed_texts, backbone, device=config["device"]),
            (settings.backbone, settings.revision),
            self.vectors_of_source,
        )
        return catalogue_vectors(config, dataset, knowledge)

    def _read_backbone(self, corpus, checkpoint=None):
        warm = self.source if self.arguments["backbone"].backbone == SCRATCH else ""  # it keeps the source's tokens
        return super()._read_backbone(corpus, warm or checkpoint)

    def forward(self, item_seq, item_seq_len, context=None):
        """State after each history's prompt.

        Args:
            item_seq: item ids, right-padded with 0, ``[B, L]``.
            item_seq_len: ``[B]``.
            context: what :meth:`history_context` gives; by default nothing is known.

        Returns:
            ``[B, H]``, the last hidden state, from which the first token of the next title is predicted.
        """
        return self._last_states(self.prompts(item_seq, item_seq_len, context))

    def _last_states(self, prompts):
        """State after each of the :class:`~recbole_genrec.batches.packed_batch.Prompts` ``[B, H]``."""
        embeds, lengths = self.embed_prompts(prompts)
        times = moved(prompts.times, lengths.device)
        mask = None if self.time_bias is None or times is None else causal_bias(self.time_bias, times)
        hidden = self.backbone(embeds, mask=mask)
        return hidden[torch.arange(len(lengths), device=lengths.device), lengths - 1]

    def calculate_loss(self, batch):
        """Mean negative log-likelihood of the targets' decisions (tokens, with ``normalization: vocab``).

        Args:
            batch: a :class:`~recbole_genrec.batches.packed_batch.PackedBatch`, or RecBole's interaction, one target a
                row. Of a :class:`~recbole_genrec.batches.pretrain_loader.PretrainBatch` it is the loss of pretraining,
                of an :class:`~recbole_genrec.batches.alignment_batches.AlignmentBatch` that of its tasks.

        Returns:
            A scalar.
        """
        vectors = self.item_embedding
        with vectors.step() if isinstance(vectors, ItemVectors) else nullcontext():
            if isinstance(batch, PretrainBatch):
                return self._masked_loss(batch) + self._ahead_loss(batch) * ahead_weight(self.pretraining)
            if isinstance(batch, AlignmentBatch):
                return self._alignment_loss(batch)
            if not isinstance(batch, PackedBatch):
                batch = self.pack_interaction(batch)
            return self._loss_of(batch) / batch.n_decisions

    def _masked_loss(self, batch):
        """Loss of the masked items, over the number of windows; 0 where there are none."""
        if batch.prompts is None:
            return 0.0 * self.item_embedding.weight.sum()
        hidden = self._last_states(batch.prompts)
        weight = torch.full((len(hidden),), 1 / batch.n_windows, device=hidden.device)
        return self.item_cross_entropy(hidden, batch.masked_item, weight)

    def _ahead_loss(self, batch):
        """Loss of the next items of every state before a target; 0 without ``next_k``."""
        packed = batch.packed
        if packed is None:
            return 0.0
        cell, item = packed.targets.cell, packed.targets.item
        row = cell // packed.input_ids.shape[1]
        count = torch.bincount(row, minlength=batch.n_windows)
        place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]  # in the window
        number, before = pairs_ahead(place, self.pretraining.pretrain_next)
        hidden = self._states(packed)[cell[number - place[number] + before]]
        return self.item_cross_entropy(hidden, item[number], row_weights(row[number], batch.n_windows))

    def _states(self, batch):
        """States at all cells ``[W * T, H]`` of a :class:`~recbole_genrec.batches.packed_batch.PackedBatch`."""
        embeds = self.embed(batch.input_ids, batch.items)
        kind = self.backbone.mask_kind
        mask = batch.mask("dense" if kind == "blocks" and self.time_bias is not None else kind, self.time_bias)
        return self.backbone(embeds, batch.position_ids, mask).flatten(0, 1)

    def _loss_of(self, batch):
        """The summed loss of a :class:`~recbole_genrec.batches.packed_batch.PackedBatch`."""
        states = self._states(batch)
        hidden, label = states[batch.labels.cell], batch.labels.label
        if self.engine.normalization == "trie":
            loss, prior = trie_loss_and_prior(self.backbone, self.trie, hidden, label, unknown=self.unknown_edges)
        else:
            loss = cross_entropy(self.backbone.logits(hidden), label, reduction="sum")
        loss = loss / batch.learnt_share  # the expected sum over all targets
        if self.engine.item_prior_loss:
            loss = loss + self._item_loss(prior, states, batch)
        return loss

    def _history_vectors(self, item):
        """As the base class; the item behind the last one is the mask."""
        if self.mask_vector is None:
            return super()._history_vectors(item)
        masked = item == self.n_items
        vectors = super()._history_vectors(item.masked_fill(masked, 0))
        return torch.where(masked[:, None], self._sized(self.mask_vector), vectors)

    def training_loader(self, config, train_dataset):
        """As the base class, with batches of pretraining where there is a stage of it, and those of alignment."""
        loader = super().training_loader(config, train_dataset)
        if self.pretraining.pretrain == "none":
            return self._with_alignment(loader, train_dataset)
        shape = (loader.min_history, loader.branch_share, loader.context)
        sequences = (loader.users, loader.items, loader.offsets)
        loader = PretrainLoader(self.pretraining, self.packer, train_dataset, sequences, loader.settings, *shape)
        return self._with_alignment(loader, train_dataset)

    def _item_loss(self, prior, states, batch):
        """:meth:`prior_loss` of all targets; ``prior`` has compared those that are learnt with all items already."""
        target, learnt = batch.targets, batch.learnt
        loss = prior.item_loss(target.item[learnt]) * self.engine.item_prior_loss
        if learnt.all():
            return loss
        return loss + self.prior_loss(states[target.cell[~learnt]], target.item[~learnt])

    def evaluate_tasks(self, dataset, config, ranked, evaluate_ranking):
        """Test the ranking once more by each of the instructions that are held out of training.

        Args:
            dataset: the part of the split to test on.
            config: RecBole's configuration.
            ranked: RecBole's ranking metrics there, by the first instruction.
            evaluate_ranking: gives those of the model as it is.

        Returns:
            ``{"sequential": ...}``, see :func:`~recbole_genrec.prompt.wordings.evaluate_wordings`.
        """
        tested = evaluate_wordings(self.template.held_out, self.worded, ranked, evaluate_ranking)
        return {"sequential": tested} if tested else {}

    def pack_interaction(self, interaction):
        """Lay RecBole's rows, a history and its target each, out as single prompts.

        In training each row draws one of the instructions.
        """
        history, length = interaction[self.ITEM_SEQ].cpu().numpy(), interaction[self.ITEM_SEQ_LEN].cpu().numpy()
        context, shape = self.history_context(interaction), history.shape
        items = _with_target(history, length, interaction[self.POS_ITEM_ID].cpu().numpy())
        if context.times is not None:
            asked = np.full(len(length), NO_TIME) if context.asked is None else context.asked
            context.times = _with_target(context.times.reshape(shape), length, asked)
        nobody = np.zeros(len(length))
        context.values = {k: _with_target(v.reshape(shape), length, nobody) for k, v in context.values.items()}
        begin = np.arange(len(length)) * (shape[1] + 1)
        target, context = begin + length, self.packer.describe(items, context)
        windows = Windows(self.packer.history_start(items, begin, target, context), target, target + 1, context.user)
        instruction = None
        if self.training:
            instruction = torch.randint(len(self.packer.tokens.prefixes), (len(history),)).numpy()
            if self._names_user:
                windows.user = windows.user * (torch.rand(len(history)) >= self.user_settings.user_dropout).numpy()
        return self.packer.pack(items, windows, instruction, context=context).to(self.compute_device)


def _with_target(history, length, target):
    """Rows of histories ``[B, L]`` with a target after each, end to end ``[B * (L + 1)]``."""
    table = np.pad(history, ((0, 0), (0, 1)))
    table[np.arange(len(length)), length] = target
    return table.ravel()
