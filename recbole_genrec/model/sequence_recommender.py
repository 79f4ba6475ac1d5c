"""What recommenders share whose encoder reads a user and a history, and whose decoder writes the next item.

An encoder sees a whole prompt, so every next item needs a forward of its own over the items before it: one forward for
several of them would let the first see the later ones, or take another attention than the paper's.
"""

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from recbole_genrec.batches.epoch_loader import epoch_settings
from recbole_genrec.batches.layout import moved
from recbole_genrec.batches.sequence_loader import SequenceDraws, SequenceLoader
from recbole_genrec.batches.sequences import MaskedSequences, SequenceBatch, SequenceWriter
from recbole_genrec.batches.tokens import MIDDLE
from recbole_genrec.config.arguments import SequenceArguments
from recbole_genrec.decoding.tree import prompt_tree
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.interactions.segments import ragged
from recbole_genrec.model.abstract_recommender import GenerativeRecommender


class SequenceRecommender(GenerativeRecommender):
    """A generative recommender with an encoder-decoder over users' sequences; see the module's header.

    A subclass gives ``_form``, ``_fixed_texts``, ``_read_backbone``, ``prompt_settings`` and ``prompt_parts``.

    Attributes:
        writer: :class:`~recbole_genrec.batches.sequences.SequenceWriter`.
        masking: how a stage of training masks items, or ``None`` where the next item alone is asked for.
    """

    masking = None

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        if self.engine.packing:
            raise GenRecError(f"{type(self).__name__} reads each sequence with an encoder: it takes 'packing: false'.")
        self.targets_per_user = SequenceArguments.from_config(config).targets_per_user
        self.longest = config["MAX_ITEM_LIST_LENGTH"]

    # ---- what the base class asks for ----

    @classmethod
    def _check_prompts(cls, config):
        """It reads no template."""

    def _load_prompts(self, stored=None):
        """Nothing stands around items but what the form says."""

    def _encode_pieces(self, backbone, texts, follows):
        return backbone.encode_many(texts if follows else [f" {text}" for text in texts], MIDDLE)

    def _form(self):
        """The :class:`~recbole_genrec.batches.sequences.SequenceForm` of prompts."""
        raise NotImplementedError

    def _lay_out(self):
        self.trie = build_trie(self.catalogue.identifiers, self.backbone.eos_id)
        longest = self.arguments["prompt"].max_prompt_tokens
        self.writer = SequenceWriter(self.backbone, self.trie, self.engine.normalization, longest, self._form())

    def training_loader(self, config, train_dataset):
        """The loader of training sequences, drawn anew in each epoch."""
        draws = SequenceDraws(self.masking, self.targets_per_user, self.longest)
        settings, sequences = epoch_settings(config, self.engine), train_sequences(train_dataset)
        return SequenceLoader(self.writer, train_dataset, sequences, draws, settings)

    # ---- training ----

    def encode_prompts(self, prompts):
        """Input embeddings ``[B, P, H]`` and lengths ``[B]`` of prompts.

        The prompts are :class:`~recbole_genrec.batches.sequences.SequencePrompts`.
        """
        return self.backbone.embed(prompts.input_ids), prompts.lengths

    def calculate_loss(self, batch):
        """Mean negative log-likelihood of the masked items' decisions (tokens, with ``normalization: vocab``).

        Args:
            batch: :class:`~recbole_genrec.batches.sequences.SequenceBatch`, or RecBole's interaction, a target a row.

        Returns:
            A scalar.
        """
        if not isinstance(batch, SequenceBatch):
            batch = self.pack_interaction(batch)
        hidden = self._answer(batch).flatten(0, 1)[batch.labels.cell]
        if self.engine.normalization == "trie":
            loss = self.decision_loss(hidden, batch.labels.label)
        else:
            loss = cross_entropy(self.backbone.logits(hidden), batch.labels.label, reduction="sum")
        return loss / batch.n_decisions

    def _answer(self, batch):
        """States of the decoder ``[B, Q, H]``."""
        mask = batch.mask()
        encoded = self.backbone.read(*self.encode_prompts(batch.prompts))
        embeds = self._answer_embeds(batch, encoded)
        return self.backbone(embeds, None if mask is None else batch.position_ids, mask, prompts=encoded)

    def _answer_embeds(self, batch, encoded):
        """What the decoder is fed ``[B, Q, H]``; ``encoded`` are the prompts as the encoder has read them."""
        return self.backbone.embed(batch.answer_ids)

    def pack_interaction(self, interaction):
        """Write RecBole's rows, a history and its target each, as a :class:`SequenceBatch`."""
        return self.writer.write(self._training_sequences(interaction)).to(self.compute_device)

    def _training_sequences(self, interaction):
        """RecBole's rows with the target masked."""
        return self._sequences(*self._columns(interaction), interaction[self.POS_ITEM_ID].cpu().numpy())

    def _columns(self, interaction):
        fields = (self.ITEM_SEQ, self.ITEM_SEQ_LEN, self.USER_ID)
        return [interaction[field].cpu().numpy() for field in fields]

    def _sequences(self, history, length, user, target=None):
        """Histories ``[B, L]`` and a masked item at the end of each, ``target [B]`` where it is known."""
        table = np.pad(history, ((0, 0), (0, 1)))
        row = np.arange(len(table))
        if target is not None:
            table[row, length] = target
        items, begin = table.ravel(), row * table.shape[1]
        stop = begin + length + 1
        begin = self.writer.fit(items, begin, stop)
        count = stop - begin
        owner, order = ragged(count)
        return MaskedSequences(user, count, items[begin[owner] + order], order == count[owner] - 1)

    # ---- ranking ----

    def _pointer(self, prompts):
        """The prompt token ``[B]`` whose state the decoder's start token carries, or ``None``."""

    def forward(self, item_seq, item_seq_len, user=None):
        """State of the decoder before its answer.

        Args:
            item_seq: item ids, right-padded with 0, ``[B, L]``.
            item_seq_len: ``[B]``.
            user: user ids ``[B]``; 0, nobody, by default.

        Returns:
            ``[B, H]``, from which the first token of the next item's identifier is predicted.
        """
        user = torch.zeros_like(item_seq_len) if user is None else user
        return self._tree(*(value.cpu().numpy() for value in (item_seq, item_seq_len, user))).root_hidden

    def _tree(self, history, length, user):
        prompts = moved(self.writer.write_prompts(self._sequences(history, length, user)), self.compute_device)
        pointer = self._pointer(prompts)
        return prompt_tree(self.backbone, self.trie, *self.encode_prompts(prompts), pointer=pointer)

    @torch.no_grad()
    def full_sort_predict(self, interaction):
        """Scores of the catalogue ``[B, n_items]``; see the base class."""
        return self.rank(self._tree(*self._columns(interaction)), interaction)

    @torch.no_grad()
    def predict(self, interaction):
        """Log-probability of each row's item after its history ``[B]``; a prompt shared by rows is fed once."""
        keys = np.column_stack(self._columns(interaction))
        prompts, row = np.unique(keys, axis=0, return_inverse=True)
        tree = self._tree(prompts[:, :-2], prompts[:, -2], prompts[:, -1])
        row = torch.from_numpy(row.ravel()).to(self.compute_device)
        return self.score_rows(tree, row, interaction[self.ITEM_ID].to(row.device))
