"""Settings that every generative model reads: prompts, identifiers, the language model, the engine."""

from dataclasses import dataclass

from recbole_genrec.arguments.base import Arguments, at_least, flag, one_of, share, texts, whole
from recbole_genrec.errors import GenRecError

ATTENTION_KERNELS = ("sdpa", "eager", "flash_attention_2", "flex_attention")


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
        whole("max_prompt_tokens", self.max_prompt_tokens, 8)


@dataclass(frozen=True)
class IndexingArguments(Arguments):
    """How items get their identifiers."""

    #: name of a scheme in ``recbole_genrec/indexing``.
    item_indexing: str = "title"
    #: a checkpoint folder whose identifiers are taken over instead of making new ones, and whose tokenizer, where both
    #: are scratch models of the same kind and vocabulary; empty: make them.
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
        whole("cluster_branches", self.cluster_branches, 2)
        for key in ("cluster_leaf_size", "svd_dimensions", "svd_bins", "semantic_levels", "semantic_codes"):
            whole(key, getattr(self, key), 1)
        one_of("hybrid_prefix", self.hybrid_prefix, ("collaborative", "semantic"))
        one_of("hybrid_suffix", self.hybrid_suffix, ("title", "independent"))
        for key in ("semantic_latent_size", "semantic_steps", "hybrid_levels"):
            whole(key, getattr(self, key), 1)
        at_least("semantic_learning_rate", self.semantic_learning_rate, 0)


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
    #: names of the adapted layers, or ``all-linear``; empty: peft's own for the family.
    lora_target_modules: tuple = ()
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
        one_of("torch_dtype", self.torch_dtype, ("auto", "float32", "bfloat16", "float16"))
        one_of("quantization", self.quantization, ("none", "8bit", "4bit"))
        one_of("attn_implementation", self.attn_implementation, ATTENTION_KERNELS)
        for key in ("trust_remote_code", "gradient_checkpointing", "lora"):
            flag(key, getattr(self, key))
        for key in ("lora_r", "lora_alpha", "scratch_hidden_size", "scratch_layers", "scratch_heads"):
            whole(key, getattr(self, key), 1)
        whole("scratch_intermediate_size", self.scratch_intermediate_size, 1)
        whole("scratch_vocab_size", self.scratch_vocab_size, 300)
        if self.scratch_hidden_size % (2 * self.scratch_heads):
            raise GenRecError(
                f"'scratch_hidden_size' ({self.scratch_hidden_size}) must be an even multiple of "
                f"'scratch_heads' ({self.scratch_heads})."
            )
        for key in ("lora_dropout", "embedding_dropout", "hidden_dropout"):
            share(key, getattr(self, key))
        if isinstance(self.lora_target_modules, str):
            object.__setattr__(self, "lora_target_modules", (self.lora_target_modules,))
        else:
            texts("lora_target_modules", self.lora_target_modules)
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
    #: weight of that softmax's own loss in training, beside the loss of the decisions.
    item_prior_loss: float = 0.0
    #: items of history that a target keeps where a long history is cut into windows.
    min_history: int = 10
    #: share of the interactions that packed training leaves out, drawn anew in every epoch.
    history_dropout: float = 0.0
    #: padded tokens a training batch may hold; 0: ``train_batch_size`` windows a batch.
    train_batch_tokens: int = 8192

    def __post_init__(self):
        flag("packing", self.packing)
        one_of("normalization", self.normalization, ("trie", "vocab"))
        one_of("decoding", self.decoding, ("exact", "beam", "full"))
        one_of("item_embedding", self.item_embedding, ("none", "separator"))
        share("item_embedding_dropout", self.item_embedding_dropout)
        for key in ("edge_embedding", "item_prior"):
            flag(key, getattr(self, key))
            if getattr(self, key) and self.normalization != "trie":
                raise GenRecError(
                    f"'{key}: true' belongs to the softmax over the trie: it needs 'normalization: trie'."
                )
        at_least("item_prior_loss", self.item_prior_loss, 0)
        if self.item_prior_loss and not self.item_prior:
            raise GenRecError("'item_prior_loss' is the weight of a loss that 'item_prior: false' does not have.")
        share("history_dropout", self.history_dropout)
        for key in ("num_beams", "node_budget", "min_history"):
            whole(key, getattr(self, key), 1)
        whole("train_batch_tokens", self.train_batch_tokens, 0)
