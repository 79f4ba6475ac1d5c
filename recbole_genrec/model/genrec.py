"""GenRec: a language model reads a user's history as text and generates the next item's title.

Reference: Jianchao Ji et al. "GenRec: Large Language Model for Generative Recommendation", 2023, arXiv 2307.00457.
Reference code: https://github.com/rutgerswiselab/GenRec

Deviations from the paper and its code. One setting each switches all but the last back, which is a permanent fix:

* ``packing``: one forward for a whole history instead of one prompt per target; the loss is the same.
* ``normalization: trie``: probabilities are normalised over existing titles (``vocab`` is the paper's).
* ``decoding: exact``: the K most probable titles of the catalogue (``beam`` is the paper's, kept on the catalogue).
* ``history: vectors`` or ``both``, ``item_prior``, ``text_vectors`` and ``context`` are additions, off by default.
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
from recbole_genrec.batches.layout import moved
from recbole_genrec.batches.packing import PackedBatch, Windows
from recbole_genrec.checkpoint.folder import BUILT_FOR
from recbole_genrec.config.arguments import (
    BackboneArguments,
    EngineArguments,
    GenRecArguments,
    IndexingArguments,
    TextVectorArguments,
)
from recbole_genrec.decoding.softmax import trie_loss_and_prior
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import seen_items
from recbole_genrec.model.abstract_recommender import GenerativeRecommender
from recbole_genrec.model.vectors_of_items import Knowledge, catalogue_vectors, check_vectors
from recbole_genrec.model.warm_start import check_source, source_vectors, take_over
from recbole_genrec.vectors.hidden_states import embed_texts
from recbole_genrec.vectors.item_vectors import ItemVectors
from recbole_genrec.vectors.text_vectors import NONE


class GenRec(GenerativeRecommender):
    """GenRec for causal language models; see the module's header and :class:`GenerativeRecommender`.

    Attributes:
        source: the checkpoint folder that training starts from (key ``warm_start``); empty: none.
        vectors_of_source: what makes its text vectors, where the settings ask for vectors of the same sources.
    """

    reads_context = True
    vectors_of_source = None

    def __init__(self, config, dataset):
        self.source = "" if config[BUILT_FOR] else self._read_source(config)
        self._vector_training = self._what_vectors_train_with(config, dataset)
        super().__init__(config, dataset)
        backbone = self.arguments["backbone"]
        if self.is_trained and backbone.backbone == SCRATCH and backbone.scratch_dropout:
            drop_in_layers(self.backbone, backbone.scratch_dropout)
        if self.source:
            take_over(self, self.source)

    @classmethod
    def check_settings(cls, config):
        """See the base class; also refuses a checkpoint that training cannot start from."""
        super().check_settings(config)
        cls._check_vectors(config)
        if source := cls._read_source(config):
            scheme = IndexingArguments.from_config(config).item_indexing
            check_source(source, scheme, BackboneArguments.from_config(config))

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
        prompts = self.prompts(item_seq, item_seq_len, context)
        embeds, lengths = self.embed_prompts(prompts)
        times = moved(prompts.times, lengths.device)
        mask = None if self.time_bias is None or times is None else causal_bias(self.time_bias, times)
        hidden = self.backbone(embeds, mask=mask)
        return hidden[torch.arange(len(lengths), device=lengths.device), lengths - 1]

    def calculate_loss(self, batch):
        """Mean negative log-likelihood of the targets' decisions (tokens, with ``normalization: vocab``).

        Args:
            batch: a :class:`~recbole_genrec.batches.packing.PackedBatch`, or RecBole's interaction, one target a row.

        Returns:
            A scalar.
        """
        if not isinstance(batch, PackedBatch):
            batch = self.pack_interaction(batch)
        vectors = self.item_embedding
        with vectors.step() if isinstance(vectors, ItemVectors) else nullcontext():
            return self._loss_of(batch) / batch.n_decisions

    def _loss_of(self, batch):
        """The summed loss of a :class:`~recbole_genrec.batches.packing.PackedBatch`."""
        embeds = self.embed(batch.input_ids, batch.items)
        kind = self.backbone.mask_kind
        mask = batch.mask("dense" if kind == "blocks" and self.time_bias is not None else kind, self.time_bias)
        states = self.backbone(embeds, batch.position_ids, mask).flatten(0, 1)
        hidden, label = states[batch.labels.cell], batch.labels.label
        if self.engine.normalization == "trie":
            loss, prior = trie_loss_and_prior(self.backbone, self.trie, hidden, label, unknown=self.unknown_edges)
        else:
            loss = cross_entropy(self.backbone.logits(hidden), label, reduction="sum")
        loss = loss / batch.learnt_share  # the expected sum over all targets
        if self.engine.item_prior_loss:
            loss = loss + self._item_loss(prior, states, batch)
        return loss

    def _item_loss(self, prior, states, batch):
        """:meth:`prior_loss` of all targets; ``prior`` has compared those that are learnt with all items already."""
        target, learnt = batch.targets, batch.learnt
        loss = prior.item_loss(target.item[learnt]) * self.engine.item_prior_loss
        if learnt.all():
            return loss
        return loss + self.prior_loss(states[target.cell[~learnt]], target.item[~learnt])

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
        windows = Windows(self.packer.history_start(items, begin, target, context), target, target + 1)
        instruction = None
        if self.training:
            instruction = torch.randint(len(self.packer.tokens.prefixes), (len(history),)).numpy()
        return self.packer.pack(items, windows, instruction, context=context).to(self.compute_device)


def _with_target(history, length, target):
    """Rows of histories ``[B, L]`` with a target after each, end to end ``[B * (L + 1)]``."""
    table = np.pad(history, ((0, 0), (0, 1)))
    table[np.arange(len(length)), length] = target
    return table.ravel()
