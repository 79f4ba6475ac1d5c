"""What every generative recommender shares: the catalogue, prompts from RecBole's batches, and ranking."""

from dataclasses import replace
from functools import partial
from logging import getLogger
from pathlib import Path

import numpy as np
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType

from recbole_genrec.backbone.adapter import adapter_names
from recbole_genrec.backbone.loading import SCRATCH, adapt, check_tokenizer, read_backbone
from recbole_genrec.backbone.new_tokens import add_tokens
from recbole_genrec.backbone.self_check import self_check
from recbole_genrec.batches.epoch_loader import epoch_settings
from recbole_genrec.batches.layout import HistoryContext
from recbole_genrec.batches.packed_loader import PackedLoader
from recbole_genrec.batches.tokens import template_parts
from recbole_genrec.batches.value_texts import ValueTexts
from recbole_genrec.catalogue.catalogue import Catalogue
from recbole_genrec.catalogue.index import build_index, read_draft
from recbole_genrec.catalogue.item_text import item_columns, item_text
from recbole_genrec.catalogue.schemes import Given, Sequences, draft_identifiers, needs_interactions
from recbole_genrec.checkpoint.context_files import read_value_columns
from recbole_genrec.checkpoint.folder import (
    BACKBONE_PREFIX,
    BUILT_FOR,
    damage_of,
    is_checkpoint,
    read_parts,
    read_prompt,
    read_settings,
    verify,
)
from recbole_genrec.config.arguments import (
    BackboneArguments,
    ContextArguments,
    EngineArguments,
    IndexingArguments,
    PromptArguments,
    UserArguments,
)
from recbole_genrec.config.arguments.schema import all_settings
from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.context_columns import EXACT_TIME
from recbole_genrec.interactions.dataset import seen_items, train_columns, train_sequences
from recbole_genrec.interactions.text_columns import TextColumns
from recbole_genrec.model.catalogue_ranking import CatalogueRanking
from recbole_genrec.model.item_values import ItemValues
from recbole_genrec.model.losses import CatalogueLosses
from recbole_genrec.model.prompt_ranker import PromptRanker, check_value_fields, read_arguments
from recbole_genrec.model.prompt_users import PromptUsers
from recbole_genrec.model.user_values import UserValues
from recbole_genrec.prompt.template import PromptTemplate, load_template, template_of
from recbole_genrec.prompt.user_words import check_users
from recbole_genrec.vectors.hidden_states import embed_texts

#: texts around items that a tokenizer from scratch learns from, at most.
MOST_VALUE_TEXTS = 1000


class GenerativeRecommender(CatalogueLosses, CatalogueRanking, PromptUsers, PromptRanker, SequentialRecommender):
    """A RecBole sequential recommender that generates item identifiers with a language model.

    A subclass trains (``calculate_loss``); this class turns RecBole's batches into prompts and ranks the catalogue.

    Attributes:
        arguments: the typed settings by name: ``prompt``, ``indexing``, ``backbone``, ``engine``.
        template: :class:`~recbole_genrec.prompt.template.PromptTemplate`.
        backbone: :class:`~recbole_genrec.backbone.backbone.Backbone`.
        catalogue: :class:`~recbole_genrec.catalogue.catalogue.Catalogue`.
        trie: all identifiers, on the model's device.
        packer: lays histories out as tokens.
        item_embedding: one vector an item, in a history (key ``history``) and in the prior of the softmax over the
            trie (``item_prior``), or ``None``.
        edge_embedding: one vector an edge of the trie, in the softmax over its edges, or ``None``.
        statistics: counts of what ranking has done since :meth:`reset_statistics`.
    """

    input_type = InputType.POINTWISE
    #: whether there is anything to train.
    is_trained = True
    #: whether the language model gives the scores that rank items.
    ranks_with_backbone = True
    #: whether the keys ``history`` and ``context`` are read.
    reads_context = False
    #: settings with which the language model gives the same scores alone, without a tensor beside it.
    plain_with = {"history": "text", "edge_embedding": False, "item_prior": False, "context": [], "user_columns": []}
    plain_with |= {"item_columns": [], "user_indexing": "none"}

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.arguments = read_arguments(config, self.reads_context) | self._own_arguments(config)
        self.engine = self.arguments["engine"]
        self.k = max(config["topk"])
        if self.k >= self.n_items:
            raise GenRecError(f"'topk' asks for {self.k} items, but the catalogue has {self.n_items - 1}.")
        if self.engine.decoding == "beam" and self.engine.num_beams < self.k:
            raise GenRecError(f"'num_beams' ({self.engine.num_beams}) must be at least max(topk), which is {self.k}.")
        item_tokens = dataset.field2id_token[dataset.iid_field][1:].tolist()
        self.user_settings = self._read_user_settings(config)
        self._index_users(config, dataset)
        if config[BUILT_FOR]:
            self._read_checkpoint(Path(config[BUILT_FOR]), item_tokens, config["seed"])
        else:
            self._build(config, dataset, item_tokens)
        self.clock = dataset.clock if self._reads_times else None
        self._lay_out()
        self._add_embeddings()
        context = self.arguments["context"]
        self.users = UserValues(dataset, context.user_columns if self.reads_context else (), self.user_columns)
        self.user_columns = self.users.columns
        self._add_context()
        self.list_suffix = config["LIST_SUFFIX"]
        if self.value_vectors and not config[BUILT_FOR]:
            for column, values in train_columns(dataset, context.columns).items():
                self.value_vectors[column].fit(values)
            self.users.fit(self.value_vectors, dataset)
        if self._has_slots and not config[BUILT_FOR]:
            self._draw_item_vectors(torch.from_numpy(seen_items(dataset)))
        if self.reads_context and context.item_columns:  # after the draws, which it leaves as they are
            self.item_values = self._make_item_values(dataset, config[BUILT_FOR])
        # what training must not know: items held out of it are no alternatives in its loss
        self.register_buffer("unknown_edges", self._edges_of_none_but(dataset.cold_items), persistent=False)
        self.register_buffer("known_items", self._items_but(dataset.cold_items), persistent=False)
        self.register_load_state_dict_post_hook(_forgive_frozen)
        self.reset_statistics()
        index, origin = self.catalogue.index, config[BUILT_FOR]
        made = (
            f"{index.without_text} without text (identifier made from the id), {index.collisions} collisions resolved"
        )
        made = f"identifiers of {origin}" if origin else made
        getLogger().info(
            f"{len(item_tokens)} items, {made}; {len(self.trie.token) / len(item_tokens):.1f} tokens and "
            f"{len(self.trie.path_edge) / len(item_tokens):.1f} decisions an item, {self.trie.n_nodes} branching nodes"
        )

    @classmethod
    def _own_arguments(cls, config):
        """Typed settings by name that a subclass has instead of the configuration's."""
        return {}

    @classmethod
    def not_plain(cls, settings) -> dict:
        """The settings with which the language model alone gives other scores, with the values that would not."""
        known = all_settings()
        given = {key: known[key][0].default if settings[key] is None else settings[key] for key in cls.plain_with}
        return {
            key: wanted for key, wanted in cls.plain_with.items() if given[key] != wanted and (given[key] or wanted)
        }

    @classmethod
    def _read_user_settings(cls, config):
        """The settings of users' names; those that name nobody for a model whose prompts have no place for them."""
        return UserArguments.from_config(config) if cls.names_users else UserArguments()

    @classmethod
    def check_settings(cls, config):
        """Refuse, before anything is built or trained, settings that name what there is not.

        Raises:
            GenRecError: there is no such indexing scheme or prompt template.
        """
        needs_interactions(IndexingArguments.from_config(config).item_indexing)
        cls._check_prompts(config)

    @classmethod
    def _check_prompts(cls, config):
        template = load_template(PromptArguments.from_config(config).prompt)
        history = EngineArguments.from_config(config).history if cls.reads_context else None
        check_value_fields(template, cls.reads_context, history)
        if cls.names_users:
            check_users(cls._read_user_settings(config).user_indexing, template.names_user, f"Prompt {template.name!r}")

    def _build(self, config, dataset, item_tokens):
        """Make prompts, identifiers and the language model of what the settings name."""
        self._load_prompts()
        items = dataset.item_texts()
        texts = self._item_texts(items, item_tokens)
        pretrained = self.arguments["backbone"].backbone != SCRATCH
        backbone = self._checked(self._read_backbone([])) if pretrained else None
        self.text_vectors = self._make_text_vectors(config, dataset, backbone)
        # clusters may come out differently on different machines: all processes take those of the first
        draft = current().from_first(lambda: self._draft(config, dataset, item_tokens, texts, backbone))
        source = None
        if not pretrained:
            source = self._source_of_tokens(config["model"])
            corpus = [*draft.texts, *self._fixed_texts(), *self._value_texts(dataset)]
            backbone = self._checked(self._read_backbone(corpus, source))
        index = build_index(draft, item_tokens, partial(self._encode_pieces, backbone))
        new_tokens = self._tokens_of(index.codes, backbone, config["seed"], known=source is not None)
        self.backbone = adapt(backbone, self.arguments["backbone"], new_tokens)
        identifiers = index.identifiers(dict(zip(index.codes, new_tokens)))
        columns = item_columns(items)
        del columns[dataset.iid_field]
        self.catalogue = Catalogue(item_tokens, texts, identifiers, index, columns)

    def _read_checkpoint(self, folder, item_tokens, seed):
        """Read prompts, identifiers and the tokenizer of a checkpoint, and the language model but for its weights.

        Raises:
            GenRecError: the checkpoint is of other items than the dataset's, or a pretrained model's tokenizer has
                changed since.
        """
        parts = read_parts(folder, item_tokens)
        folder, self.catalogue = parts.folder, parts.catalogue
        self._read_text_vectors(folder)
        self.user_columns = read_value_columns(folder, "user_columns.json")
        with damage_of(folder):
            self._load_prompts(parts.prompts)
        backbone = self._checked(self._read_backbone([], folder))
        new_tokens = self._tokens_of(self.catalogue.index.codes, backbone, seed, known=parts.is_whole)
        check_tokenizer(folder, backbone.tokenizer, self.arguments["backbone"])
        self.backbone = adapt(backbone, self.arguments["backbone"], new_tokens, folder)

    def _make_text_vectors(self, config, dataset, backbone):
        """Vectors of the items' texts, for a model that reads ``text_vectors``; ``backbone``: if it is pretrained."""
        return None

    def _source_of_tokens(self, model):
        """The checkpoint of ``item_index``, where a scratch model takes its tokenizer, too; ``None``: train one.

        It must be of the same model and size of vocabulary. Titles with suffixes would train another one.
        """
        folder = self.arguments["indexing"].item_index
        if not folder or not is_checkpoint(Path(folder).expanduser()):
            return None
        folder = verify(Path(folder).expanduser())
        settings = read_settings(folder)
        with damage_of(folder):
            stored, own = BackboneArguments.from_config(settings), self.arguments["backbone"]
        alike = (stored.backbone, stored.scratch_vocab_size) == (SCRATCH, own.scratch_vocab_size)
        return folder if alike and settings["model"] == model else None

    def _tokens_of(self, codes, backbone, seed, known):
        """Token ids of codes, then of the tokens beside them, added to a backbone whose tokenizer lacks them."""
        beside = self._tokens_beside_codes()
        names = [*(code.name for code in codes), *beside]
        if not known:
            return add_tokens(backbone, names, seed)
        vocabulary = backbone.tokenizer.get_vocab() if beside else {}
        add_tokens(backbone, [name for name in beside if name not in vocabulary], seed)  # of 'item_index' without users
        return backbone.tokenizer.convert_tokens_to_ids(names)

    def _load_prompts(self, stored=None):
        """Load what stands around items: ``stored``, what :meth:`prompt_settings` gave, or what the settings name."""
        named = self.arguments["prompt"].prompt
        self.template = load_template(named) if stored is None else template_of(stored, "prompt.yaml")

    def _fixed_texts(self):
        """Texts around items, which a tokenizer from scratch learns from."""
        texts = [self.template.render([], instruction=number) for number in range(len(self.template.instructions))]
        return texts + [self.template.user_lead + text for text in self.user_index.texts]

    def _value_texts(self, dataset):
        """The commonest texts of values around items, which a tokenizer from scratch learns from, too."""
        if not (self.reads_context and self.template.value_fields):
            return []
        items = train_sequences(dataset)[1]
        texts = ValueTexts(self.template, None, dataset.clock, None)
        return texts.texts(self._training_context(dataset), len(items), MOST_VALUE_TEXTS)

    def _read_backbone(self, corpus, checkpoint=None):
        """The language model, without an adapter; see :func:`~recbole_genrec.backbone.loading.read_backbone`."""
        return read_backbone(self.arguments["backbone"], corpus, checkpoint)

    def _checked(self, backbone):
        """The backbone, unless prompts are too long for it or it cannot do what the engine asks of it."""
        self.backbone = backbone
        self._check_length()
        name, longest = self.arguments["backbone"].backbone, self.arguments["prompt"].max_prompt_tokens
        if name != SCRATCH and not backbone.is_encoder_decoder:
            packs, virtual = self.is_trained and self.engine.packing, self.arguments["backbone"].virtual_tokens
            self_check(backbone, name, longest, packs, virtual)
        return backbone

    def _draw_item_vectors(self, seen):
        """Draw the vectors of the items that training has, booleans ``[n_items]``: all that a history shows of them."""
        with torch.no_grad():
            vectors = getattr(self.item_embedding, "learned", self.item_embedding.weight)
            vectors[seen] = torch.randn(int(seen.sum()), vectors.shape[1]) * self.backbone.embedding_std

    def _items_but(self, items):
        """Ids of all items but ``items [C]``, sorted; ``None`` where there are none to leave out."""
        if not len(items):
            return None
        every = torch.arange(1, self.n_items)
        return every[~torch.isin(every, torch.as_tensor(items))]

    def training_loader(self, config, train_dataset):
        """The runner's loader of training batches, or ``None`` for RecBole's own."""
        if not self.engine.packing:
            return None
        dropout, shuffle = self.user_settings.user_dropout, config["shuffle"] is not False
        settings = replace(epoch_settings(config, self.engine), shuffle=shuffle, user_dropout=dropout)
        sequences = train_sequences(train_dataset)
        share, context = self.engine.branch_share, self._training_context(train_dataset)
        return PackedLoader(self.packer, train_dataset, sequences, settings, self.engine.min_history, share, context)

    def _make_item_values(self, dataset, folder):
        """The vectors of columns of items; a checkpoint in ``folder`` has categories and values of its own."""
        names, width = self.arguments["context"].item_columns, self.backbone.hidden_size
        if not folder:
            return ItemValues.of_dataset(dataset, names, width)
        values = ItemValues(read_value_columns(folder, "item_values.json"), width)
        values.describe(self.catalogue.item_tokens, self.catalogue.columns)
        return values

    def _training_context(self, train_dataset):
        """The :class:`~recbole_genrec.batches.layout.HistoryContext` of the training, of which values are learnt."""
        times = train_columns(train_dataset, [EXACT_TIME])[EXACT_TIME] if self._reads_times else None
        values = train_columns(train_dataset, self._value_columns) if self._value_columns else {}
        if self.user_columns:
            users, _, offsets = train_sequences(train_dataset)
            values |= self.users.of(np.repeat(users, np.diff(offsets)))
        return HistoryContext(times, values)

    @classmethod
    def context_columns(cls, config):
        """The columns of interactions that the model reads, and the setting that asks for each."""
        if not cls.reads_context:
            return {}
        settings, template = ContextArguments.from_config(config), cls._template_of(config)
        in_text = dict.fromkeys([*([EXACT_TIME] if template.tells_gap else []), *template.value_columns], "prompt")
        return in_text | dict.fromkeys([*([EXACT_TIME] if settings.kinds else []), *settings.columns], "context")

    @classmethod
    def _template_of(cls, config):
        """The template of a configuration: its checkpoint's, or the one that it names."""
        if config[BUILT_FOR]:
            return template_of(read_prompt(Path(config[BUILT_FOR])), "prompt.yaml")
        return load_template(PromptArguments.from_config(config).prompt)

    @classmethod
    def needs_for_all_scores(cls, config):
        """What a configuration has to say so that the model scores all items; an empty list where it does."""
        return [] if EngineArguments.from_config(config).decoding == "full" else ["'decoding: full'"]

    @classmethod
    def prompt_parts(cls, prompts, backbone):
        """The prompt that ranks, in tokens, of what :meth:`prompt_settings` gave.

        Args:
            prompts: read back from a checkpoint's ``prompt.yaml``.
            backbone: its tokenizer is needed, its model is not.

        Returns:
            :class:`~recbole_genrec.batches.tokens.PromptParts`.
        """
        return template_parts(PromptTemplate(**prompts), backbone)

    @classmethod
    def text_columns(cls, config):
        """What a run's dataset keeps for the model: :class:`~recbole_genrec.interactions.text_columns.TextColumns`."""
        return TextColumns(items=not config[BUILT_FOR])  # a checkpoint has its own

    def _item_texts(self, items, item_tokens):
        """Texts of the catalogue's items, ``None`` where an item has none, by the setting ``item_text``."""
        texts = item_text(items, self.arguments["prompt"].item_text).texts
        return [texts.get(token) for token in item_tokens]

    def _draft(self, config, dataset, item_tokens, texts, backbone):
        """Have the indexing scheme write identifiers, or take those that ``item_index`` names.

        Only a pretrained ``backbone``, not ``None``, has vectors of texts worth comparing.
        """
        settings = self.arguments["indexing"]
        if settings.item_index:
            return read_draft(settings.item_index, item_tokens)
        sequences = None
        if needs_interactions(settings.item_indexing):
            users, items, offsets = train_sequences(dataset)
            user_tokens = dataset.field2id_token[dataset.uid_field][users].tolist()
            sequences = Sequences(user_tokens, items - 1, offsets)  # item id i stands at place i - 1
        vectors = backbone and partial(embed_texts, backbone, device=config["device"])
        given = Given(item_tokens, texts, sequences, settings, config["seed"], vectors)
        return draft_identifiers(settings.item_indexing, given)

    def kept_state(self):
        """The tensors by name that a checkpoint holds: all but an adapted backbone's own, which are frozen."""
        state = self.state_dict()
        if not hasattr(self.backbone.model, "peft_config"):
            return state
        trained = {BACKBONE_PREFIX + name for name in adapter_names(self.backbone.model)}
        return {name: t for name, t in state.items() if not name.startswith(BACKBONE_PREFIX) or name in trained}


def _forgive_frozen(model, keys):
    """A checkpoint of an adapter lacks the backbone's frozen weights: the backbone has brought them itself."""
    kept = model.kept_state()
    keys.missing_keys[:] = [key for key in keys.missing_keys if key in kept or not key.startswith(BACKBONE_PREFIX)]
