"""Settings of single models."""

import re
from dataclasses import field
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le

from recbole_genrec.config.arguments.base import Arguments, Needs, Neutral, Reads, group
from recbole_genrec.config.arguments.shared import ALL_POSITIONS
from recbole_genrec.config.arguments.types import Above0, AtLeast0, Count, Flag, Form, Positive, Share, Text, Texts
from recbole_genrec.errors import GenRecError, shown, unknown_name

#: P5's task families.
FAMILIES = ("sequential", "direct", "rating", "explanation", "review")
#: families about whole reviews, which only P5 has and which are off by default.
REVIEW_FAMILIES = ("review_generation", "item_summary")

#: models that are tested on ratings and texts of interactions, too.
WITH_TEXTS = ("P5", "PromptLLM", "PEPLER")
#: parameters of a request that would hold a secret; settings are kept with the results.
SECRET_OPTIONS = ("api_key", "apikey", "authorization", "token", "access_token", "password", "secret") + (
    "headers",
    "extra_headers",
)
CHAT = Needs("ranking", "chat")
PRETRAINS = Needs("pretrain", but="none", words="masked, next_k or both")
#: the tasks of ``alignment_tasks``.
ALIGNMENT_TASKS = ("title_to_item", "item_to_title", "columns_to_item", "history_to_title", "titles_to_item")
ALIGNS = Needs("alignment_tasks", but=(), words="some tasks")
#: what ``context`` may name that is no column.
TIME_KINDS = ("gap", "request_time")


@group
class GenRecArguments(Arguments):
    """What GenRec alone reads."""

    models: ClassVar[tuple] = ("GenRec",)

    warm_start: Text = ""
    """Checkpoint folder of a GenRec on any dataset from whose language model and item vectors training starts."""


@group
class UserArguments(Arguments):
    """What prompts call their user, where they name one as ``{user}``."""

    models: ClassVar[tuple] = ("GenRec", "P5")

    user_indexing: Annotated[Literal["none", "number", "random", "cluster", "metadata"], Neutral("none")] = "none"
    """``none``: prompts name no user. ``number``: RecBole's number of the user, as in P5. ``random``: a new token, or
    several. ``cluster``: the path in a tree of clusters of users with the same items in training. ``metadata``: words
    made of columns of the ``.user`` file."""
    user_levels: Annotated[int, Ge(1), Le(10), Needs("user_indexing", "random")] = 1
    """``random``: number of tokens of a user. 1: a token of its own for each."""
    user_cluster_branches: Annotated[int, Ge(2), Le(100_000), Needs("user_indexing", "cluster")] = 20
    """``cluster``: largest number of clusters that a node of the tree is split into."""
    user_cluster_leaf_size: Annotated[Positive, Needs("user_indexing", "cluster")] = 20
    """``cluster``: largest number of users in a node that is not split."""
    user_text: Annotated[Text, Needs("user_indexing", "metadata"), Neutral("")] = ""
    """``metadata``: template over the ``.user`` columns, such as ``a {age} year old {occupation}``. Empty: a
    sentence for each column."""
    user_dropout: Annotated[Share, Reads("GenRec"), Needs("user_indexing", but="none", words="another scheme")] = 0.1
    """Share of the training windows that go without their user, so that the model can do without one, too."""


@group
class AlignmentArguments(Arguments):
    """Tasks that teach what identifiers stand for, mixed into the training on histories: LC-Rec (Zheng et al. 2023)."""

    models: ClassVar[tuple] = ("GenRec",)

    alignment_tasks: Annotated[
        Texts,
        Neutral([]),
        Needs("packing", True),
        Needs("item_indexing", but="title", words="another scheme than title"),
    ] = ()
    """Any of ``title_to_item``, ``item_to_title``, ``columns_to_item`` (a description), ``history_to_title`` (a history
    of identifiers) and ``titles_to_item`` (one of titles). Empty: none."""
    alignment_share: Annotated[Above0, ALIGNS] = 1.0
    """Examples of each task in an epoch, as a share of the number of items."""
    alignment_prompts: Annotated[Text, ALIGNS] = "alignment"
    """Name of alignment prompts in ``properties/alignment``, or the path of a YAML file."""
    alignment_text: Annotated[Text, ALIGNS, Neutral("")] = ""
    """``columns_to_item``: template over the ``.item`` columns. Empty: every column by name but those of
    ``item_text``."""

    def __post_init__(self):
        for task in self.alignment_tasks:
            if task not in ALIGNMENT_TASKS:
                raise unknown_name("value of 'alignment_tasks':", task, ALIGNMENT_TASKS)


@group
class ContextArguments(Arguments):
    """What a model knows of a history beside its items."""

    models: ClassVar[tuple] = ("GenRec", "SASRecAll", "BSARec", "HSTU")

    context: Texts = ()
    """Any of ``gap`` (time between the items of a history, as a bias in attention), ``request_time`` (time up to the
    moment that is asked for, likewise: the target's own time in an evaluation), and columns of numbers of the
    ``.inter`` file, such as ``rating`` (a learned vector of the value at the item it belongs to). HSTU takes columns
    alone: for times it has ``time_bias``."""
    user_columns: Texts = ()
    """Columns of the ``.user`` file, such as ``age``, of categories or numbers: a learned vector of the user's value at
    every item of the history. A value that is missing adds nothing."""
    item_columns: Texts = ()
    """Columns of the ``.item`` file, such as ``genre``, of categories or numbers: a learned vector of the item's value,
    of several categories their mean, at the item in the history. New items have them, too."""

    @property
    def kinds(self):
        """The moments that the bias of time reads."""
        return tuple(kind for kind in TIME_KINDS if kind in self.context)

    @property
    def columns(self):
        """Columns of the ``.inter`` file."""
        return tuple(dict.fromkeys(name for name in self.context if name not in TIME_KINDS))


@group
class PretrainArguments(Arguments):
    """Pretraining on users' histories before fine-tuning on next items: PTUM (Wu et al. 2020)."""

    models: ClassVar[tuple] = ("GenRec", *ALL_POSITIONS)

    pretrain: Annotated[
        Literal["none", "masked", "next_k", "both"],
        Neutral("none"),
        Needs("train_on", "all", models=("BSARec",)),
    ] = "none"
    """What is predicted before fine-tuning: ``masked``, an item of the history that a mask stands for; ``next_k``, each
    of the next ``pretrain_next`` items; ``both``, by the sum of the losses. GenRec needs ``item_prior: true``, and for
    masks ``history: vectors`` or ``both``."""
    pretrain_epochs: Annotated[Positive, PRETRAINS] = 10
    """Epochs of pretraining. ``epochs`` are those of fine-tuning."""
    pretrain_next: Annotated[Positive, Needs("pretrain", "next_k", "both")] = 2
    """How many next items a state predicts with ``next_k``. The paper's K."""
    pretrain_next_weight: Annotated[AtLeast0, Needs("pretrain", "both")] = 1.0
    """Weight of the loss of ``next_k`` beside that of ``masked``. The paper's lambda."""

    @property
    def masks(self):
        """Whether a masked item is predicted."""
        return self.pretrain in ("masked", "both")

    @property
    def looks_ahead(self):
        """Whether next items are predicted."""
        return self.pretrain in ("next_k", "both")

    #: a checkpoint to fine-tune, which GenRec has ``warm_start`` for.
    pretrained_checkpoint: ClassVar[str] = ""

    @property
    def train_stage(self):
        """Stages of training, in the words of GenRecSeq2Seq's key."""
        return "finetune" if self.pretrain == "none" else "both"


@group
class P5Arguments(Arguments):
    """What P5 (Geng et al. 2022) asks and is asked; most of it holds for PromptLLM, too."""

    models: ClassVar[tuple] = ("P5", "PromptLLM")

    task_prompts: Annotated[Text, Reads("P5")] = "p5"
    """Name of task prompts in ``properties/task``, or the path of a YAML file."""
    tasks: Annotated[dict[str, AtLeast0], Form("a mapping of task families to shares, such as {sequential: 1}")] = (
        field(default_factory=lambda: dict.fromkeys(FAMILIES, 1))
    )
    """Share of each task family in an epoch. A family without a share, or with 0, is off. P5 alone also has
    ``review_generation`` (the whole review of a user and an item) and ``item_summary`` (the title of a review from the
    item's other reviews)."""
    examples_per_user: Annotated[Positive, Reads("P5")] = 5
    """Examples that a user contributes in an epoch to a family of share 1."""
    n_candidates: Annotated[int, Ge(2), Le(1_000_000)] = 20
    """Number of items to choose from in prompts that list candidates."""
    max_target_tokens: Annotated[int, Ge(1), Le(1_000_000), Reads(*WITH_TEXTS)] = 64
    """Longest text that is learnt and generated, in tokens."""
    max_review_tokens: Annotated[int, Ge(1), Le(1_000_000), Reads("P5")] = 128
    """Longest review that ``review_generation`` learns, generates and is measured on, in tokens. The end of a longer
    one is left out, and the result counts how many are."""
    summary_reviews: Annotated[int, Ge(1), Le(1_000_000), Reads("P5")] = 8
    """Number of an item's other reviews that a prompt of ``item_summary`` shows, at most."""
    summary_review_tokens: Annotated[int, Ge(1), Le(1_000_000), Reads("P5")] = 32
    """Tokens of each of these reviews, at most. The end of a longer one is left out, and the result counts how many
    are."""
    test_tasks: Annotated[Flag, Reads(*WITH_TEXTS, "GenRec", "TALLRec")] = True
    """After the test of the ranking, test each task family, and each wording that is held out of training."""
    review_field: Annotated[Text, Reads(*WITH_TEXTS)] = "review_text"
    """Column of reviews in the ``.inter`` file."""
    summary_field: Text = "summary"
    """Column of the reviews' summaries in the ``.inter`` file."""
    whole_word_embedding: Annotated[Flag, Reads("P5")] = True
    """Add a vector for the position of its whole word in the prompt to every token."""
    soft_prompts: Annotated[int, Ge(0), Le(100_000), Reads("P5")] = 0
    """Vectors of each task family that are learnt and stand before its prompts, beside ``max_prompt_tokens`` (POD, Li
    et al. 2023). Batches are then of one family each, the families in turn. 0: none, and batches of all families."""

    def __post_init__(self):
        for family in self.tasks:
            if family not in FAMILIES + REVIEW_FAMILIES:
                raise unknown_name("value of 'tasks':", family, FAMILIES + REVIEW_FAMILIES)


@group
class PromptLLMArguments(Arguments):
    """How PromptLLM asks, and whom."""

    models: ClassVar[tuple] = ("PromptLLM",)

    ranking: Literal["scoring", "chat"] = "scoring"
    """``scoring``: a local model gives the exact top-K. ``chat``: an OpenAI-compatible server is asked."""
    few_shot: Count = 0
    """Examples of training users before the question, the same for everybody."""
    chat_prompts: Text = "promptllm"
    """Name of question prompts in ``properties/chat``, or the path of a YAML file."""
    chat_model: Annotated[Text, CHAT, Neutral("")] = ""
    """Name of the model at the server."""
    base_url: Annotated[Text, CHAT, Neutral("")] = ""
    """Address of the server, such as ``http://localhost:8000/v1``. Empty: OpenAI's own."""
    api_key_env: Annotated[Text, CHAT] = "OPENAI_API_KEY"
    """Environment variable that holds the API key. The key itself is no setting and is never written."""
    chat_candidates: Annotated[Count, CHAT, Neutral(0)] = 0
    """Number of items to choose from in the question, by training popularity and co-occurrence. 0: no candidates."""
    chat_options: Annotated[dict[str, object], Form("a mapping, such as {temperature: 0}"), CHAT, Neutral({})] = field(
        default_factory=dict
    )
    """Parameters of a request, over ``{temperature: 0, max_tokens: 1024}``. An empty one is not sent."""
    json_mode: Annotated[Flag, CHAT, Neutral(False)] = False
    """Ask for ``response_format: json_object``. Where a server refuses it, go on without."""
    fuzzy_threshold: Annotated[float, Ge(0), Le(100), CHAT] = 90
    """Lowest similarity, from 0 to 100, at which a title of an answer counts as that of an item."""
    concurrency: Annotated[int, Ge(1), Le(10_000), CHAT] = 8
    """Number of requests under way at a time."""
    request_attempts: Annotated[Positive, CHAT] = 6
    """Attempts of a request before the run stops."""
    request_timeout: Annotated[AtLeast0, CHAT] = 120.0
    """Seconds until an attempt is given up."""
    retry_wait: Annotated[AtLeast0, CHAT] = 1.0
    """Seconds before the first repetition; each further wait is twice as long."""
    chat_cache: Annotated[Text, CHAT] = "chat_cache"
    """Folder of answers. A request whose answer is there is not sent."""
    input_price: Annotated[AtLeast0, CHAT, Neutral(0)] = 0.0
    """Price of a million input tokens, in any currency."""
    output_price: Annotated[AtLeast0, CHAT, Neutral(0)] = 0.0
    """Price of a million output tokens. Where both prices are 0, no cost is reported."""

    def __post_init__(self):
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,62}", self.api_key_env):
            # the value may be a key, of which some are of small letters: it must not come into a log
            raise GenRecError(
                "'api_key_env' must be the name of an environment variable, in capitals, not the key itself."
            )
        self._check_address()
        object.__setattr__(self, "chat_options", {"temperature": 0, "max_tokens": 1024, **self.chat_options})
        for key in ("model", "messages", "response_format", "stream", "n"):
            if key in self.chat_options:
                raise GenRecError(f"'chat_options' cannot hold {key!r}, which PromptLLM sets itself.")
        for key in self.chat_options:
            if key.lower().replace("-", "_") in SECRET_OPTIONS:
                raise GenRecError(f"'chat_options' cannot hold {shown(key)}: the key comes from 'api_key_env'.")
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


@group
class Seq2SeqArguments(Arguments):
    """How GenRecSeq2Seq (Cao & Lio 2024) masks, what it adds to its tokens, and in which stages it trains."""

    models: ClassVar[tuple] = ("GenRecSeq2Seq",)

    train_stage: Literal["pretrain", "finetune", "both"] = "both"
    """``pretrain`` on masked items, ``finetune`` on next items, or ``both``, one after the other."""
    pretrain_epochs: Annotated[Positive, Needs("train_stage", "pretrain", "both")] = 15
    """Epochs of pretraining. ``epochs`` are those of fine-tuning."""
    pretrained_checkpoint: Text = ""
    """``finetune``: checkpoint folder of a pretraining to start from. Empty: none."""
    mask_ratio: Annotated[Share, Needs("train_stage", "pretrain", "both")] = 0.5
    """Share of a sequence's items that pretraining masks; at least one item is masked."""
    mask_span: Annotated[float, Ge(1), Le(1_000_000), Needs("train_stage", "pretrain", "both")] = 1.0
    """Mean length of a run of neighbouring items that are masked together."""
    mask_last: Annotated[Share, Needs("train_stage", "pretrain", "both")] = 0.3
    """Probability that the last item is masked."""
    mask_pointer: Flag = True
    """Add the encoder's state of the mask that is asked for to the decoder's start token."""
    user_embedding: Flag = True
    """A vector of the user on the tokens that name it."""
    item_id_embedding: Flag = True
    """A vector of the item on its tokens."""
    position_embedding: Flag = True
    """A vector for the position of every token."""
    attribute_fields: Texts = ()
    """``.item`` columns of categories. An item's tokens get a vector for each value."""

    def __post_init__(self):
        if self.pretrained_checkpoint and self.train_stage != "finetune":
            raise GenRecError(
                f"'pretrained_checkpoint' is where 'train_stage: finetune' starts, not {shown(self.train_stage)}."
            )
        if self.mask_ratio and not self.mask_pointer:
            raise GenRecError("'mask_pointer: false' cannot tell masks apart: it takes 'mask_ratio: 0', one mask.")


@group
class TigerArguments(Arguments):
    """How TIGER (Rajput et al. 2023) names users."""

    models: ClassVar[tuple] = ("TIGER",)

    user_tokens: Annotated[int, Ge(0), Le(1_000_000)] = 2000
    """Number of tokens that users are hashed into; one begins each prompt. 0: prompts have no user."""


@group
class TALLRecArguments(Arguments):
    """What TALLRec (Bao et al. 2023) asks about a candidate, and how many answers it learns from."""

    models: ClassVar[tuple] = ("TALLRec",)

    yes_no_prompt: Text = "tallrec"
    """Name of a yes-or-no prompt in ``properties/yes_no``, or the path of a YAML file."""
    history_items: Positive = 10
    """Newest items of a history that a prompt names, liked or disliked; at most ``MAX_ITEM_LIST_LENGTH``."""
    few_shot: Count = 0
    """Training examples, drawn by the seed: the paper takes 16, 64 or 256. 0: all."""


@group
class UniTRecArguments(Arguments):
    """How UniTRec (Mao et al. 2023) reads a history, what it compares a target with, and by what it ranks."""

    models: ClassVar[tuple] = ("UniTRec",)

    local_layers: Count = 1
    """First layers of the encoder in which a token sees its own item alone: the paper takes 3 of BART-base's 6."""
    train_negatives: Positive = 4
    """Items, drawn by the seed of those that the user has not interacted with, that a target is compared with."""
    perplexity_weight: AtLeast0 = 1.0
    """Weight of the loss of the texts' likelihood, beside that of the discriminative scores, which has weight 1."""
    rank_by: Literal["mean_rank", "sum", "discriminative", "perplexity"] = "mean_rank"
    """``mean_rank``: the mean of the ranks by both scores. ``sum``: the sum of both scores. Or one score alone."""


@group
class BSARecArguments(Arguments):
    """BSARec's filter of frequencies (Shin et al. 2024), and how it is trained."""

    models: ClassVar[tuple] = ("BSARec",)

    frequency_weight: Annotated[float, Ge(0), Le(1)] = 0.7
    """Weight of the filter of frequencies in a layer; the rest is attention's. The paper's alpha."""
    low_frequencies: Annotated[int, Ge(1), Le(1_000_000)] = 5
    """Number of low components of a window that the filter leaves as they are: the paper's c, which is odd there."""
    train_on: Literal["all", "last"] = "all"
    """``all`` positions of a history at once. ``last``: the authors' way, one window for each target."""


@group
class HSTUArguments(Arguments):
    """What HSTU (Zhai et al. 2024) knows of time, and how it compares states with items."""

    models: ClassVar[tuple] = ("HSTU",)

    time_bias: Literal["none", "gap", "request_time"] = "gap"
    """Attention by the time between an item and the last known one (``gap``) or the asked moment (``request_time``)."""
    similarity: Literal["dot", "cosine"] = "dot"
    """Compare states and item vectors by their product, or both at length 1, divided by ``temperature``."""
    temperature: Annotated[float, Gt(0), Le(1_000), Needs("similarity", "cosine")] = 0.05
    """Divisor of the cosine."""
