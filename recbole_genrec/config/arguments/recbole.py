"""RecBole's own settings that a run can read, and the runner's: types and bounds that RecBole itself does not check.

RecBole reads a misspelt nested key as absent and many a wrong value as another one; here each is described once, as the
plugin's own are. Lines of RecBole are those of 1.2.1.
"""

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from recbole_genrec.config.arguments.base import Needs, Neutral, Reads, Settings, group
from recbole_genrec.config.arguments.shared import ALL_POSITIONS, TRAINED
from recbole_genrec.config.arguments.types import (
    Above0,
    AtLeast0,
    Count,
    Encoding,
    Flag,
    Form,
    Interval,
    Names,
    Positive,
    Text,
)

#: the models that keep to RecBole's trainer and loaders, in place of the generative models' own.
RECBOLE = "RecBole"
NESTED = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
#: in how many decimal places RecBole may round.
Places = Annotated[int, Ge(0), Le(15)]
Separator = Annotated[str, MinLen(1), Form("text of at least one character")]
FieldName = Annotated[str, MinLen(1), Form("the name of a column")]
#: files by suffix, and the columns of each.
Columns = Annotated[
    dict[str, list[str] | Literal["*"]] | None,
    Form("a mapping of files to lists of columns, such as {inter: [user_id, item_id]}, or empty"),
]
ColumnLists = Annotated[
    dict[str, list[str]] | None,
    Form("a mapping of files to lists of columns, such as {inter: [rating]}, or empty"),
]
MODE = "full, labeled, or uni or pop with a number of candidates, such as uni100"
Mode = Annotated[str, Field(pattern=r"^(full|labeled|(uni|pop)[1-9][0-9]{0,8})$"), Form(MODE)]
Parts = Annotated[list[Annotated[float, Ge(0)]], MinLen(3), MaxLen(3), Form("three numbers, such as [0.8, 0.1, 0.1]")]


class Modes(BaseModel):
    """``eval_args: mode``: the candidates of validation and of the test."""

    model_config = NESTED

    valid: Mode = "full"
    test: Mode = "full"


class Split(BaseModel):
    """``eval_args: split``: one way to split, for validation and test each at least a row."""

    model_config = NESTED

    LS: Literal["valid_and_test"] | None = None
    RS: Parts | None = None
    TS: Parts | None = None

    @model_validator(mode="after")
    def _one_way(self):
        given = [value for value in (self.LS, self.RS, self.TS) if value is not None]
        if len(given) != 1 or not (given[0] == "valid_and_test" or sum(given[0])):
            raise ValueError("one way to split")
        return self


def _both_phases(value):
    return {"valid": value, "test": value} if isinstance(value, str) else value


class EvalArgs(BaseModel):
    """``eval_args``: how interactions are split, and what a user's list is made of."""

    model_config = NESTED

    split: Annotated[
        Split, Form("{LS: valid_and_test}, or {RS: ...} or {TS: ...} with three numbers, such as [0.8, 0.1, 0.1]")
    ] = Split(LS="valid_and_test")
    group_by: Annotated[Literal["user", "none"] | None, Form("user or none")] = "user"
    order: Annotated[Literal["TO"], Form("TO, the order of time: histories have no other")] = "TO"
    mode: Annotated[Modes, BeforeValidator(_both_phases), Form(f"{MODE}; or {{valid: ..., test: ...}}")] = Modes()


class NegativeSampling(BaseModel):
    """``train_neg_sample_args``: negatives of a loss that is not a cross-entropy."""

    model_config = NESTED

    distribution: Annotated[Literal["uniform", "popularity"] | None, Form("uniform or popularity, or empty")] = (
        "uniform"
    )
    sample_num: Positive = 1
    alpha: AtLeast0 = 1.0
    dynamic: Flag = False
    candidate_num: Count = 0


class Clipping(BaseModel):
    """``clip_grad_norm``: arguments of torch's ``clip_grad_norm_``."""

    model_config = NESTED

    max_norm: Above0
    norm_type: Annotated[float, Ge(1)] = 2.0
    error_if_nonfinite: Flag = False


@group
class RunnerSettings(Settings):
    """What the runner adds to RecBole: how data are read, evaluated and stored."""

    model: Annotated[str | None, Form("the name of a model, or several with commas between them")] = "GenRec"
    """Model to run, or several with commas between them."""
    dataset: Annotated[str | None, Form("the name of a dataset")] = None
    """Folder of atomic files below ``data_path``; ml-100k comes with RecBole."""
    config_files: Text = ""
    """YAML files with spaces between them. Later files override earlier ones."""
    results_dir: Text = "results"
    """Folder of the results: one JSON for each model, and the table as Markdown."""
    tune_malloc: Flag = True
    """On a CPU with glibc, keep freed memory in the process: a third faster or more."""
    lazy_windows: Flag = True
    """Gather histories when a batch is made. ``false``: RecBole writes them all out first."""
    eval_users: Annotated[Positive | None, Form("a positive whole number, or empty for all users")] = None
    """Validate and test on a seeded sample of this many users. Empty: on all."""
    valid_users: Annotated[Positive | None, Form("a positive whole number, or empty for all users")] = None
    """Validate on a seeded sample of this many of these users. Empty: on all."""
    sample_users: Annotated[Positive | None, Form("a positive whole number, or empty for all users")] = None
    """Train, validate and test on a seeded sample of this many users, as if there were no others. Empty: on all."""
    cold_items: Annotated[float, Ge(0), Le(0.5), Form("a share from 0 to 0.5")] = 0
    """Share of the items that training never sees, with a test of their own."""
    keep_unseen_items: Flag = False
    """Keep every item of ``.item`` in the catalogue. ``false``: leave out those without an interaction."""


@group
class EnvironmentSettings(Settings):
    """Where and how a run takes place."""

    gpu_id: Annotated[int | str, Form("the number of a GPU, or several with commas between them")] = "0"
    """GPUs that the process may use."""
    use_gpu: Flag = True
    """Whether to use a GPU."""
    worker: Annotated[int, Ge(0), Le(1_000), Reads(RECBOLE)] = 0
    """Processes that prepare training batches."""
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 2020
    """Seed of all random numbers."""
    state: Annotated[str, Form("debug, info, warning, error or critical")] = "INFO"
    """Level of the log."""
    reproducibility: Flag = True
    """Choose kernels that give the same result each time."""
    data_path: Text = "dataset/"
    """Folder of the datasets' folders."""
    checkpoint_dir: Text = "saved"
    """Folder of the checkpoints."""
    show_progress: Flag = True
    """Show progress bars."""
    log_wandb: Flag = False
    """Log to Weights & Biases."""
    wandb_project: Annotated[Text, Needs("log_wandb", True)] = "recbole"
    """Project at Weights & Biases."""
    shuffle: Flag = True
    """Shuffle the training data before each epoch."""


@group
class TrainingSettings(Settings):
    """How models are trained."""

    epochs: Annotated[Count, Reads(RECBOLE, *TRAINED, *ALL_POSITIONS)] = 300
    """Epochs of training."""
    train_batch_size: Annotated[
        Positive,
        Reads(RECBOLE, *TRAINED, *ALL_POSITIONS),
        Needs("train_batch_tokens", 0, models=("GenRecSeq2Seq", "TIGER")),
        Needs("train_batch_tokens", 0, models=("GenRec",), when=("packing", True)),
    ] = 2048
    """Rows of a training batch; of packed or sequence training, windows."""
    learner: Annotated[
        Literal["adam", "adamw", "sgd", "adagrad", "rmsprop"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
        Reads(RECBOLE, *TRAINED, *ALL_POSITIONS),
    ] = "adam"
    """Optimizer. RecBole's ``sparse_adam`` takes sparse gradients, which no model of the runner has."""
    learning_rate: Annotated[AtLeast0, Reads(RECBOLE, *ALL_POSITIONS)] = 1e-3
    """Learning rate of the optimizer."""
    weight_decay: Annotated[AtLeast0, Reads(RECBOLE, *ALL_POSITIONS)] = 0.0
    """Weight decay of the optimizer."""
    train_neg_sample_args: Annotated[
        NegativeSampling | None,
        Form("a mapping, such as {distribution: uniform, sample_num: 1}, or empty"),
        Reads(RECBOLE),
        Neutral(None),
    ] = None
    """Negative sampling of losses other than the cross-entropy. Empty: of a general model, RecBole's own."""
    eval_step: Count = 1
    """Epochs between validations. 0: no validation."""
    stopping_step: Annotated[Count, Reads(RECBOLE, *TRAINED, *ALL_POSITIONS)] = 10
    """Validations without a better one after which training stops."""
    clip_grad_norm: Annotated[
        Clipping | None,
        Form("a mapping, such as {max_norm: 1.0}, or empty"),
        Reads(RECBOLE, *TRAINED, *ALL_POSITIONS),
        Neutral(None),
    ] = None
    """Largest norm of the gradient."""
    loss_decimal_place: Places = 4
    """Decimal places of the training loss in the log."""
    enable_amp: Annotated[
        Flag,
        Reads(RECBOLE, *TRAINED, *ALL_POSITIONS),
        Neutral(False),
        Needs("precision", "fp32", models=TRAINED),
    ] = False
    """Mixed precision. Of a generative model: fp16 on a GPU, bf16 on a CPU; ``precision`` says it directly."""
    enable_scaler: Annotated[Flag, Reads(RECBOLE, *ALL_POSITIONS), Neutral(False)] = False
    """Scale the loss in mixed precision."""
    require_pow: Annotated[Flag, Reads(RECBOLE)] = False
    """Raise norms to their power in an embedding loss."""
    transform: Annotated[
        Literal["mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq"] | None, Reads(RECBOLE)
    ] = None
    """Transform of training batches."""


@group
class EvaluationSettings(Settings):
    """How models are validated and tested."""

    eval_args: Annotated[EvalArgs, Form("a mapping with split, group_by, order and mode")] = field(
        default_factory=EvalArgs
    )
    """Split, grouping, order and candidates."""
    repeatable: Flag = True
    """Rank items the user has interacted with before, as RecBole does with histories. ``false``: leave them out."""
    metrics: Annotated[str | Annotated[list[str], MinLen(1)], Form("text or a list of texts")] = ("Hit", "NDCG")
    """Metrics of validation and test."""
    topk: Annotated[
        Positive | Annotated[list[Positive], MinLen(1)],
        Form("a whole number of at least 1, or a list of some"),
    ] = (5, 10, 20)
    """Lengths of the evaluated lists."""
    valid_metric: Text = "NDCG@10"
    """Metric that selects the best epoch."""
    valid_metric_bigger: Flag = True
    """Whether a larger value of it is better; follows from the metric."""
    eval_batch_size: Positive = 4096
    """Users, or rows of candidates, that are evaluated at a time."""
    metric_decimal_place: Places = 4
    """Decimal places of the metrics."""
    tail_ratio: Annotated[float, Ge(0), Form("a number of at least 0")] = 0.1
    """``TailPercentage``: share of the items, or largest number of interactions, of the long tail."""


@group
class DataSettings(Settings):
    """What is read of the atomic files, and what is left out."""

    encoding: Annotated[Encoding | None, Form("the name of an encoding, such as 'utf-8'")] = "utf-8"
    """Encoding of the atomic files."""
    field_separator: Separator = "\t"
    """Separator of the columns."""
    seq_separator: Separator = " "
    """Separator within the columns of lists."""
    USER_ID_FIELD: FieldName = "user_id"
    """Column of users."""
    ITEM_ID_FIELD: FieldName = "item_id"
    """Column of items."""
    RATING_FIELD: FieldName = "rating"
    """Column of ratings."""
    TIME_FIELD: FieldName = "timestamp"
    """Column of times."""
    LABEL_FIELD: FieldName = "label"
    """Column of labels, for ``mode: labeled``."""
    NEG_PREFIX: FieldName = "neg_"
    """Prefix of the columns of negative samples."""
    ITEM_LIST_LENGTH_FIELD: FieldName = "item_length"
    """Column of the histories' lengths."""
    LIST_SUFFIX: FieldName = "_list"
    """Suffix of the columns of histories."""
    POSITION_FIELD: FieldName = "position_id"
    """Column of the positions in a history."""
    MAX_ITEM_LIST_LENGTH: Annotated[int, Ge(1), Le(10_000_000)] = 50
    """Longest history, in items. Packed training of GenRec on texts is bounded by ``max_prompt_tokens`` instead."""
    seq_len: Annotated[dict[str, Positive] | None, Form("a mapping of columns to lengths, or empty")] = None
    """Longest list of each column of lists."""
    threshold: Annotated[
        Annotated[dict[str, float], MinLen(1), MaxLen(1)] | None, Form("a mapping of one column to a number, or empty")
    ] = None
    """The label of an interaction is 1 where this column has at least this number."""
    load_col: Columns = None
    """Columns to load of each file. Empty: all of every file."""
    unload_col: ColumnLists = None
    """Columns of each file that are not loaded."""
    unused_col: ColumnLists = None
    """Columns of each file that are loaded, and dropped once the filters have used them."""
    additional_feat_suffix: Annotated[str | list[str] | None, Form("a list of suffixes, or empty")] = None
    """Suffixes of further atomic files to load."""
    rm_dup_inter: Annotated[Literal["first", "last"] | None, Form("first or last, or empty")] = None
    """Of several interactions of a user with an item, keep the first or the last. Empty: all."""
    val_interval: Annotated[
        dict[str, Interval | list[str | float]] | None,
        Form("a mapping of columns to intervals such as '[3,inf)', or to lists of tokens; or empty"),
    ] = None
    """Keep the rows whose columns lie in these intervals."""
    filter_inter_by_user_or_item: Flag = True
    """Drop interactions of users and items that other files do not have."""
    user_inter_num_interval: Annotated[Interval | None, Form("an interval such as '[5,inf)', or empty")] = "[0,inf)"
    """Keep users with so many interactions."""
    item_inter_num_interval: Annotated[Interval | None, Form("an interval such as '[5,inf)', or empty")] = "[0,inf)"
    """Keep items with so many interactions."""
    alias_of_user_id: Annotated[Names | None, Form("a list of columns, or empty")] = None
    """Columns that share the numbering of users."""
    alias_of_item_id: Annotated[Names | None, Form("a list of columns, or empty")] = None
    """Columns that share the numbering of items."""
    alias_of_entity_id: Annotated[Names | None, Form("a list of columns, or empty")] = None
    """Columns that share the numbering of entities."""
    alias_of_relation_id: Annotated[Names | None, Form("a list of columns, or empty")] = None
    """Columns that share the numbering of relations."""
    preload_weight: Annotated[
        dict[str, str] | None, Form("a mapping of columns of ids to columns of vectors, or empty")
    ] = None
    """Columns of vectors to load for columns of ids."""
    normalize_field: Annotated[Names | None, Form("a list of columns, or empty")] = None
    """Columns of numbers that are normalised."""
    normalize_all: Annotated[Flag | None, Form("true or false, or empty")] = None
    """Normalise all columns of numbers."""
    discretization: Annotated[dict[str, object] | None, Form("a mapping of columns to methods, or empty")] = None
    """Columns of numbers that become tokens."""
    numerical_features: Annotated[Names, Form("a list of columns"), Reads(RECBOLE)] = ()
    """Columns of numbers that are embedded."""
    benchmark_filename: Annotated[
        list[str] | None, MinLen(3), MaxLen(3), Form("a list of three suffixes, such as [train, valid, test], or empty")
    ] = None
    """Suffixes of ``.inter`` files that are split already."""
    HEAD_ENTITY_ID_FIELD: FieldName = "head_id"
    """Knowledge graph: column of heads."""
    TAIL_ENTITY_ID_FIELD: FieldName = "tail_id"
    """Knowledge graph: column of tails."""
    RELATION_ID_FIELD: FieldName = "relation_id"
    """Knowledge graph: column of relations."""
    ENTITY_ID_FIELD: FieldName = "entity_id"
    """Knowledge graph: column of entities."""
    kg_reverse_r: Flag = False
    """Knowledge graph: add the reverse of each relation."""
    entity_kg_num_interval: Annotated[Interval | None, Form("an interval such as '[5,inf)', or empty")] = "[0,inf)"
    """Knowledge graph: keep entities with so many triples."""
    relation_kg_num_interval: Annotated[Interval | None, Form("an interval such as '[5,inf)', or empty")] = "[0,inf)"
    """Knowledge graph: keep relations with so many triples."""
