"""Settings that several generative models read: prompts, identifiers, the language model, the engine."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le
from pydantic import BeforeValidator

from recbole_genrec.config.arguments.base import Arguments, Needs, Neutral, Reads, group
from recbole_genrec.config.arguments.types import AtLeast0, Count, Flag, Positive, Share, Text, Texts
from recbole_genrec.errors import GenRecError

#: generative models that give items identifiers, train on them and rank by them.
IDENTIFYING = ("GenRec", "GenRecSeq2Seq", "P5", "TIGER")
#: generative models that are trained.
TRAINED = (*IDENTIFYING, "TALLRec", "UniTRec", "PEPLER")
#: models that rank by the probabilities of identifiers.
GENERATING = (*IDENTIFYING, "PromptLLM")
#: models of vectors of items that train at all positions of a history at once.
ALL_POSITIONS = ("SASRecAll", "BSARec", "HSTU")
#: models that add vectors of item texts to what they learn of items.
WITH_VECTORS = ("GenRec", *ALL_POSITIONS)
#: the value of ``backbone`` for a small model that is built here.
SCRATCH = "scratch"
#: a model that is loaded, from a folder or the hub: everything but ``scratch``.
PRETRAINED = Needs("backbone", but=SCRATCH, words="a folder or a hub id")
SCRATCH_ONLY = Needs("backbone", SCRATCH)
#: models whose scratch model is a T5.
SCRATCH_T5 = ("P5", "TIGER")
SCORING = Needs("ranking", "scoring", models=("PromptLLM",))
#: identifiers are made, not taken over from a checkpoint.
NEW = Needs("item_index", "")
COLLABORATIVE = Needs("item_indexing", "collaborative", "hybrid")
COLLABORATIVE_PREFIX = Needs("hybrid_prefix", "collaborative", when=("item_indexing", "hybrid"))
SEMANTIC = Needs("item_indexing", "semantic", "hybrid")
SEMANTIC_PREFIX = Needs("hybrid_prefix", "semantic", when=("item_indexing", "hybrid"))
HYBRID = Needs("item_indexing", "hybrid")
LORA = Needs("adapter", "lora")
#: adapters that put virtual tokens before a prompt, and leave the layers as they are.
VIRTUAL = ("prompt", "prefix")
#: items have vectors of their texts.
TEXT_VECTORS = Needs("text_vectors", but="none", words="tfidf, backbone or a sentence encoder")


@group
class PromptArguments(Arguments):
    """How items and histories become text and tokens."""

    item_text: Annotated[
        Text,
        Reads(*TRAINED, "PromptLLM", *(name for name in WITH_VECTORS if name not in TRAINED)),
        Needs("text_vectors", but="none", words=TEXT_VECTORS.words, models=WITH_VECTORS[1:]),
    ] = ""
    """Template of an item's text over its ``.item`` columns, such as ``{title} ({year})``. Empty: the title column."""
    prompt: Annotated[Text, Reads("GenRec", "PromptLLM"), SCORING] = "continuation"
    """Name of a template in ``properties/prompt``, or the path of a YAML file."""
    max_prompt_tokens: Annotated[int, Ge(8), Le(1_000_000), SCORING] = 512
    """Longest prompt with its response, in tokens. The oldest items are dropped, each as a whole."""


@group
class IndexingArguments(Arguments):
    """How items get their identifiers."""

    models: ClassVar[tuple] = GENERATING

    item_indexing: Text = "title"
    """Name of an indexing scheme: see Item indexing."""
    item_index: Text = ""
    """A checkpoint folder whose identifiers are used, and its tokenizer where both are scratch models of one kind."""
    cluster_branches: Annotated[int, Ge(2), Le(100_000), NEW, COLLABORATIVE, COLLABORATIVE_PREFIX] = 20
    """``collaborative``: largest number of clusters that a node of the tree is split into."""
    cluster_leaf_size: Annotated[Positive, NEW, COLLABORATIVE, COLLABORATIVE_PREFIX] = 20
    """``collaborative``: largest number of items in a node that is not split."""
    svd_dimensions: Annotated[int, Ge(1), Le(10_000), NEW, Needs("item_indexing", "svd")] = 3
    """``svd``: number of codes in an identifier."""
    svd_bins: Annotated[int, Ge(1), Le(1_000_000), NEW, Needs("item_indexing", "svd")] = 128
    """``svd``: number of values that a code can have."""
    text_embedding: Annotated[Text, NEW, SEMANTIC, SEMANTIC_PREFIX] = "tfidf"
    """Vectors of item texts: ``tfidf``, ``backbone``, or the folder or hub id of a sentence encoder; ``+`` joins."""
    text_embedding_revision: Annotated[Text, NEW, SEMANTIC, SEMANTIC_PREFIX] = "main"
    """Branch, tag or commit of a sentence encoder's hub id."""
    semantic_levels: Annotated[int, Ge(1), Le(100), NEW, SEMANTIC, SEMANTIC_PREFIX] = 3
    """``semantic``: number of codes in an identifier."""
    semantic_codes: Annotated[int, Ge(1), Le(1_000_000), NEW, SEMANTIC, SEMANTIC_PREFIX] = 256
    """``semantic``: number of values that a code can have at each level."""
    semantic_latent_size: Annotated[int, Ge(1), Le(100_000), NEW, SEMANTIC, SEMANTIC_PREFIX] = 32
    """``semantic``: width of the vectors that the RQ-VAE quantises."""
    semantic_steps: Annotated[Positive, NEW, SEMANTIC, SEMANTIC_PREFIX] = 2000
    """``semantic``: training steps of the RQ-VAE."""
    semantic_learning_rate: Annotated[AtLeast0, NEW, SEMANTIC, SEMANTIC_PREFIX] = 3e-3
    """``semantic``: learning rate of the RQ-VAE."""
    hybrid_prefix: Annotated[Literal["collaborative", "semantic"], NEW, HYBRID] = "collaborative"
    """``hybrid``: scheme of the first part of an identifier."""
    hybrid_levels: Annotated[int, Ge(1), Le(100), NEW, HYBRID] = 2
    """``hybrid``: number of codes that are kept of the first part."""
    hybrid_suffix: Annotated[Literal["title", "independent"], NEW, HYBRID] = "title"
    """``hybrid``: scheme of the second part of an identifier."""


@group
class TextVectorArguments(Arguments):
    """Vectors of item texts, projected and added to the learned vectors of items."""

    models: ClassVar[tuple] = WITH_VECTORS

    text_vectors: Text = "none"
    """``none``, ``tfidf``, ``backbone``, or the folder or hub id of a sentence encoder; ``+`` joins several."""
    text_vectors_text: Annotated[Text, TEXT_VECTORS, Neutral("")] = ""
    """Template of the text that a vector is made of, over ``.item`` columns. Empty: the item's own, ``item_text``."""
    text_vectors_revision: Annotated[Text, TEXT_VECTORS] = "main"
    """Branch, tag or commit of a sentence encoder's hub id."""
    item_vector_dropout: Annotated[Share, TEXT_VECTORS, Neutral(0)] = 0.0
    """Share of the items that go without their learned vector in a training step, so that their text stands alone."""


@group
class BackboneArguments(Arguments):
    """Which language model stands behind the recommender, and what of it is trained."""

    backbone: Annotated[Text, SCORING] = SCRATCH
    """``scratch`` (a small model built from the keys below), a folder, or a hub id."""
    revision: Annotated[Text, SCORING, PRETRAINED] = "main"
    """Branch, tag or commit of a hub id."""
    trust_remote_code: Annotated[Flag, SCORING, PRETRAINED, Neutral(False)] = False
    """Run Python code that comes with a hub model. Whoever loads the checkpoint has to allow it again."""
    torch_dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], SCORING, PRETRAINED] = "auto"
    """Data type of the loaded weights."""
    quantization: Annotated[Literal["none", "8bit", "4bit"], SCORING, PRETRAINED, Neutral("none")] = "none"
    """Load the weights in 8 or 4 bits (bitsandbytes, on a CUDA device)."""
    attn_implementation: Annotated[Literal["sdpa", "eager", "flash_attention_2", "flex_attention"], SCORING] = "sdpa"
    """Attention kernel. ``flex_attention``, on a CUDA device: FlexAttention for packed histories, SDPA elsewhere."""
    gradient_checkpointing: Annotated[Flag, Reads(*TRAINED), Neutral(False)] = False
    """Recompute activations in the backward pass instead of keeping them: less memory, more time."""
    adapter: Annotated[
        Literal["lora", "prompt", "prefix", "ia3", "none"], Reads(*TRAINED), PRETRAINED, Neutral("none")
    ] = "lora"
    """What is trained: ``lora`` (low-rank matrices, Hu et al. 2022), ``prompt`` (vectors before the prompt, Lester et
    al. 2021), ``prefix`` (keys and values before it, Li & Liang 2021), ``ia3`` (factors of activations, Liu et al.
    2022), or ``none``: all weights, as of a ``scratch`` model always."""
    adapter_tokens: Annotated[int, Ge(1), Le(100_000), Reads(*TRAINED), PRETRAINED, Needs("adapter", *VIRTUAL)] = 20
    """Number of virtual tokens of ``prompt`` and ``prefix``, beside ``max_prompt_tokens``."""
    lora_r: Annotated[int, Ge(1), Le(100_000), Reads(*TRAINED), PRETRAINED, LORA] = 8
    """Rank of the adapter."""
    lora_alpha: Annotated[Positive, Reads(*TRAINED), PRETRAINED, LORA] = 16
    """Scale of the adapter: its output is multiplied by ``lora_alpha / lora_r``."""
    lora_dropout: Annotated[Share, Reads(*TRAINED), PRETRAINED, LORA] = 0.05
    """Dropout on the input of the adapter."""
    lora_target_modules: Annotated[
        Texts,
        BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
        Reads(*TRAINED),
        PRETRAINED,
        LORA,
    ] = ()
    """Names of the adapted layers, or ``all-linear``. Empty: those that peft takes for the family."""
    scratch_hidden_size: Annotated[int, Ge(1), Le(65_536), SCORING, SCRATCH_ONLY] = 64
    """Width of the scratch model."""
    scratch_layers: Annotated[int, Ge(1), Le(1_000), SCORING, SCRATCH_ONLY] = 2
    """Number of its layers."""
    scratch_heads: Annotated[int, Ge(1), Le(65_536), SCORING, SCRATCH_ONLY] = 2
    """Number of its attention heads."""
    scratch_intermediate_size: Annotated[int, Ge(1), Le(1_000_000), SCORING, SCRATCH_ONLY] = 192
    """Width of its feed-forward layers."""
    scratch_head_size: Annotated[Count, Reads(*SCRATCH_T5), SCRATCH_ONLY, Neutral(0)] = 0
    """Width of each head. 0: ``scratch_hidden_size / scratch_heads``."""
    scratch_dropout: Annotated[Share, Reads("GenRec", *SCRATCH_T5), SCRATCH_ONLY, Neutral(0)] = 0.0
    """Dropout on what each part of its layers adds; of a T5 on attention weights, too, which costs much on a CPU."""
    scratch_vocab_size: Annotated[int, Ge(300), Le(10_000_000), SCORING, SCRATCH_ONLY] = 3000
    """Size of its byte-level BPE vocabulary, which is trained on the catalogue's text."""
    embedding_dropout: Annotated[Share, Reads(*TRAINED)] = 0.0
    """Dropout on the input embeddings."""
    hidden_dropout: Annotated[Share, Reads(*TRAINED)] = 0.0
    """Dropout on the last hidden state."""

    def __post_init__(self):
        if not self.scratch_head_size and self.scratch_hidden_size % (2 * self.scratch_heads):
            raise GenRecError(
                f"'scratch_hidden_size' ({self.scratch_hidden_size}) must be an even multiple of "
                f"'scratch_heads' ({self.scratch_heads})."
            )
        if self.virtual_tokens and self.gradient_checkpointing:
            raise GenRecError(
                f"'gradient_checkpointing: true' does without the keys and values of 'adapter: {self.adapter}': use "
                "'gradient_checkpointing: false', or 'adapter: lora'."
            )
        if self.virtual_tokens and self.attn_implementation == "flex_attention":
            raise GenRecError(
                f"'attn_implementation: flex_attention' has no place for 'adapter: {self.adapter}'. Use 'sdpa'."
            )

    @property
    def virtual_tokens(self):
        """Virtual tokens of the adapter before every prompt."""
        return self.adapter_tokens if self.adapter in VIRTUAL and self.backbone != SCRATCH else 0


@group
class EngineArguments(Arguments):
    """How the engine trains on histories and ranks the catalogue."""

    models: ClassVar[tuple] = GENERATING

    packing: Annotated[Flag, Reads(*IDENTIFYING)] = True
    """Train on whole histories in one forward pass. ``false``: one prompt for each target."""
    normalization: Annotated[Literal["trie", "vocab"], SCORING] = "trie"
    """Softmax over the tokens that the catalogue's trie allows, or over the whole vocabulary."""
    decoding: Annotated[Literal["exact", "beam", "full"], SCORING] = "exact"
    """``exact`` top-K, ``beam`` search, or ``full`` scoring of every item."""
    num_beams: Annotated[Positive, SCORING, Needs("decoding", "exact", "beam")] = 20
    """Width of beam search, at least the largest ``topk``."""
    node_budget: Annotated[Positive, SCORING, Needs("decoding", "exact")] = 1000
    """Nodes that exact search may expand for a user. Where they do not suffice, beam search completes the list."""
    history: Annotated[Literal["text", "vectors", "both"], Reads("GenRec")] = "text"
    """How a prompt shows the items of a history: as ``text``, as ``vectors`` (one position each), or as ``both``."""
    item_embedding_dropout: Annotated[
        Share,
        Reads("GenRec", "GenRecSeq2Seq"),
        Neutral(0),
        Needs("history", "vectors", "both", models=("GenRec",)),
    ] = 0.0
    """Probability that a history item goes without its vector in training."""
    edge_embedding: Flag = False
    """Learn a vector for every edge of the trie, beside that of its first token, in the softmax over the trie."""
    item_prior: Flag = False
    """A softmax over whole items, by a learned vector of each, as the prior of the softmax over the trie."""
    item_prior_loss: Annotated[AtLeast0, Reads(*IDENTIFYING), Neutral(0), Needs("item_prior", True)] = 0.0
    """Weight of that softmax's own loss in training, beside the loss of the decisions."""
    unseen_share: Annotated[Share, Neutral(0), Needs("item_prior", True)] = 0.0
    """Probability that items which training has not seen have together in a ranking. 0: what their texts give them."""
    unseen_every: Annotated[Count, Neutral(0), Needs("item_prior", True), Needs("decoding", "exact", "beam")] = 0
    """So many places of a list, such as 10, hold an item that training has not seen, the likeliest. 0: by its score."""
    title_weight: Annotated[AtLeast0, Neutral(1), Needs("item_prior", True)] = 1.0
    """Weight of the identifiers' logits beside the prior in a ranking. 1: as in training. 0: the prior ranks alone."""
    branch_share: Annotated[float, Gt(0), Le(1), Reads("GenRec"), Needs("packing", True)] = 1.0
    """Share of the targets whose identifiers are learnt, drawn anew in every epoch. The prior learns from all."""
    min_history: Annotated[Positive, Reads("GenRec"), Needs("packing", True)] = 10
    """Number of history items that a target keeps where a long history is cut into windows."""
    history_dropout: Annotated[
        Share, Reads("GenRec", "GenRecSeq2Seq", "TIGER"), Neutral(0), Needs("packing", True, models=("GenRec",))
    ] = 0.0
    """Share of the interactions that training leaves out, drawn anew in every epoch."""
    train_batch_tokens: Annotated[
        Count, Reads("GenRec", "GenRecSeq2Seq", "TIGER"), Needs("packing", True, models=("GenRec",))
    ] = 8192
    """Padded tokens that a training batch may hold. 0: ``train_batch_size`` windows a batch."""

    def __post_init__(self):
        for key in ("edge_embedding", "item_prior"):
            if getattr(self, key) and self.normalization != "trie":
                raise GenRecError(
                    f"'{key}: true' belongs to the softmax over the trie: it needs 'normalization: trie'."
                )
        if self.item_prior_loss and not self.item_prior:
            raise GenRecError("'item_prior_loss' is the weight of a loss that 'item_prior: false' does not have.")


@group
class SequenceArguments(Arguments):
    """What models train on that read a history with an encoder, a forward for each next item."""

    models: ClassVar[tuple] = ("GenRecSeq2Seq", "TIGER", "UniTRec")

    targets_per_user: Annotated[Count, Needs("train_stage", "finetune", "both", models=("GenRecSeq2Seq",))] = 20
    """Next items that a user contributes to an epoch, of fine-tuning where there are stages. 0: all."""
