"""The result of a run: the one description of its JSON, which the runner writes and everything else reads."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from recbole_genrec.config.arguments import ContextArguments, HSTUArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.json_model import Checked, JSONModel, read_model
from recbole_genrec.files.plain import plain
from recbole_genrec.files.write import write_text

#: by name, such as ``ndcg@10``.
Metrics = dict[str, float]


class EvalArgs(JSONModel):
    """What every reader of a configuration's ``eval_args`` needs."""

    mode: str | dict[str, str]
    split: dict[str, Any]


class RunSettings(JSONModel):
    """What every reader of a configuration needs; the others of its keys may be anything."""

    eval_args: EvalArgs
    epochs: int
    topk: int | list[int]


class GenerationCounts(JSONModel):
    """What a generative model counted while it ranked, as far as reports show it."""

    valid_share: float = 0.0
    grounding: dict[str, Any] = {}


class Epoch(JSONModel):
    """An epoch of the curve, from 1; 0: a model that is not trained."""

    epoch: int
    train_loss: float | None = None
    train_seconds: float | None = None
    valid_seconds: float | None = None
    valid_result: Metrics | None = None


class Seconds(JSONModel):
    """Where the time went."""

    data: float | None = None
    train: float
    validation: Annotated[float | None, Field(alias="validate")] = None
    test: float | None = None
    total: float


class Users(JSONModel):
    """How many users were tested and validated, and how many there are."""

    evaluated: int
    validated: int | None = None
    of: int


class Parameters(JSONModel):
    """Weights of the model."""

    total: int
    trainable: int | None = None


class Hardware(JSONModel):
    """The device of a run, and how many CPU cores and threads stood behind it."""

    device: str
    name: str
    cpu_count: int | None
    threads: int


class RunResult(JSONModel):
    """The JSON of a run, keys in their order. Earlier versions did not write what has a default here."""

    model: str
    dataset: str
    seed: int
    #: of validation; ``None`` where there was none.
    best_valid_score: float | None = None
    best_valid_result: Metrics | None
    valid_metric: str
    valid_score_bigger: bool | None = None
    test_result: Metrics
    #: the interval of every metric's mean, lower and upper end.
    test_interval: dict[str, list[float]] = {}
    users: Users | None = None
    #: whether the outcomes of the test lie beside the JSON, ``.npz``.
    outcomes: bool | None = None
    generation: Annotated[dict[str, Any], Checked(GenerationCounts)] | None = None
    #: what the indexing made of the catalogue.
    identifiers: dict[str, Any] = {}
    #: the test of cold items, see :func:`~recbole_genrec.evaluation.cold_test.evaluate_cold`.
    cold: dict[str, Any] = {}
    epochs: int
    curve: list[Epoch] = []
    seconds: Seconds
    users_per_second: float
    parameters: Parameters
    #: by task and kind of prompt, the metrics of P5's and PromptLLM's tasks, and of wordings held out of training.
    tasks: dict[str, Any] = {}
    #: of PromptLLM's chat, requests and tokens.
    usage: dict[str, Any] = {}
    checkpoint: str | None = None
    config: Annotated[dict[str, Any], Checked(RunSettings)]
    versions: dict[str, str | None]
    processes: int = 1
    hardware: Hardware
    #: of a run whose checkpoint was tested again: the settings that changed, and where it was tested.
    tested_again: dict[str, Any] | None = None

    @property
    def list_length(self):
        """The longest of the lists that were measured."""
        topk = self.config["topk"]
        return topk if isinstance(topk, int) else max(topk)

    @property
    def knows_request(self):
        """Whether the model knew the moment of the request, in the test the time of the target itself."""
        named = []
        if self.model in ContextArguments.models:
            named.append(self.config.get("context"))
        if self.model in HSTUArguments.models:
            named.append(self.config.get("time_bias"))
        return any("request_time" in value for value in named if isinstance(value, (str, list)))

    def changed(self, **values):
        """The result with other values, each as its field holds it."""
        return type(self).model_validate(self.content() | plain_parts(values))

    def write(self, folder):
        """Write ``<model>-<dataset>-<seed>.json``; an earlier one of the same name is replaced."""
        path = result_file(folder, self.model, self.content(), "json")
        write_text(path, json.dumps(plain(self.content()), indent=2) + "\n")


class FailedRun(JSONModel):
    """The JSON of a run that failed."""

    model: str
    dataset: str
    seed: int
    error: str
    exit_code: int | None = None
    traceback: str | None = None
    config: dict[str, Any] = {}

    def write(self, path):
        """Write it; an earlier one is replaced."""
        write_text(path, json.dumps(plain(self.content()), indent=2) + "\n")


def plain_parts(values):
    """Values of a result's fields, by name, as JSON holds them."""
    return {name: value.content() if isinstance(value, JSONModel) else plain(value) for name, value in values.items()}


def result_file(folder, models, result, ending):
    """Path of a run's file, ``<model>-<dataset>-<seed>.<ending>``; ``result`` names dataset and seed by key."""
    return Path(folder) / f"{models}-{result['dataset']}-{result['seed']}.{ending}"


def read_json(path):
    """Read a JSON file.

    Raises:
        GenRecError: it is none.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # wrong JSON or no UTF-8; a number or a depth beyond Python's limit
        raise GenRecError(f"{path} is not JSON: {error}.") from error


def read_run(path):
    """Read the result of a run, or of one that failed.

    Raises:
        GenRecError: it is no JSON, or looks different; the message names the file and the place in it.
    """
    return as_run(path, read_json(path))


def as_run(path, content):
    """What :func:`read_run` gives, of a file's JSON that was read already."""
    return read_model(FailedRun if is_failed(path) else RunResult, content, str(path))


def is_failed(path):
    """Whether a file tells of a run that failed."""
    return path.name.endswith(".failed.json")
