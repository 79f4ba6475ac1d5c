"""GenRecSeq2Seq: a BART reads a user and items as text, some masked, and writes the masked items.

Reference: Panfeng Cao and Pietro Lio. "GenRec: Generative Sequential Recommendation with Large Language Models", 2024,
arXiv 2407.21191. (Another GenRec than that of Ji et al. 2023, hence the name.)
Reference code: https://github.com/caop-kie/GenRec

Errors of that code that are fixed here: items have a separate embedding table (the code reads the users'); padding has
no label (the code's label for it, 1, counts in the loss); no item is parsed back out of text; the epoch is selected on
validation, and test is read once.

Deviations from the paper and its code:

* Pretraining masks ``mask_ratio`` of a sequence's items and predicts them all from one reading of the encoder, each in
  a branch of the decoder that sees no other; the code masks one. For the decoder to know which mask it answers, its
  start token carries the encoder's state of the mask (``mask_pointer``). ``mask_ratio: 0`` with ``mask_pointer: false``
  is the paper's.
* Items are masked, never the user.
* Items are numbered in digits from training interactions only (``item_indexing``); the code numbers all interactions.
* Vectors of users, items and attributes start at zero: what training never sees stays without effect.
* Fine-tuning draws ``targets_per_user`` next items of a user in each epoch.
* ``normalization: trie`` and ``decoding: exact`` rank the items that exist; ``vocab`` and ``beam`` are the paper's.
"""

from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import dropout

from recbole_genrec.backbone.loading import read_seq2seq
from recbole_genrec.batches.sequence_loader import Masking
from recbole_genrec.batches.sequences import text_form
from recbole_genrec.batches.tokens import PromptParts
from recbole_genrec.catalogue.item_text import categories, item_columns
from recbole_genrec.config.arguments import Seq2SeqArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.model.sequence_recommender import SequenceRecommender


class GenRecSeq2Seq(SequenceRecommender):
    """GenRecSeq2Seq; see the module's header and :class:`SequenceRecommender`.

    Attributes:
        stage: ``pretrain`` or ``finetune``, what :meth:`pack_interaction` makes of RecBole's rows; the trainer sets it.
        users: one vector a user, added to the tokens that name it, or ``None``.
        items: one vector an item, added to each of its tokens, or ``None``.
        attributes: by column, a bag of vectors for an item's values.
    """

    plain_with = SequenceRecommender.plain_with | {
        "mask_pointer": False,
        "user_embedding": False,
        "item_id_embedding": False,
        "attribute_fields": (),
    }

    def __init__(self, config, dataset):
        self.settings = Seq2SeqArguments.from_config(config)
        self.n_users = dataset.user_num
        super().__init__(config, dataset)
        self.stage = "pretrain" if self.settings.train_stage == "pretrain" else "finetune"
        self.masking = Masking(self.settings.mask_ratio, self.settings.mask_span, self.settings.mask_last)
        if not self.settings.position_embedding:
            for side in (self.backbone.causal_model.get_encoder(), self.backbone.causal_model.get_decoder()):
                torch.nn.init.zeros_(side.embed_positions.weight).requires_grad_(False)
        self.users = self._table(self.n_users) if self.settings.user_embedding else None
        self.items = self._table(self.n_items) if self.settings.item_id_embedding else None
        self.attributes = torch.nn.ModuleDict()
        self._add_attributes(dataset)

    def _table(self, size):
        table = torch.nn.Embedding(size, self.backbone.hidden_size)
        torch.nn.init.zeros_(table.weight)
        return table

    def _add_attributes(self, dataset):
        """A bag of vectors for each column, and which values an item has ``[n_items, V]``, padded with 0."""
        if not self.settings.attribute_fields:
            return
        columns = self.catalogue.columns
        if columns is None:  # a checkpoint that was written before columns were kept
            columns = item_columns(dataset.item_texts())
        for field, of_item in categories(columns, self.settings.attribute_fields, dataset.iid_field).items():
            rows = [of_item.get(token, []) for token in self.catalogue.item_tokens]
            number = {value: place for place, value in enumerate(sorted({v for row in rows for v in row}), start=1)}
            table = np.zeros((self.n_items, max(1, *map(len, rows))), np.int64)
            for item, row in enumerate(rows, start=1):
                table[item, : len(row)] = [number[value] for value in row]
            bag = torch.nn.EmbeddingBag(len(number) + 1, self.backbone.hidden_size, mode="mean", padding_idx=0)
            torch.nn.init.zeros_(bag.weight)
            bag.register_buffer("values", torch.from_numpy(table), persistent=False)
            self.attributes[field] = bag

    # ---- what the base class asks for ----

    def _fixed_texts(self):
        return [*(f" {digit}" for digit in range(10)), *(f" user {number}" for number in range(100))]

    def _read_backbone(self, corpus, checkpoint=None):
        backbone = read_seq2seq(self.arguments["backbone"], corpus, "bart", checkpoint)
        if backbone.max_positions is None or backbone.mask_id is None:
            raise GenRecError(
                f"GenRecSeq2Seq needs a backbone of BART's family, with learned positions and a mask token; "
                f"{self.arguments['backbone'].backbone!r} is a {backbone.config.model_type!r} without them."
            )
        return backbone

    def _form(self):
        return text_form(self.backbone, self.n_users)

    def prompt_settings(self):
        """The form of a sequence, for people to read: no setting changes it."""
        return {"sequence": "<s> user {number} {item} ... <mask> </s>"}

    @classmethod
    def prompt_parts(cls, prompts, backbone):
        """The sequence of user 0, who is nobody, with a mask at its end; see the base class."""
        start = [] if backbone.bos_id is None else [backbone.bos_id]
        return PromptParts(start, [], [], [backbone.tokenizer.mask_token_id, backbone.eos_id], backbone.eos_id)

    # ---- training ----

    def encode_prompts(self, prompts):
        """Input embeddings ``[B, P, H]`` and lengths ``[B]`` of prompts, users, items and attributes added.

        The prompts are :class:`~recbole_genrec.batches.sequences.SequencePrompts`.
        """
        embeds = self.backbone.embed(prompts.input_ids)
        flat = embeds.flatten(0, 1)
        if self.users is not None:
            flat = flat.index_add(0, prompts.user_cell, self.users(prompts.user).to(flat.dtype))
        if self.items is not None or self.attributes:
            vectors = self.item_vectors(prompts.item)
            kept = dropout(torch.ones_like(vectors[:, :1]), self.engine.item_embedding_dropout, self.training)
            flat = flat.index_add(0, prompts.item_cell, (vectors * kept)[prompts.item_owner].to(flat.dtype))
        return flat.view_as(embeds), prompts.lengths

    def item_vectors(self, item):
        """What is added to each token of some items ``[N]``: the item's vector and its attributes', ``[N, H]``."""
        parts = [] if self.items is None else [self.items(item)]
        parts += [bag(bag.values[item]) for bag in self.attributes.values()]
        return torch.stack(parts).sum(0)

    def _answer_embeds(self, batch, encoded):
        embeds = super()._answer_embeds(batch, encoded)
        if not self.settings.mask_pointer:
            return embeds
        width = batch.prompts.input_ids.shape[1]  # states of virtual tokens may stand behind
        pointed = encoded.states[:, :width].flatten(0, 1)[batch.prompts.mask_cell]
        return embeds.flatten(0, 1).index_add(0, batch.start_cell, pointed.to(embeds.dtype)).view_as(embeds)

    def _training_sequences(self, interaction):
        """In the stage ``pretrain``, masks are drawn over the history and the target."""
        sequences = super()._training_sequences(interaction)
        if self.stage == "finetune":
            return sequences
        generator = np.random.default_rng(int(torch.randint(2**31, ())))
        return replace(sequences, masked=self.masking.draw(sequences.count, generator))

    # ---- ranking ----

    def _pointer(self, prompts):
        return prompts.mask_cell % prompts.input_ids.shape[1] if self.settings.mask_pointer else None
