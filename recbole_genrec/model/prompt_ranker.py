"""Histories in, scores of items out: what ranking needs of a model, without RecBole and without training.

Letters: B prompts, L history length, T tokens, H hidden size, I items.
"""

from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import torch

from recbole_genrec.backbone.scratch import SCRATCH_STD
from recbole_genrec.backbone.time_bias import TimeBias
from recbole_genrec.batches.layout import moved
from recbole_genrec.batches.packing import Packer
from recbole_genrec.batches.tokens import MIDDLE, as_slots, item_context, tokenize_prompt
from recbole_genrec.batches.user_tokens import user_tokens
from recbole_genrec.catalogue.user_index import UserIndex
from recbole_genrec.checkpoint.vector_files import read_vectors
from recbole_genrec.config.arguments import (
    BackboneArguments,
    ContextArguments,
    EngineArguments,
    IndexingArguments,
    PromptArguments,
)
from recbole_genrec.config.arguments.shared import SCRATCH
from recbole_genrec.decoding.tree import prompt_tree
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.errors import GenRecError
from recbole_genrec.model.user_values import key_of, vectors_of
from recbole_genrec.model.value_vectors import ColumnVectors, ValueVectors
from recbole_genrec.vectors.item_vectors import ItemVectors


def read_arguments(config, reads_context):
    """The typed settings of a model by name, from a configuration; ``reads_context``: also that of histories."""
    groups = {
        "prompt": PromptArguments,
        "indexing": IndexingArguments,
        "backbone": BackboneArguments,
        "engine": EngineArguments,
    }
    arguments = {name: group.from_config(config) for name, group in groups.items()}
    return arguments | {"context": ContextArguments.from_config(config) if reads_context else ContextArguments()}


def check_value_fields(template, reads_context, history):
    """Refuse a template with values of interactions where nothing reads them.

    Args:
        template: :class:`~recbole_genrec.prompt.template.PromptTemplate`.
        reads_context: whether the model reads more of a history than its items.
        history: the setting.

    Raises:
        GenRecError: so.
    """
    if template.names_user and not reads_context:
        raise GenRecError(f"Prompt {template.name!r} names {{user}}, which GenRec alone reads. Name another 'prompt'.")
    if not template.value_fields:
        return
    field = f"Prompt {template.name!r} holds values of interactions ({{{template.value_fields[0]}}})"
    if not reads_context:
        raise GenRecError(f"{field}, which GenRec alone reads. Name another 'prompt'.")
    if history == "vectors":
        raise GenRecError(
            f"{field}, and 'history: vectors' shows no text of a history. Use 'history: text' or 'both', or "
            "'context' for vectors of the values."
        )


class PromptRanker:
    """Mixin before a torch module: lays histories out as prompts and hangs the trie of the catalogue off them.

    The module that it is mixed into sets ``arguments``, ``engine``, ``template``, ``backbone``, ``catalogue`` and
    ``max_seq_length``, the most items of a history, calls
    :meth:`_lay_out`, then :meth:`_add_embeddings` and :meth:`_add_context`. What these are is said at
    :class:`~recbole_genrec.model.abstract_recommender.GenerativeRecommender`.
    """

    #: :class:`~recbole_genrec.vectors.text_vectors.CatalogueVectors`, added to the learned vectors of items.
    text_vectors = None
    #: whether the keys ``history`` and ``context`` are read.
    reads_context = True
    #: :class:`~recbole_genrec.files.user_table.ValueColumn` by name (key ``user_columns``).
    user_columns = {}
    #: :class:`~recbole_genrec.catalogue.user_index.UserIndex`: what prompts call their users.
    user_index = UserIndex()
    #: :class:`~recbole_genrec.files.moments.Clock` of the training's times, where they are read.
    clock = None

    @property
    def _shows_vectors(self):
        """Whether items of a history have their vectors."""
        return self.reads_context and self.engine.history != "text"

    @property
    def _has_slots(self):
        """Whether the vectors are all that a history has of them."""
        return self.reads_context and self.engine.history == "vectors"

    @property
    def _reads_times(self):
        """Whether times of interactions are read, for attention or for the text of prompts."""
        return self.reads_context and (bool(self.arguments["context"].kinds) or self.template.tells_gap)

    @property
    def _names_user(self):
        """Whether prompts name their user."""
        return self.reads_context and self.template.names_user

    @cached_property
    def user_tokens(self):
        """:class:`~recbole_genrec.batches.user_tokens.UserTokens` of nobody and of the users that the model knows."""
        lead = self.template.user_lead if self.reads_context else " "
        names = [self.user_index.unknown, *map(self.user_index.of, self._numbered_users())]
        return user_tokens(names, self.backbone, lead)

    @property
    def _value_columns(self):
        """Columns of the ``.inter`` file that are read, for vectors or for the text of prompts."""
        if not self.reads_context:
            return ()
        return tuple(dict.fromkeys([*self.arguments["context"].columns, *self.template.value_columns]))

    def _lay_out(self):
        """Build the trie of the identifiers, and what lays histories out as tokens.

        Raises:
            GenRecError: a wording of the prompt, held out or not, leaves no room for a history.
        """
        tokens = self._prompt_tokens(self.catalogue.identifiers)
        self.trie = build_trie(self.catalogue.identifiers, tokens.end)
        self.packer = self._make_packer(tokens)
        for wording in self.template.held_out:
            with self.worded(wording):
                pass

    def _make_packer(self, tokens):
        """What lays out histories of a prompt in tokens, :class:`~recbole_genrec.batches.tokens.PromptTokens`."""
        longest = self.max_seq_length if self._has_slots else None
        return Packer(
            tokens,
            self._plain_trie(),
            self.engine.normalization,
            self.arguments["prompt"].max_prompt_tokens,
            self.backbone.pad_id,
            longest,
        )

    def _plain_trie(self):
        """The trie on the CPU, without the vectors beside it, which would move along."""
        return replace(self.trie, item_vectors=None, edge_embedding=None).to("cpu")

    @contextmanager
    def worded(self, instruction):
        """Ask with another instruction in a block, such as one that is held out of training."""
        template, packer = self.template, self.packer
        try:
            self.template = template.worded(instruction)
            self.packer = self._make_packer(self._prompt_tokens(self.catalogue.identifiers))
            yield
        finally:
            self.template, self.packer = template, packer

    def _prompt_tokens(self, identifiers):
        """Items with ``identifiers`` and the template as :class:`~recbole_genrec.batches.tokens.PromptTokens`."""
        check_value_fields(self.template, self.reads_context, self.engine.history if self.reads_context else None)
        tokens = tokenize_prompt(self.template, self.backbone, identifiers, self.clock)
        if self._names_user:
            tokens = replace(tokens, users=self.user_tokens)
        return as_slots(tokens) if self._has_slots else tokens

    def _add_embeddings(self):
        """Vectors of items (and of padding) and of edges, zero: what training never sees stays without effect."""
        self.item_embedding = self.edge_embedding = None
        if self._shows_vectors or self.engine.item_prior:
            self.item_embedding = self._item_vectors(self._zeros(len(self.catalogue.item_tokens) + 1))
        if self.engine.item_prior:
            self.trie.item_vectors, self.trie.unseen_share = self.item_embedding, self.engine.unseen_share
            self.trie.title_weight, self.trie.unseen_every = self.engine.title_weight, self.engine.unseen_every
        if self.engine.edge_embedding:
            self.edge_embedding = self.trie.edge_embedding = self._zeros(self.trie.n_edges)

    def _add_context(self):
        """What reads the context of a history: a bias of time in attention, and vectors of values by column."""
        self.time_bias, self.value_vectors = None, ColumnVectors()
        self.item_values = None  # an ItemValues, where 'item_columns' names some
        context = self.arguments["context"]
        if not (self.reads_context and (context.context or self.user_columns)):
            return
        if context.kinds:
            self.time_bias = TimeBias(self.backbone.config.num_attention_heads, context.kinds)
        for column in context.columns:
            self.value_vectors[column] = ValueVectors(self.backbone.hidden_size)
        for name, column in self.user_columns.items():
            self.value_vectors[key_of(name)] = vectors_of(column, self.backbone.hidden_size)

    def _item_vectors(self, embedding, **training):
        """The vectors of items that begin as ``embedding``, those of their texts added; with what training needs."""
        if self.text_vectors is None:
            return embedding
        return ItemVectors(embedding.weight, self.text_vectors.padded(), **training)

    def take_text_vectors(self, vectors):
        """Put other :class:`~recbole_genrec.vectors.text_vectors.CatalogueVectors` of the same shape in place."""
        self.text_vectors = vectors
        self.item_embedding.table.copy_(vectors.padded())

    def _read_text_vectors(self, folder):
        """Read the text vectors of a checkpoint whose catalogue is there already."""
        self.text_vectors = read_vectors(folder, len(self.catalogue.item_tokens))

    def _zeros(self, count):
        embedding = torch.nn.Embedding(count, self.backbone.hidden_size)
        torch.nn.init.zeros_(embedding.weight)
        return embedding

    def _edges_of_none_but(self, items):
        """Which edges of the trie lead to no other items than ``items``, ids ``[C]``; ``None`` where there are none."""
        if not len(items):
            return None
        chosen = torch.zeros(1, self.trie.n_items + 1, dtype=torch.bool)
        chosen[0, items] = True
        return self.trie.count_below(chosen)[0] == self.trie.edge_high - self.trie.edge_low

    def prompt_settings(self):
        """The prompts in a form that YAML can hold, for checkpoints."""
        return self.template.as_dict()

    def _encode_pieces(self, backbone, texts, follows):
        """Tokens of texts in identifiers; ``follows``: each continues text of the same identifier."""
        if follows:
            return backbone.encode_many(texts, MIDDLE)
        return backbone.encode_many([self.template.lead + text for text in texts], item_context(self.template))

    def _check_length(self):
        longest, possible = self.arguments["prompt"].max_prompt_tokens, self.backbone.max_positions
        virtual = self._count_virtual()
        if possible is not None and longest + virtual > possible:
            beside = f", with {virtual} virtual tokens," if virtual else ""
            raise GenRecError(
                f"'max_prompt_tokens' ({longest}){beside} is above the backbone's longest sequence, {possible}."
            )

    def _count_virtual(self):
        """Tokens that stand before every prompt, beside ``max_prompt_tokens``."""
        return self.arguments["backbone"].virtual_tokens

    def _apply(self, fn, recurse=True):
        """Move the trie along with the parameters."""
        super()._apply(fn, recurse)
        self.trie = self.trie.to(self.compute_device)
        return self

    @property
    def compute_device(self):
        """Device of the parameters."""
        return next(self.backbone.parameters()).device

    def embed(self, input_ids, items):
        """Input embeddings ``[W, T, H]`` of ``input_ids [W, T]``, those of ``items`` added.

        ``items`` are :class:`~recbole_genrec.batches.layout.ItemCells`.
        """
        embeds = self.backbone.embed(input_ids)
        known = items.values
        added = [table(known[column]) for column, table in self.value_vectors.items() if column in known]
        if self.item_values is not None:
            added.append(self.item_values(items.item))
        if self._shows_vectors:
            vectors = self._history_vectors(items.item)
            kept = torch.ones(len(items.item), 1, device=items.item.device)
            added.append(vectors * torch.nn.functional.dropout(kept, self.engine.item_embedding_dropout, self.training))
        if not added or len(items.item) == 0:
            return embeds
        flat = embeds.flatten(0, 1).index_add(0, items.cell, torch.stack(added).sum(0).to(embeds.dtype))
        return flat.view_as(embeds)

    def _history_vectors(self, item):
        """Vectors ``[N, H]`` that items ``[N]`` have in a history."""
        return self._sized(self.item_embedding(item))

    def _sized(self, vectors):
        """Vectors of items ``[N, H]`` in the size in which a history has them."""
        if self._has_slots and self.arguments["backbone"].backbone == SCRATCH:
            # to the size that states have, as the embeddings of Vaswani et al. 2017 (section 3.4) are
            vectors = vectors / SCRATCH_STD * vectors.shape[1] ** 0.5
        return vectors

    def feed(self, prompts):
        """Feed :class:`~recbole_genrec.batches.packed_batch.Prompts`.

        Returns:
            :class:`~recbole_genrec.decoding.tree.PromptTree`.
        """
        times = {}
        if self.time_bias is not None:
            times = {"time_bias": self.time_bias, "times": moved(prompts.times, self.compute_device)}
        return prompt_tree(self.backbone, self.trie, *self.embed_prompts(prompts), **times)

    def embed_prompts(self, prompts):
        """Embed :class:`~recbole_genrec.batches.packed_batch.Prompts`.

        Returns:
            Input embeddings ``[B, T, H]``, right-padded, and their lengths ``[B]``.
        """
        device = self.compute_device
        embeds = self.embed(prompts.input_ids.to(device), moved(prompts.items, device))
        return embeds, prompts.lengths.to(device)
