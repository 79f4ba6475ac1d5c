"""Typed settings: the one place where configuration keys are read and checked.

Every key of ``properties/model/GenRec.yaml`` that RecBole itself does not know is a field of one of these frozen
dataclasses. A model builds them once from RecBole's ``Config``; nothing behind the constructors reads a key again.
"""

import re
from dataclasses import dataclass, field, fields
from math import inf
from typing import ClassVar
from urllib.parse import urlsplit

from recbole_genrec.errors import GenRecError, shown, unknown_name

ATTENTION_KERNELS = ("sdpa", "eager", "flash_attention_2", "flex_attention")


def _one_of(key, value, accepted):
    if value not in accepted:
        raise unknown_name(f"value of {key!r}:", value, accepted)


def _at_least(key, value, lowest):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest <= value < inf:
        raise GenRecError(f"{key!r} must be a number of at least {lowest}, not {shown(value)}.")


def _whole(key, value, lowest):
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise GenRecError(f"{key!r} must be a whole number of at least {lowest}, not {shown(value)}.")


def _share(key, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise GenRecError(f"{key!r} must be a number in [0, 1), not {shown(value)}.")


def _texts(key, value):
    if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
        raise GenRecError(f"{key!r} must be a list of texts, not {shown(value)}.")


def _flag(key, value):
    if not isinstance(value, bool):
        raise GenRecError(f"{key!r} must be true or false, not {shown(value)}.")


#: parameters of a request that would hold a secret; settings are kept with the results.
SECRET_OPTIONS = ("api_key", "apikey", "authorization", "token", "access_token", "password", "secret") + (
    "headers",
    "extra_headers",
)

#: P5's task families.
FAMILIES = ("sequential", "direct", "rating", "explanation", "review")


class Arguments:
    """What the argument classes share: construction from a configuration."""

    #: names of the models that read the class's keys; empty: every generative one.
    models: ClassVar[tuple] = ()

    @classmethod
    def from_config(cls, config):
        """Read this class's fields from ``config``, a mapping whose ``[key]`` gives ``None`` for a missing key.

        A key that is missing or empty takes the field's default.

        Raises:
            GenRecError: a value is not accepted; the message names the key.
        """
        given = {f.name: config[f.name] for f in fields(cls) if config[f.name] is not None}
        return cls(**given)

    @classmethod
    def keys(cls):
        """The configuration keys that this class reads."""
        return tuple(f.name for f in fields(cls))


@dataclass(frozen=True)
class PromptArguments(Arguments):
    """How items and histories become text and tokens."""

    #: template of an item's text over its ``.item`` columns, e.g. ``"{title} ({year})"``; empty: the title column.
    item_text: str = ""
    #: name of a template in ``properties/prompt`` or the path of a YAML file.
    prompt: str = "continuation"
    #: longest prompt in tokens, the response included; older items are dropped whole.
    max_prompt_tokens: int = 512

    def __post_init__(self):
        _whole("max_prompt_tokens", self.max_prompt_tokens, 8)


@dataclass(frozen=True)
class IndexingArguments(Arguments):
    """How items get their identifiers."""

    #: name of a scheme in ``recbole_genrec/indexing``.
    item_indexing: str = "title"
    #: a checkpoint folder whose identifiers are taken over instead of making new ones; empty: make them.
    item_index: str = ""
    #: ``collaborative``: most clusters that a node of the tree is split into, and most items of a node that is not.
    cluster_branches: int = 20
    cluster_leaf_size: int = 20
    #: ``svd``: codes of an item, and bins of each.
    svd_dimensions: int = 3
    svd_bins: int = 128
    #: where vectors of item texts come from: ``tfidf``, ``backbone``, or a sentence-transformers name or folder.
    text_embedding: str = "tfidf"
    #: branch, tag or commit of a sentence-transformers hub id.
    text_embedding_revision: str = "main"
    #: ``semantic``: codes of an item, codes to choose from at each level, and shape and training of the RQ-VAE.
    semantic_levels: int = 3
    semantic_codes: int = 256
    semantic_latent_size: int = 32
    semantic_steps: int = 2000
    semantic_learning_rate: float = 3e-3
    #: ``hybrid``: scheme of the prefix, how many of its codes are kept, and scheme of the item's own part.
    hybrid_prefix: str = "collaborative"
    hybrid_levels: int = 2
    hybrid_suffix: str = "title"

    def __post_init__(self):
        _whole("cluster_branches", self.cluster_branches, 2)
        for key in ("cluster_leaf_size", "svd_dimensions", "svd_bins", "semantic_levels", "semantic_codes"):
            _whole(key, getattr(self, key), 1)
        _one_of("hybrid_prefix", self.hybrid_prefix, ("collaborative", "semantic"))
        _one_of("hybrid_suffix", self.hybrid_suffix, ("title", "independent"))
        for key in ("semantic_latent_size", "semantic_steps", "hybrid_levels"):
            _whole(key, getattr(self, key), 1)
        _at_least("semantic_learning_rate", self.semantic_learning_rate, 0)


@dataclass(frozen=True)
class BackboneArguments(Arguments):
    """Which language model stands behind the recommender, and what of it is trained."""

    #: ``scratch`` (a small LLaMA built from the keys below), a folder, or a hub id.
    backbone: str = "scratch"
    #: branch, tag or commit of a hub id.
    revision: str = "main"
    #: run Python code that comes with a hub model; off unless asked for.
    trust_remote_code: bool = False
    #: dtype of the loaded weights: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
    torch_dtype: str = "auto"
    #: ``none``, ``8bit`` or ``4bit`` (bitsandbytes, on a CUDA device).
    quantization: str = "none"
    #: attention kernel: ``sdpa``, ``eager``, ``flash_attention_2``, or, on a CUDA device, ``flex_attention``:
    #: FlexAttention where packed responses branch off a history, which skips what nobody sees, and SDPA elsewhere.
    attn_implementation: str = "sdpa"
    #: recompute activations in the backward pass instead of keeping them.
    gradient_checkpointing: bool = False
    #: train a low-rank adapter (Hu et al. 2022) instead of all weights; never used for ``scratch``.
    lora: bool = True
    lora_r: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    lora_target_modules: tuple = ("q_proj", "v_proj")
    #: shape of the scratch model and of its byte-level BPE tokenizer.
    scratch_hidden_size: int = 64
    scratch_layers: int = 2
    scratch_heads: int = 2
    scratch_intermediate_size: int = 192
    scratch_vocab_size: int = 3000
    #: dropout on the input embeddings and on the last hidden state.
    embedding_dropout: float = 0.0
    hidden_dropout: float = 0.0

    def __post_init__(self):
        _one_of("torch_dtype", self.torch_dtype, ("auto", "float32", "bfloat16", "float16"))
        _one_of("quantization", self.quantization, ("none", "8bit", "4bit"))
        _one_of("attn_implementation", self.attn_implementation, ATTENTION_KERNELS)
        for key in ("trust_remote_code", "gradient_checkpointing", "lora"):
            _flag(key, getattr(self, key))
        for key in ("lora_r", "lora_alpha", "scratch_hidden_size", "scratch_layers", "scratch_heads"):
            _whole(key, getattr(self, key), 1)
        _whole("scratch_intermediate_size", self.scratch_intermediate_size, 1)
        _whole("scratch_vocab_size", self.scratch_vocab_size, 300)
        if self.scratch_hidden_size % (2 * self.scratch_heads):
            raise GenRecError(
                f"'scratch_hidden_size' ({self.scratch_hidden_size}) must be an even multiple of "
                f"'scratch_heads' ({self.scratch_heads})."
            )
        for key in ("lora_dropout", "embedding_dropout", "hidden_dropout"):
            _share(key, getattr(self, key))
        if isinstance(self.lora_target_modules, str):
            object.__setattr__(self, "lora_target_modules", (self.lora_target_modules,))
        else:
            _texts("lora_target_modules", self.lora_target_modules)
            object.__setattr__(self, "lora_target_modules", tuple(self.lora_target_modules))


@dataclass(frozen=True)
class EngineArguments(Arguments):
    """How the engine trains on histories and ranks the catalogue (DESIGN: the engine)."""

    #: train on whole history windows in one forward (true) or on one prompt per target (false).
    packing: bool = True
    #: softmax over the trie's children (``trie``) or over the whole vocabulary (``vocab``).
    normalization: str = "trie"
    #: ``exact`` top-K, ``beam`` search, or ``full`` scoring of every item.
    decoding: str = "exact"
    #: width of beam search.
    num_beams: int = 20
    #: nodes that exact search may expand for one user before it falls back to beam search; counted where it happens.
    node_budget: int = 1000
    #: learned item embeddings added at each history item's last token: ``none`` or ``separator``.
    item_embedding: str = "none"
    #: probability with which a history item's embedding is dropped in training.
    item_embedding_dropout: float = 0.0
    #: a learned vector for every edge of the trie, beside its first token's, in the softmax over the trie.
    edge_embedding: bool = False
    #: a softmax over whole items, by a learned vector of each, as prior of the softmax over the trie.
    item_prior: bool = False
    #: items of history that a target keeps where a long history is cut into windows.
    min_history: int = 10
    #: share of the interactions that packed training leaves out, drawn anew in every epoch.
    history_dropout: float = 0.0
    #: padded tokens a training batch may hold; 0: ``train_batch_size`` windows a batch.
    train_batch_tokens: int = 8192

    def __post_init__(self):
        _flag("packing", self.packing)
        _one_of("normalization", self.normalization, ("trie", "vocab"))
        _one_of("decoding", self.decoding, ("exact", "beam", "full"))
        _one_of("item_embedding", self.item_embedding, ("none", "separator"))
        _share("item_embedding_dropout", self.item_embedding_dropout)
        for key in ("edge_embedding", "item_prior"):
            _flag(key, getattr(self, key))
            if getattr(self, key) and self.normalization != "trie":
                raise GenRecError(f"'{key}: true' belongs to the softmax over the trie: it needs 'normalization: trie'.")
        _share("history_dropout", self.history_dropout)
        for key in ("num_beams", "node_budget", "min_history"):
            _whole(key, getattr(self, key), 1)
        _whole("train_batch_tokens", self.train_batch_tokens, 0)


@dataclass(frozen=True)
class P5Arguments(Arguments):
    """What P5 (Geng et al. 2022) asks and is asked; ``tasks`` and what follows on prompts, PromptLLM too."""

    models: ClassVar[tuple] = ("P5", "PromptLLM")

    #: name of task prompts in ``properties/task`` or the path of a YAML file.
    task_prompts: str = "p5"
    #: share of each family in an epoch; a family without one, or with 0, is off.
    tasks: dict = field(default_factory=lambda: dict.fromkeys(FAMILIES, 1))
    #: examples that a user gives to a family of share 1 in an epoch.
    examples_per_user: int = 5
    #: items to choose from, where a prompt gives some.
    n_candidates: int = 20
    #: longest text that is learnt and generated, in tokens.
    max_target_tokens: int = 64
    #: column of reviews and of their summaries in the ``.inter`` file.
    review_field: str = "review_text"
    summary_field: str = "summary"
    #: add a vector for its place among the whole words of the prompt to every token.
    whole_word_embedding: bool = True

    def __post_init__(self):
        if not isinstance(self.tasks, dict):
            raise GenRecError(
                f"'tasks' must give families their shares, such as {{sequential: 1}}, not {shown(self.tasks)}."
            )
        for family, share in self.tasks.items():
            _one_of("tasks", family, FAMILIES)
            _at_least(f"tasks: {family}", share, 0)
        for key in ("examples_per_user", "max_target_tokens"):
            _whole(key, getattr(self, key), 1)
        _whole("n_candidates", self.n_candidates, 2)
        _flag("whole_word_embedding", self.whole_word_embedding)


@dataclass(frozen=True)
class PromptLLMArguments(Arguments):
    """How PromptLLM asks, and whom."""

    models: ClassVar[tuple] = ("PromptLLM",)

    #: ``scoring``: a local model, the exact top-K of the catalogue; ``chat``: an OpenAI-compatible server.
    ranking: str = "scoring"
    #: examples of training users before the question, the same for everybody.
    few_shot: int = 0
    #: name of question prompts in ``properties/chat`` or the path of a YAML file.
    chat_prompts: str = "promptllm"
    #: ``chat``: name of the model at the server.
    chat_model: str = ""
    #: address of the server, such as ``http://localhost:8000/v1``; empty: OpenAI's own.
    base_url: str = ""
    #: the environment variable that holds the API key; the key itself is no setting and is never written.
    api_key_env: str = "OPENAI_API_KEY"
    #: items to choose from in the question, retrieved from training interactions; 0: open recommendation.
    chat_candidates: int = 0
    #: parameters of a request, over ``{temperature: 0, max_tokens: 1024}``; an empty one is not sent.
    chat_options: dict = field(default_factory=dict)
    #: ask for ``response_format: json_object``; where a server refuses it, go on without.
    json_mode: bool = False
    #: least similarity, 0 to 100, of a title to an item that is taken for the same.
    fuzzy_threshold: float = 90
    #: requests under way at a time, attempts of one, seconds until one is given up and before the first repetition.
    concurrency: int = 8
    request_attempts: int = 6
    request_timeout: float = 120.0
    retry_wait: float = 1.0
    #: folder of answers: a request that has one there is not sent.
    chat_cache: str = "chat_cache"
    #: prices of a million tokens, in any currency; both 0: cost is not reported.
    input_price: float = 0.0
    output_price: float = 0.0

    def __post_init__(self):
        _one_of("ranking", self.ranking, ("scoring", "chat"))
        for key in ("few_shot", "chat_candidates"):
            _whole(key, getattr(self, key), 0)
        for key in ("concurrency", "request_attempts"):
            _whole(key, getattr(self, key), 1)
        for key in ("request_timeout", "retry_wait", "input_price", "output_price", "fuzzy_threshold"):
            _at_least(key, getattr(self, key), 0)
        _flag("json_mode", self.json_mode)
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,62}", self.api_key_env):
            # the value may be a key, of which some are of small letters: it must not come into a log
            raise GenRecError(
                "'api_key_env' must be the name of an environment variable, in capitals, not the key itself."
            )
        self._check_address()
        if not isinstance(self.chat_options, dict):
            raise GenRecError(
                f"'chat_options' must be a mapping, such as {{temperature: 0}}, not {shown(self.chat_options)}."
            )
        object.__setattr__(self, "chat_options", {"temperature": 0, "max_tokens": 1024, **self.chat_options})
        for key in ("model", "messages", "response_format", "stream", "n"):
            if key in self.chat_options:
                raise GenRecError(f"'chat_options' cannot hold {key!r}, which PromptLLM sets itself.")
        for key in self.chat_options:
            if str(key).lower().replace("-", "_") in SECRET_OPTIONS:
                raise GenRecError(f"'chat_options' cannot hold {key!r}: the key comes from 'api_key_env'.")
        if self.ranking == "chat" and not self.chat_model:
            raise GenRecError("'ranking: chat' needs 'chat_model', the name of a model at the server.")

    def _check_address(self):
        """Refuse an address that may hold a secret, and show none: settings and errors come into logs and results."""
        try:
            address = urlsplit(self.base_url)
        except ValueError:
            raise GenRecError("'base_url' is no address, such as http://localhost:8000/v1.") from None
        if "@" in address.netloc or address.query or address.fragment:
            raise GenRecError("'base_url' must hold no user, password or query: the key comes from 'api_key_env'.")
        if self.base_url and (address.scheme not in ("http", "https") or not address.hostname):
            raise GenRecError("'base_url' must begin with http:// or https:// and the name of a server.")


@dataclass(frozen=True)
class Seq2SeqArguments(Arguments):
    """How GenRecSeq2Seq (Cao & Lio 2024) masks, what it adds to its tokens, and in which stages it trains."""

    models: ClassVar[tuple] = ("GenRecSeq2Seq",)

    #: ``pretrain`` on masked items, ``finetune`` on next items, or ``both``, one after the other.
    train_stage: str = "both"
    #: epochs of pretraining; ``epochs`` are those of fine-tuning.
    pretrain_epochs: int = 15
    #: ``finetune``: the checkpoint folder of a pretraining to start from; empty: none.
    pretrained_checkpoint: str = ""
    #: share of a sequence's items that pretraining masks; at least one is.
    mask_ratio: float = 0.5
    #: mean length of a run of neighbouring items that are masked together.
    mask_span: float = 1.0
    #: chance that the last item is among the masked ones.
    mask_last: float = 0.3
    #: add the encoder's state of the mask that is asked for to the decoder's start token.
    mask_pointer: bool = True
    #: next items that a user gives to an epoch of fine-tuning; 0: all.
    targets_per_user: int = 20
    #: a vector for the user on the tokens that name it, for the item on its, and for the place of every token.
    user_embedding: bool = True
    item_id_embedding: bool = True
    position_embedding: bool = True
    #: ``.item`` columns of categories; an item's tokens get a vector for each value.
    attribute_fields: tuple = ()

    def __post_init__(self):
        _one_of("train_stage", self.train_stage, ("pretrain", "finetune", "both"))
        if self.pretrained_checkpoint and self.train_stage != "finetune":
            raise GenRecError(
                f"'pretrained_checkpoint' is where 'train_stage: finetune' starts, not {shown(self.train_stage)}."
            )
        _whole("pretrain_epochs", self.pretrain_epochs, 1)
        _whole("targets_per_user", self.targets_per_user, 0)
        for key in ("mask_ratio", "mask_last"):
            _share(key, getattr(self, key))
        _at_least("mask_span", self.mask_span, 1)
        for key in ("mask_pointer", "user_embedding", "item_id_embedding", "position_embedding"):
            _flag(key, getattr(self, key))
        if self.mask_ratio and not self.mask_pointer:
            raise GenRecError("'mask_pointer: false' cannot tell masks apart: it takes 'mask_ratio: 0', one mask.")
        _texts("attribute_fields", self.attribute_fields)
        object.__setattr__(self, "attribute_fields", tuple(self.attribute_fields))


@dataclass(frozen=True)
class TrainerArguments(Arguments):
    """How the trainer steps. RecBole's own keys (``epochs``, ``learning_rate``, ...) keep their meaning."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    adam_betas: tuple = (0.9, 0.999)
    #: ``constant``, ``linear`` or ``cosine`` decay to zero over all epochs, after the warm-up.
    lr_scheduler: str = "cosine"
    warmup_steps: float = 0
    gradient_accumulation_steps: int = 1
    #: share of the old value in the running average of the weights that is validated and kept; 0: no average.
    ema_decay: float = 0.0
    #: ``fp32``, ``bf16`` or ``fp16`` autocast; ``fp16`` scales the loss.
    precision: str = "fp32"
    #: ``""`` (start anew), ``auto`` (the newest checkpoint of the same run), ``previous`` (the one before it) or a
    #: checkpoint folder.
    resume: str = ""
    #: write ``last`` after every so many optimizer steps, too; 0: after every epoch.
    save_steps: int = 0
    #: what several processes do with the weights: ``ddp``, each holds all of them; ``fsdp``, each holds a share of
    #: every layer of the language model, and gathers it when its turn comes. A single process holds all.
    distributed: str = "ddp"

    def __post_init__(self):
        _at_least("learning_rate", self.learning_rate, 0)
        _at_least("weight_decay", self.weight_decay, 0)
        _one_of("lr_scheduler", self.lr_scheduler, ("constant", "linear", "cosine"))
        _one_of("precision", self.precision, ("fp32", "bf16", "fp16"))
        _one_of("distributed", self.distributed, ("ddp", "fsdp"))
        _at_least("warmup_steps", self.warmup_steps, 0)
        _whole("gradient_accumulation_steps", self.gradient_accumulation_steps, 1)
        _whole("save_steps", self.save_steps, 0)
        _share("ema_decay", self.ema_decay)
        if not isinstance(self.adam_betas, (list, tuple)) or len(self.adam_betas) != 2:
            raise GenRecError(f"'adam_betas' must be two numbers, not {shown(self.adam_betas)}.")
        for beta in self.adam_betas:
            _share("adam_betas", beta)
        object.__setattr__(self, "adam_betas", tuple(self.adam_betas))


#: every group of settings, in the order of the README.
ARGUMENT_GROUPS = (
    PromptArguments,
    IndexingArguments,
    BackboneArguments,
    EngineArguments,
    P5Arguments,
    PromptLLMArguments,
    Seq2SeqArguments,
    TrainerArguments,
)


def plugin_keys():
    """All configuration keys that the plugin adds to RecBole's."""
    return frozenset(key for group in ARGUMENT_GROUPS for key in group.keys())
