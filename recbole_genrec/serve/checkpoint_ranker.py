"""The part of a trained model that ranks, read from its checkpoint alone."""

from dataclasses import replace

import numpy as np
import torch

from recbole_genrec.backbone.loading import adapt, check_tokenizer, read_backbone, read_saved
from recbole_genrec.backbone.new_tokens import add_tokens
from recbole_genrec.batches.layout import ItemCells
from recbole_genrec.batches.tokens import append_items
from recbole_genrec.checkpoint.checkpoint import check_trust
from recbole_genrec.checkpoint.folder import (
    damage_of,
    misfit,
    read_catalogue,
    read_extra,
    read_prompt,
    read_settings,
    read_state_dict,
    verify,
)
from recbole_genrec.decoding.finite import first_not_finite
from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.model.prompt_ranker import PromptRanker, read_arguments
from recbole_genrec.prompt.template import template_of

#: models whose checkpoints a ranker reads: a prompt of texts, continued by a causal language model.
MODELS = ("GenRec",)


class CheckpointRanker(PromptRanker, torch.nn.Module):
    """A trained GenRec that ranks: its prompts, language model, catalogue and item vectors.

    Args:
        folder: a checkpoint.
        trust_remote_code: run Python code that comes with its backbone, where it was trained so.

    Attributes:
        settings: the configuration of the training; a missing key is ``None``.

    Raises:
        GenRecError: the checkpoint is damaged, of a model that this class does not read, or comes with code that is not
            trusted.
    """

    def __init__(self, folder, trust_remote_code=False):
        super().__init__()
        folder = verify(folder)
        with damage_of(folder):
            self._read(folder, trust_remote_code)

    def _read(self, folder, trust_remote_code):
        self.settings = read_settings(folder)
        check_trust(folder, self.settings, trust_remote_code)
        if self.settings["model"] not in MODELS:
            raise GenRecError(
                f"The checkpoint {str(folder)!r} is of {self.settings['model']}; recommending is for checkpoints of "
                f"{', '.join(MODELS)}."
            )
        for key in ("eval_batch_size", "MAX_ITEM_LIST_LENGTH"):
            if self.settings[key] < 1:
                raise GenRecError(f"config.json: {key!r} is {self.settings[key]}.")
        self.max_seq_length = self.settings["MAX_ITEM_LIST_LENGTH"]
        self.arguments = read_arguments(self.settings, reads_context=True)
        self.engine = self.arguments["engine"]
        self.template = template_of(read_prompt(folder), "prompt.yaml")
        self.catalogue = read_catalogue(folder)
        whole = (folder / "backbone").is_dir()
        self.backbone = self._read_whole(folder) if whole else self._read_adapted(folder)
        self._check_length()
        self._lay_out()
        self._check_tokens()
        self._add_embeddings()
        self._add_context()
        self._load(folder, whole)
        self.requires_grad_(False).eval()

    def _check_tokens(self):
        """Refuse tokens that the language model has no vectors for."""
        tokens = self.packer.tokens
        used = np.concatenate(
            [tokens.item_token, *tokens.prefixes, tokens.response, [tokens.end, self.backbone.pad_id]]
        )
        if not 0 <= used.min() <= used.max() < self.backbone.vocab_size:
            raise GenRecError(
                f"its prompts have tokens from {used.min()} to {used.max()}, its language model only those below "
                f"{self.backbone.vocab_size}."
            )

    def _load(self, folder, whole):
        """Load the tensors that the loaded language model lacks; an adapter comes without its frozen weights."""
        state = read_extra(folder) if whole else read_state_dict(folder)
        own = {name: tensor for name, tensor in self.state_dict().items() if name in state}
        vectors = [f"{name}_embedding.weight" for name in ("item", "edge") if getattr(self, f"{name}_embedding")]
        context = [name for name in self.state_dict() if name.startswith(("time_bias.", "value_vectors."))]
        own.update({name: self.state_dict()[name] for name in (*vectors, *context)})
        if problem := misfit(state, own):
            raise GenRecError(f"its tensors belong to another model: {problem}.")
        if whole and (name := first_not_finite(self.backbone.named_parameters())):
            raise GenRecError(f"its weight {name!r} holds numbers that are not finite.")
        self.load_state_dict(state, strict=False)

    def _read_whole(self, folder):
        return read_saved(folder / "backbone", folder / "tokenizer", self.arguments["backbone"])

    def _read_adapted(self, folder):
        # the attention kernel of the training may need another machine
        arguments = replace(self.arguments["backbone"], attn_implementation="sdpa", gradient_checkpointing=False)
        backbone = read_backbone(arguments, [])
        names = [code.name for code in self.catalogue.index.codes]
        new_tokens = add_tokens(backbone, names, self.settings["seed"])
        check_tokenizer(folder, backbone.tokenizer, arguments)
        return adapt(backbone, arguments, new_tokens, folder)

    def take_catalogue(self, catalogue):
        """Rank the items of a larger catalogue, whose first items are the present ones.

        Raises:
            GenRecError: an identifier cannot stand in a prompt; nothing has been changed then.
        """
        before, items, edges = (self.catalogue, self.trie, self.packer), self.item_embedding, self.edge_embedding
        self.catalogue = catalogue
        try:
            self._lay_out()
        except GenRecError:
            self.catalogue, self.trie, self.packer = before
            raise
        self._add_embeddings()
        if items is not None:
            self.item_embedding.weight.data[: len(items.weight)] = items.weight
        if edges is not None:
            own, former = self.trie.common_edges(before[1].to("cpu"))
            self.edge_embedding.weight.data[own] = edges.weight.cpu()[former]
        self.requires_grad_(False).to(self.compute_device)

    @property
    def reads_text(self):
        """Whether the model reads items as their texts, so that it can read any text."""
        return self.arguments["indexing"].item_indexing == "title" and not self.catalogue.index.codes

    def titles(self):
        """Readable names of items 1 to I: with title indexing their identifiers, which are unique."""
        if self.reads_text:
            return self.catalogue.texts
        named = zip(self.catalogue.item_tokens, self.catalogue.item_texts)
        return [text or f"item {token}" for token, text in named]

    def packer_with(self, texts):
        """The packer, and one whose items I + 1, I + 2, ... are free texts.

        Raises:
            GenRecError: a text has no tokens, or holds one that ends a title or has no vector.
        """
        identifiers = list(map(tuple, self._encode_pieces(self.backbone, texts, False)))
        for text, identifier in zip(texts, identifiers):
            if not identifier or self.packer.tokens.end in identifier or max(identifier) >= self.backbone.vocab_size:
                raise GenRecError(
                    f"The text {shown(text)} cannot stand in a prompt: it has no tokens, one that ends a title, or one "
                    "that the language model has no vector for."
                )
        if not identifiers:
            return self.packer
        more = self._prompt_tokens(identifiers)
        return self.packer.with_history_items(append_items(self.packer.tokens, more))

    def embed(self, input_ids, items):
        """As the base class; free text has no vector."""
        known = items.item <= self.trie.n_items
        values = {column: values[known] for column, values in items.values.items()}
        return super().embed(input_ids, ItemCells(items.cell[known], items.item[known], values))

    def tree(self, packer, items, first, stop, context=None):
        """Feed the prompts of histories ``items[first:stop]``.

        Returns :class:`~recbole_genrec.decoding.tree.PromptTree`.
        """
        return self.feed(packer.prompts(items, first, stop, context))
