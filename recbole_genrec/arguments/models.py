"""Settings of single models."""

import re
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urlsplit

from recbole_genrec.arguments.base import Arguments, at_least, flag, one_of, share, texts, whole
from recbole_genrec.errors import GenRecError, shown

#: P5's task families.
FAMILIES = ("sequential", "direct", "rating", "explanation", "review")

#: parameters of a request that would hold a secret; settings are kept with the results.
SECRET_OPTIONS = ("api_key", "apikey", "authorization", "token", "access_token", "password", "secret") + (
    "headers",
    "extra_headers",
)


@dataclass(frozen=True)
class GenRecArguments(Arguments):
    """What GenRec alone reads."""

    models: ClassVar[tuple] = ("GenRec",)

    #: the checkpoint folder of a GenRec on any dataset whose language model and item vectors training starts from.
    warm_start: str = ""


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
    #: test each family by itself after the test that ranks, with a prompt of the training and the one held out.
    test_tasks: bool = True
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
        for family, amount in self.tasks.items():
            one_of("tasks", family, FAMILIES)
            at_least(f"tasks: {family}", amount, 0)
        for key in ("examples_per_user", "max_target_tokens"):
            whole(key, getattr(self, key), 1)
        whole("n_candidates", self.n_candidates, 2)
        for key in ("whole_word_embedding", "test_tasks"):
            flag(key, getattr(self, key))


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
        one_of("ranking", self.ranking, ("scoring", "chat"))
        for key in ("few_shot", "chat_candidates"):
            whole(key, getattr(self, key), 0)
        for key in ("concurrency", "request_attempts"):
            whole(key, getattr(self, key), 1)
        for key in ("request_timeout", "retry_wait", "input_price", "output_price", "fuzzy_threshold"):
            at_least(key, getattr(self, key), 0)
        flag("json_mode", self.json_mode)
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
        one_of("train_stage", self.train_stage, ("pretrain", "finetune", "both"))
        if self.pretrained_checkpoint and self.train_stage != "finetune":
            raise GenRecError(
                f"'pretrained_checkpoint' is where 'train_stage: finetune' starts, not {shown(self.train_stage)}."
            )
        whole("pretrain_epochs", self.pretrain_epochs, 1)
        whole("targets_per_user", self.targets_per_user, 0)
        for key in ("mask_ratio", "mask_last"):
            share(key, getattr(self, key))
        at_least("mask_span", self.mask_span, 1)
        for key in ("mask_pointer", "user_embedding", "item_id_embedding", "position_embedding"):
            flag(key, getattr(self, key))
        if self.mask_ratio and not self.mask_pointer:
            raise GenRecError("'mask_pointer: false' cannot tell masks apart: it takes 'mask_ratio: 0', one mask.")
        texts("attribute_fields", self.attribute_fields)
        object.__setattr__(self, "attribute_fields", tuple(self.attribute_fields))
