"""What models that learn the next item at every position of a history have in common.

One forward of a history serves all its targets; RecBole trains with a row, and so a forward of the whole history, for
each. The loss is the cross-entropy over the whole catalogue. A model gives its state at every position; all else is
here: loader, loss, ranking.

Letters: B rows, L positions of a history, right-padded, H width of the states.
"""

import numpy as np
import torch
import torch.nn.functional as F

from recbole_genrec.backbone.time_bias import NO_TIME, CellTimes
from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.windows import WindowLoader
from recbole_genrec.config.arguments import (
    ContextArguments,
    PretrainArguments,
    PromptArguments,
    TextVectorArguments,
)
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.context_columns import EXACT_TIME
from recbole_genrec.interactions.dataset import train_columns
from recbole_genrec.interactions.text_columns import TextColumns
from recbole_genrec.model.catalogue_loss import catalogue_cross_entropy
from recbole_genrec.model.item_values import ItemValues
from recbole_genrec.model.position_context import ContextInput, PositionContext
from recbole_genrec.model.pretraining import ahead_weight, mask_vector, pairs_ahead, row_weights
from recbole_genrec.model.user_values import UserValues
from recbole_genrec.model.vectors_of_items import Knowledge, check_vectors, with_text_vectors
from recbole_genrec.vectors.item_vectors import ItemVectors
from recbole_genrec.vectors.text_vectors import NONE


class AllPositions:
    """Mixin before a sequential recommender of RecBole; a model of its own kind gives :meth:`states`.

    It makes an ``item_embedding`` and calls :meth:`_add_knowledge` at the end of its constructor, which also gives it
    ``context_input``, a :class:`~recbole_genrec.model.position_context.ContextInput`.

    Attributes:
        stage: of training, ``pretrain`` or ``finetune``: what :meth:`calculate_loss` is; the trainer sets it.
        mask_vector: stands for a masked item in pretraining ``[1, H]``, or ``None``.

    Raises:
        GenRecError: a setting is not accepted; see :meth:`check_settings`.
    """

    stage = "finetune"

    def __init__(self, config, dataset):
        self.check_settings(config)
        super().__init__(config, dataset)
        #: names of the columns that a batch has beside items.
        self.columns = tuple(self.context_columns(config))

    @classmethod
    def check_settings(cls, config):
        """Refuse, before anything is built or trained, another loss, and heads that do not divide the width."""
        if config["loss_type"] != "CE":
            raise GenRecError(f"{cls.__name__} takes 'loss_type: CE', not {config['loss_type']!r}.")
        heads, width = config["n_heads"], config["hidden_size"]
        if heads and width % heads:
            raise GenRecError(f"{cls.__name__}: 'n_heads: {heads}' does not divide 'hidden_size: {width}'.")
        check_vectors(TextVectorArguments.from_config(config), has_backbone=False)

    def _add_knowledge(self, config, dataset):
        """Add the vectors of item texts that the settings name to the learned ones, and what reads the context."""
        arguments = TextVectorArguments.from_config(config)
        knowledge = Knowledge(arguments, PromptArguments.from_config(config).item_text)
        self.item_embedding = with_text_vectors(self.item_embedding, config, dataset, knowledge)
        self.has_texts = isinstance(self.item_embedding, ItemVectors)
        known = None
        if self.has_texts and len(dataset.cold_items):  # always a wrong answer, they would teach what their texts mean
            known = torch.from_numpy(np.setdiff1d(np.arange(self.n_items), dataset.cold_items))
        self.register_buffer("known", known, persistent=False)
        self.context = ContextArguments.from_config(config)
        self.users = UserValues(dataset, self.context.user_columns)
        self.context_input = ContextInput(self.context, config["hidden_size"], config["n_heads"], self.users)
        if self.context.columns:
            for column, values in train_columns(dataset, self.context.columns).items():
                self.context_input.value_vectors[column].fit(values)
        self.users.fit(self.context_input.value_vectors, dataset)
        names = self.context.item_columns
        self.item_values = ItemValues.of_dataset(dataset, names, config["hidden_size"]) if names else None
        self.pretraining = PretrainArguments.from_config(config)
        self.mask_vector = None
        if self.pretraining.masks:
            self.mask_vector = mask_vector(config["hidden_size"], config["initializer_range"])

    @classmethod
    def text_columns(cls, config):
        """What a run's dataset keeps for the model: the items' texts, where they have vectors."""
        has_vectors = TextVectorArguments.from_config(config).text_vectors != NONE
        return TextColumns(items=has_vectors or bool(ContextArguments.from_config(config).item_columns))

    @classmethod
    def context_columns(cls, config):
        """Columns read beside items; see :mod:`recbole_genrec.interactions.context_columns`."""
        settings = ContextArguments.from_config(config)
        return dict.fromkeys([*([EXACT_TIME] if settings.kinds else []), *settings.columns], "context")

    def training_loader(self, config, train_dataset):
        """:class:`~recbole_genrec.batches.windows.WindowLoader` over the training part of the split."""
        settings = EpochSettings(config["seed"], config["train_batch_size"])
        return WindowLoader(train_dataset, self.max_seq_length, settings, self.columns)

    def loss_weight(self, interaction):
        """Number of terms in the mean loss of a batch: its new targets, in pretraining its windows."""
        if self.stage == "pretrain":
            return len(interaction)
        return interaction["new_targets"].sum() if "new_targets" in interaction else len(interaction)

    def item_vectors(self):
        """Vectors of all items ``[n_items, H]``: what a history is made of, and what a state is compared with.

        In training each call is a new step: other items go without their learned vector.
        """
        if self.has_texts:
            self.item_embedding.draw()
        return self.item_embedding.weight

    def embedded(self, items, vectors):
        """What items of a history ``[...]`` are fed as ``[..., H]``; padding has no gradient.

        Args:
            items: of any shape.
            vectors: :meth:`item_vectors`; those of ``item_columns`` are added.
        """
        embedded = F.embedding(items, vectors, padding_idx=0)
        return embedded if self.item_values is None else embedded + self.item_values(items)

    def states(self, interaction, vectors):
        """State at every position ``[B, L, H]``, each of the items up to there alone.

        Args:
            interaction: batch with histories ``[B, L]``, right-padded with 0.
            vectors: :meth:`item_vectors`.
        """
        raise NotImplementedError

    def last_states(self, interaction, vectors):
        """State after the last item of each history ``[B, H]``; arguments as of :meth:`states`."""
        states = self.states(interaction, vectors)
        return self.gather_indexes(states, interaction[self.ITEM_SEQ_LEN] - 1)

    def next_of(self, interaction, column):
        """A column's value at the next interaction, for every position ``[B, L]``; 0 behind the last one.

        Args:
            interaction: batch with ``<column>_list [B, L]``, and the target's ``<column> [B]``.
            column: its name.
        """
        listed, length = interaction[f"{column}{self.list_suffix}"], interaction[self.ITEM_SEQ_LEN]
        values = torch.cat([listed[:, 1:], listed.new_zeros(len(listed), 1)], 1)
        values[torch.arange(len(listed), device=listed.device), length - 1] = interaction[column]
        return values

    def context_of(self, interaction):
        """The :class:`~recbole_genrec.model.position_context.PositionContext` of a batch's histories.

        The moment of a position as a query is its item's own (``gap``), and that of the next interaction, which at the
        last position is the target's (``request_time``).
        """
        padding = interaction[self.ITEM_SEQ] == 0
        names = {column: f"{column}{self.list_suffix}" for column in self.context.columns}
        values = {column: interaction[name].masked_fill(padding, torch.nan) for column, name in names.items()}
        if self.context.user_columns:
            for key, numbers in self.users.of(interaction[self.USER_ID].cpu().numpy()).items():
                of_user = torch.from_numpy(numbers).to(padding.device)[:, None]
                values[key] = of_user.expand(padding.shape).masked_fill(padding, torch.nan)
        if not self.context.kinds:
            return PositionContext(values)
        known = interaction[f"{EXACT_TIME}{self.list_suffix}"].masked_fill(padding, NO_TIME)
        asked = self.next_of(interaction, EXACT_TIME).masked_fill(padding, NO_TIME)
        return PositionContext(values, CellTimes(known, known, asked))

    @property
    def list_suffix(self):
        """What a column's name ends with where it is a history."""
        return self.ITEM_SEQ.removeprefix(self.ITEM_ID)

    def calculate_loss(self, interaction):
        """Mean cross-entropy of the next item over the positions whose target is new.

        In the stage ``pretrain`` it is :meth:`pretraining_loss`.

        Args:
            interaction: batch of :class:`~recbole_genrec.batches.windows.WindowLoader`, or RecBole's, where every row's
                last target alone is new.

        Returns:
            A scalar.
        """
        if self.stage == "pretrain":
            return self.pretraining_loss(interaction)
        target, counted = self._targets(interaction)
        vectors = self.item_vectors()
        return self.loss_of(self.states(interaction, vectors)[counted], vectors, target[counted])

    def _targets(self, interaction):
        """The next item of every position, and whether it is a new target, both ``[B, L]``."""
        length, target = interaction[self.ITEM_SEQ_LEN], self.next_of(interaction, self.ITEM_ID)
        new = interaction["new_targets"] if "new_targets" in interaction else torch.ones_like(length)
        position = torch.arange(target.shape[1], device=target.device)
        return target, (position >= (length - new)[:, None]) & (position < length[:, None])

    def pretraining_loss(self, interaction):
        """Loss of pretraining; see :mod:`recbole_genrec.model.pretraining`.

        Args:
            interaction: batch of :class:`~recbole_genrec.batches.windows.WindowLoader` in the stage ``pretrain``.

        Returns:
            A scalar, the mean over windows.
        """
        vectors, loss = self.item_vectors(), 0.0
        if self.pretraining.masks:
            loss = loss + self._masked_loss(interaction, vectors)
        if self.pretraining.looks_ahead:
            loss = loss + self._ahead_loss(interaction, vectors) * ahead_weight(self.pretraining)
        return loss

    def _masked_loss(self, interaction, vectors):
        items, length = interaction[self.ITEM_SEQ].clone(), interaction[self.ITEM_SEQ_LEN]
        place = interaction["masked_position"][:, None]
        target = items.gather(1, place)[:, 0]
        items.scatter_(1, place, len(vectors))
        masked = {name: interaction[name] for name in interaction.columns} | {self.ITEM_SEQ: items}
        states = self.last_states(masked, torch.cat([vectors, self.mask_vector]))
        weight = (length > 1) / len(length)  # a mask alone says nothing
        return self.loss_of(states, vectors, target, weight)

    def _ahead_loss(self, interaction, vectors):
        target, counted = self._targets(interaction)
        row, place = counted.nonzero(as_tuple=True)
        number, before = pairs_ahead(place, self.pretraining.pretrain_next)
        row, place = row[number], place[number]
        states = self.states(interaction, vectors)[row, before]
        return self.loss_of(states, vectors, target[row, place], row_weights(row, len(target)))

    def loss_of(self, states, vectors, target, weight=None):
        """Cross-entropy of targets ``[N]`` after states ``[N, H]``, weighted ``[N]``; by default the mean."""
        if self.known is not None:
            vectors, target = vectors[self.known], torch.searchsorted(self.known, target)
        return catalogue_cross_entropy(*self.compared(states, vectors), target, weight)

    def compared(self, states, vectors):
        """States and item vectors as their products are the items' scores: here as they are."""
        return states, vectors

    def forward(self, interaction):
        """States after the last items ``[B, H]`` and vectors of all items ``[n_items, H]``, as they are compared."""
        vectors = self.item_vectors()
        return self.compared(self.last_states(interaction, vectors), vectors)

    def full_sort_predict(self, interaction):
        """Scores of all items ``[B, n_items]``."""
        states, vectors = self(interaction)
        return states @ vectors.T

    def predict(self, interaction):
        """Score of each row's own item ``[B]``."""
        states, vectors = self(interaction)
        return (states * vectors[interaction[self.ITEM_ID]]).sum(1)
