"""The model of a finished run, tested again under other settings of the evaluation; nothing is trained."""

from pathlib import Path
from time import perf_counter

from recbole.utils import init_seed

from recbole_genrec.checkpoint.folder import BUILT_FOR, is_checkpoint
from recbole_genrec.config.arguments.schema import all_settings
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.keys import known_keys
from recbole_genrec.config.registry import get_model, get_trainer
from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError, unknown_name
from recbole_genrec.evaluation.confidence import RowMetrics
from recbole_genrec.files.plain import plain
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.process import ready_cpu, recbole_logging
from recbole_genrec.runs.result import check_run, hardware, read_json, versions, write_result
from recbole_genrec.runs.run import build_model, measure_test
from recbole_genrec.runs.summary import print_table

#: settings that may be others than in training: they say which lists a model makes and how they are measured.
TEST_KEYS = (
    ("repeatable", "eval_args", "metrics", "topk", "valid_metric", "metric_decimal_place", "eval_users", "valid_users")
    + ("decoding", "num_beams", "node_budget", "eval_batch_size", "data_path", "results_dir", "trust_remote_code")
    + ("gpu_id", "use_gpu", "show_progress", "state", "tune_malloc")
)
#: settings that name files which training has read: a test has what it needs of them in the checkpoint.
_TRAINING_FILES = ("prompt", "task_prompts", "item_index", "warm_start", "pretrained_checkpoint")
#: what RecBole makes of other settings, and what only the one who starts a test may say.
_NOT_TAKEN = frozenset(("train_neg_sample_args", "valid_neg_sample_args", "test_neg_sample_args", "device"))
_NOT_TRUSTED = frozenset(("trust_remote_code",))


def retest(run, settings=None):
    """Validate and test the checkpoint of a run.

    The epoch stays the one that the run's own validation selected.

    Args:
        run: path of the run's JSON; its relative paths hold from the folder in which it was made.
        settings: those that change, some of :data:`TEST_KEYS`; of ``eval_args`` the ``mode`` alone.
            ``results_dir`` receives the JSON and the outcomes, by default ``again`` beside the run.

    Returns:
        The result: the run's, with what was measured now.

    Raises:
        GenRecError: the run has no checkpoint, or a file, key or value is not accepted.
    """
    path, changes = Path(run), dict(settings or {})
    stored = read_json(path)
    check_run(path, stored)
    checkpoint = stored.get("checkpoint")
    if not isinstance(checkpoint, str):
        raise GenRecError(f"{path} names no checkpoint: its run kept none.")
    if not Path(checkpoint).exists():
        raise GenRecError(f"The checkpoint of {path}, {checkpoint!r}, is not there, seen from {str(Path.cwd())!r}.")
    config = _config(stored, changes)
    folder = Path(changes.get("results_dir", path.parent / "again"))
    if folder.resolve() == path.parent.resolve():
        raise GenRecError(f"'results_dir' must be another folder than {str(path.parent)!r}, where the run lies.")
    started = perf_counter()
    with recbole_logging(config):
        ready_cpu(config)
        asked = plain(config.final_config_dict)
        data = SplitData([config])
        valid_data, test_data = (data.evaluation_loader(config, phase) for phase in ("valid", "test"))
        init_seed(config["seed"], config["reproducibility"])
        if is_checkpoint(checkpoint):
            config[BUILT_FOR] = checkpoint
        model = build_model(config, data)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"], current().size)(config, model)
        trainer.tensorboard.close()
        rows, begun = RowMetrics(trainer.evaluator), perf_counter()
        try:
            validated = plain(trainer.evaluate(valid_data, True, checkpoint, config["show_progress"]))
        except RuntimeError as error:
            if "state_dict" not in str(error):
                raise
            raise GenRecError(
                f"The checkpoint {checkpoint!r} does not fit the model of {path}: data or settings have changed."
            ) from error
        validation = perf_counter() - begun
        tested, seconds = measure_test(config, data, test_data, trainer, rows, folder, True, checkpoint)
    result = {
        **stored,
        **tested,
        "identifiers": stored.get("identifiers", tested["identifiers"]),  # a checkpoint does not know its collisions
        "best_valid_result": validated,
        "best_valid_score": validated[config["valid_metric"].lower()],
        "valid_metric": config["valid_metric"],
        "curve": [{key: epoch[key] for key in epoch if key != "valid_result"} for epoch in stored.get("curve", [])],
        "cold": {},
        "tasks": {},
        "users_per_second": (len(data.parts[1]) + len(data.parts[2])) / (validation + seconds),
        "seconds": {"data": data.seconds, "train": stored["seconds"]["train"], "validate": validation, "test": seconds}
        | {"total": perf_counter() - started},
        # the run's own versions and hardware are those of its training
        "tested_again": {
            "instead_of": {
                key: stored["config"].get(key) for key in changes if key not in ("results_dir", "data_path")
            },
            "versions": versions(),
            "hardware": hardware(config["device"]),
        },
        "config": asked,
    }
    write_result(folder, result)
    print_table([result])
    return result


def _config(run, changes):
    for key, value in changes.items():
        if key not in TEST_KEYS:
            raise unknown_name("setting of a test", key, TEST_KEYS)
        if key == "eval_args" and (not isinstance(value, dict) or set(value) != {"mode"}):
            raise GenRecError("Of 'eval_args' a test takes the 'mode' alone: the split is that of the training.")
    stored, dataset = run["config"], run["dataset"]
    known = (
        known_keys([get_model(run["model"])], dataset) | all_settings().keys()
    )  # those of the run's other models, too
    known -= _NOT_TAKEN | _NOT_TRUSTED | {"model", "dataset"}
    settings = {key: value for key, value in stored.items() if key in known}
    settings["eval_args"] = stored["eval_args"] | changes.get("eval_args", {})
    settings |= {key: value for key, value in changes.items() if key != "eval_args"}
    if "valid_metric" not in changes and {"metrics", "topk"} & changes.keys():
        settings.pop("valid_metric", None)  # the default, or the last of the new ones
    if "data_path" not in changes:
        folder = Path(str(stored.get("data_path")))  # to which RecBole has added the dataset's name
        settings["data_path"] = str(folder.parent if folder.name == dataset else folder)
    left_out = {key: settings.pop(key) for key in _TRAINING_FILES if key in settings}
    config = GenRecConfig(run["model"], dataset, config_dict=settings)
    config.final_config_dict.update(left_out)
    return config
