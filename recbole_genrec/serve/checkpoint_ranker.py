"""The part of a trained model that ranks, read from its checkpoint alone."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch

from recbole_genrec.backbone.loading import adapt, check_tokenizer, read_backbone, read_saved
from recbole_genrec.backbone.new_tokens import add_tokens
from recbole_genrec.batches.tokens import append_items
from recbole_genrec.batches.user_tokens import user_tokens
from recbole_genrec.catalogue.item_text import ItemColumn
from recbole_genrec.catalogue.user_index import METADATA, UserIndex, code_name
from recbole_genrec.catalogue.vector_text import VectorText, vector_texts
from recbole_genrec.checkpoint.checkpoint import check_trust
from recbole_genrec.checkpoint.context_files import read_clock, read_user_index, read_value_columns
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
from recbole_genrec.config.arguments import TextVectorArguments, UserArguments
from recbole_genrec.config.arguments.shared import SCRATCH
from recbole_genrec.decoding.finite import first_not_finite
from recbole_genrec.errors import GenRecError, listed, shown
from recbole_genrec.model.item_values import ItemValues
from recbole_genrec.model.prompt_ranker import PromptRanker, read_arguments
from recbole_genrec.prompt.template import template_of
from recbole_genrec.prompt.user_words import UserWords, check_users
from recbole_genrec.vectors.hidden_states import embed_texts
from recbole_genrec.vectors.item_vectors import ItemVectors
from recbole_genrec.vectors.text_vectors import BACKBONE, Maker

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

    #: whether the free texts of the histories that are being fed have vectors.
    _knows_texts = False

    def __init__(self, folder, trust_remote_code=False):
        super().__init__()
        self._opened = {}  # what makes vectors of new texts, once it is loaded
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
        self.catalogue, self.clock = read_catalogue(folder), read_clock(folder)
        self._read_users(folder)
        self.user_columns = read_value_columns(folder, "user_columns.json")
        if missing := set(self.arguments["context"].user_columns) ^ self.user_columns.keys():
            raise GenRecError(f"user_columns.json and 'user_columns' of config.json differ in {listed(missing)}.")
        columns = read_value_columns(folder, "item_values.json")
        if missing := set(self.arguments["context"].item_columns) ^ columns.keys():
            raise GenRecError(f"item_values.json and 'item_columns' of config.json differ in {listed(missing)}.")
        self._read_text_vectors(folder)
        whole = (folder / "backbone").is_dir()
        self.backbone = self._read_whole(folder) if whole else self._read_adapted(folder)
        self._check_length()
        self._lay_out()
        self._check_tokens()
        self._add_embeddings()
        self._add_context()
        if columns:
            self.item_values = ItemValues(columns, self.backbone.hidden_size)
            self.item_values.describe(self.catalogue.item_tokens, self.catalogue.columns or {})
        self._load(folder, whole)
        self.requires_grad_(False).eval()

    def _read_users(self, folder):
        """Read what users are called."""
        settings = UserArguments.from_config(self.settings)
        check_users(settings.user_indexing, self.template.names_user, "prompt.yaml")
        self.user_index = read_user_index(folder) or UserIndex()
        self._words = None
        if settings.user_indexing == METADATA:
            self._words = UserWords(settings.user_text, self.user_index.columns, "users.json")
        self._user_number = {user: number for number, user in enumerate(self.user_index.pieces, 1)}

    def _numbered_users(self):
        return list(self.user_index.pieces)

    def users_of(self, users, packer):
        """Who some users are to the model.

        Args:
            users: pairs of a raw user id or ``None``, and values by column of the ``.user`` file.
            packer: what lays their histories out.

        Returns:
            Their numbers, 0 for one who is not known, and a packer that knows these; ``None`` and the same packer where
            prompts name no user.

        Raises:
            GenRecError: the words for a user are too long, or have a token that the language model has no vector for.
        """
        if not self._names_user:
            return None, packer
        if self._words is None:
            return np.array([self._user_number.get(user, 0) for user, _ in users], np.int64), packer
        words = [self._words(values) for _, values in users]
        number = {text: place for place, text in enumerate(dict.fromkeys(filter(None, words)), 1)}
        table = user_tokens([(), *((text,) for text in number)], self.backbone, self.template.user_lead)
        if len(table.token) and table.token.max() >= self.backbone.vocab_size:
            raise GenRecError("The words for a user have a token that the language model has no vector for.")
        return np.array([number.get(text, 0) for text in words], np.int64), packer.with_users(table)

    def _check_tokens(self):
        """Refuse tokens that the language model has no vectors for."""
        tokens = self.packer.tokens
        used = np.concatenate(
            [tokens.item_token, *tokens.prefixes, tokens.response, [tokens.end, self.backbone.pad_id]]
            + [*tokens.after_user, () if tokens.users is None else tokens.users.token]
        ).astype(np.int64)
        if not 0 <= used.min() <= used.max() < self.backbone.vocab_size:
            raise GenRecError(
                f"its prompts have tokens from {used.min()} to {used.max()}, its language model only those below "
                f"{self.backbone.vocab_size}."
            )

    def _load(self, folder, whole):
        """Load the tensors that the loaded language model lacks; an adapter comes without its frozen weights."""
        state = read_extra(folder) if whole else read_state_dict(folder)
        state.pop("mask_vector", None)  # of pretraining alone
        own = {name: tensor for name, tensor in self.state_dict().items() if name in state}
        vectors = ("item_embedding.", "edge_embedding.", "time_bias.", "value_vectors.", "item_values.")
        own.update({name: tensor for name, tensor in self.state_dict().items() if name.startswith(vectors)})
        if problem := misfit(state, own):
            raise GenRecError(f"its tensors belong to another model: {problem}.")
        if whole and (name := first_not_finite(self.backbone.named_parameters())):
            raise GenRecError(f"its weight {name!r} holds numbers that are not finite.")
        self.load_state_dict(state, strict=False)

    def _read_whole(self, folder):
        return read_saved(folder / "backbone", folder / "tokenizer", self.arguments["backbone"])

    def _read_adapted(self, folder):
        arguments = self._backbone_as_published()
        backbone = read_backbone(arguments, [])
        names = [code.name for code in self.catalogue.index.codes] + [code_name(c) for c in self.user_index.codes]
        new_tokens = add_tokens(backbone, names, self.settings["seed"])
        check_tokenizer(folder, backbone.tokenizer, arguments)
        return adapt(backbone, arguments, new_tokens, folder)

    def _backbone_as_published(self):
        """Settings that load the backbone before training; the attention kernel of that may need another machine."""
        return replace(self.arguments["backbone"], attn_implementation="sdpa", gradient_checkpointing=False)

    def take_catalogue(self, catalogue):
        """Rank the items of a larger catalogue, whose first items are the present ones.

        A new item has no learned vector; it has that of its text, where the model has such.

        Raises:
            GenRecError: an identifier cannot stand in a prompt, or a text cannot get a vector; nothing has been changed
                then.
        """
        before, items, edges = (self.catalogue, self.trie, self.packer), self.item_embedding, self.edge_embedding
        vectors = self._vectors_of(catalogue, len(before[0].item_tokens))
        self.catalogue = catalogue
        try:
            self._lay_out()
        except GenRecError:
            self.catalogue, self.trie, self.packer = before
            raise
        self.text_vectors = vectors
        if self.item_values is not None:
            self.item_values.describe(catalogue.item_tokens, catalogue.columns or {})
        self._add_embeddings()
        if items is not None:
            learned = [v.learned if isinstance(v, ItemVectors) else v.weight for v in (self.item_embedding, items)]
            learned[0].data[: len(learned[1])] = learned[1]
        if self.text_vectors is not None:
            self.item_embedding.projection.data.copy_(items.projection)
        if edges is not None:
            own, former = self.trie.common_edges(before[1].to("cpu"))
            self.edge_embedding.weight.data[own] = edges.weight.cpu()[former]
        self.requires_grad_(False).to(self.compute_device)

    def _vectors_of(self, catalogue, n_old):
        """The text vectors of a larger catalogue; ``None`` for a model without."""
        if self.text_vectors is None:
            return None
        new, item_field = catalogue.item_tokens[n_old:], self.settings["ITEM_ID_FIELD"]
        columns = {**(catalogue.columns or {}), item_field: ItemColumn("token", {token: [token] for token in new})}
        return self.text_vectors.extended(self._encode_texts(new, catalogue.item_texts[n_old:], columns))

    def _encode_texts(self, tokens, texts, columns):
        """Text vectors of items that training has not had ``[N, D]``.

        Args:
            tokens: of the items, N. texts: their texts.
            columns: :class:`~recbole_genrec.catalogue.item_text.ItemColumn` by name.
        """
        arguments, settings = self.arguments["backbone"], TextVectorArguments.from_config(self.settings)
        path = f"the .item file of {self.settings['dataset']}"
        make = VectorText(settings.text_vectors_text, self.arguments["prompt"].item_text, columns, path)
        maker = Maker(
            revision=self.text_vectors.made.revision,
            device=self.compute_device,
            embed_texts=None if arguments.backbone == SCRATCH else self._embed_by_untrained,
            backbone=(arguments.backbone, arguments.revision),
            caches=False,  # what users type is nobody's to keep
            opened=self._opened,
        )
        return self.text_vectors.made.encode(vector_texts(make, tokens, texts, columns), maker)

    def _embed_by_untrained(self, texts):
        """Vectors by the backbone as it was before training."""
        if BACKBONE not in self._opened:
            self._opened[BACKBONE] = read_backbone(self._backbone_as_published(), [])
        return embed_texts(self._opened[BACKBONE], texts, self.compute_device)

    def vectors_of_texts(self, texts):
        """Text vectors of free texts ``[F, D]``; ``None`` for a model without, or no texts."""
        if self.text_vectors is None or not texts:
            return None
        tokens = list(range(len(texts)))
        columns = {name: ItemColumn(column.kind, {}) for name, column in (self.catalogue.columns or {}).items()}
        return torch.from_numpy(self._encode_texts(tokens, texts, columns)).to(self.compute_device)

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

    def _history_vectors(self, item):
        """As the base class; free text has no learned vector."""
        if self._knows_texts:
            return super()._history_vectors(item)
        unknown = item > self.trie.n_items
        return super()._history_vectors(item.masked_fill(unknown, 0)).masked_fill(unknown[:, None], 0)

    def tree(self, packer, items, first, stop, vectors=None, context=None):
        """Feed the prompts of histories ``items[first:stop]``.

        Args:
            packer: from :meth:`packer_with`.
            items, first, stop: numbers of items, flat, and where each history begins and ends.
            vectors: of the packer's free texts, from :meth:`vectors_of_texts`.
            context: :class:`~recbole_genrec.batches.layout.HistoryContext` of ``items``; by default nothing is known.

        Returns:
            :class:`~recbole_genrec.decoding.tree.PromptTree`.
        """
        self._knows_texts = vectors is not None
        with self.item_embedding.with_texts(vectors) if self._knows_texts else nullcontext():
            return self.feed(packer.prompts(items, first, stop, context))
