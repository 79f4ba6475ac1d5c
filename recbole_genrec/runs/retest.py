"""The model of a finished run, tested again under other settings of the evaluation; nothing is trained."""

from pathlib import Path
from time import perf_counter

from recbole.utils import init_seed

from recbole_genrec.checkpoint.folder import BUILT_FOR, is_checkpoint
from recbole_genrec.config.registry import get_trainer
from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.plain import plain
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.machine import hardware, versions
from recbole_genrec.runs.measure import measure_cold, measure_test, selected_by_validation
from recbole_genrec.runs.process import ready_cpu, recbole_logging
from recbole_genrec.runs.result import Seconds, read_run
from recbole_genrec.runs.run import build_model, test_tasks
from recbole_genrec.runs.stored_model import check_checkpoint, stored_config
from recbole_genrec.runs.summary import print_table


def retest(run, settings=None):
    """Validate and test the checkpoint of a run, also on the cold items that its training held out.

    The epoch stays the one that the run's own validation selected.

    Args:
        run: path of the run's JSON; its relative paths hold from the folder in which it was made.
        settings: those that change, some of :data:`~recbole_genrec.config.keys.TEST_KEYS`; of ``eval_args`` the
            ``mode`` alone. ``results_dir`` receives the JSON and the outcomes, by default ``again`` beside the run.

    Returns:
        The result: the run's, with what was measured now.

    Raises:
        GenRecError: the run has no checkpoint, or a file, key or value is not accepted.
    """
    path, changes = Path(run), dict(settings or {})
    stored = read_run(path)
    check_checkpoint(path, stored)
    config = stored_config(stored, changes)
    folder = Path(changes.get("results_dir", path.parent / "again"))
    if folder.resolve() == path.parent.resolve():
        raise GenRecError(f"'results_dir' must be another folder than {str(path.parent)!r}, where the run lies.")
    started = perf_counter()
    with recbole_logging(config):
        ready_cpu(config)
        asked = plain(config.final_config_dict)
        if is_checkpoint(stored.checkpoint):  # its prompts may name columns of the data
            config[BUILT_FOR] = stored.checkpoint
        data = SplitData([config])
        trainer, valid_data, test_data = _prepare(config, data)
        selected_by = getattr(trainer, "selects_by", None)
        validated, validation = _validate(trainer, valid_data, path, stored.checkpoint)
        tested = measure_test(trainer, data, test_data, checkpoint=stored.checkpoint)
        tested.write_outcomes(folder, config)
        tasks = test_tasks(trainer, data, test_data, tested.metrics)
        cold = measure_cold(trainer, data)
    seconds = {"data": data.seconds, "train": stored.seconds.train, "validate": validation, "test": tested.seconds}
    # a checkpoint does not know how many titles collided
    identifiers = {"identifiers": stored.identifiers} if stored.identifiers else {}
    result = stored.changed(
        **tested.fields() | identifiers,
        **selected_by_validation(
            config, validated[selected_by or config["valid_metric"].lower()], validated, selected_by
        ),
        curve=[_without_validation(epoch) for epoch in stored.curve],
        cold=cold,
        tasks=tasks,
        users_per_second=(len(data.parts[1]) + len(data.parts[2])) / (validation + tested.seconds),
        seconds=Seconds(**seconds, total=perf_counter() - started),
        tested_again=_again(stored, changes, config["device"]),
        config=asked,
    )
    result.write(folder)
    print_table([result])
    return plain(result.content())


def _prepare(config, data):
    """The trainer of a run's model, whose weights are not loaded yet, and loaders of validation and test."""
    valid_data, test_data = (data.evaluation_loader(config, phase) for phase in ("valid", "test"))
    init_seed(config["seed"], config["reproducibility"])
    model = build_model(config, data)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"], current().size)(config, model)
    trainer.tensorboard.close()
    return trainer, valid_data, test_data


def _validate(trainer, valid_data, path, checkpoint):
    """Metrics of a checkpoint's validation, and the seconds that it took."""
    started = perf_counter()
    try:
        metrics = dict(trainer.evaluate(valid_data, True, checkpoint, trainer.config["show_progress"]))
        if hasattr(trainer, "measure_beside"):
            metrics |= trainer.measure_beside(valid_data)
    except RuntimeError as error:
        if "state_dict" not in str(error):
            raise
        raise GenRecError(
            f"The checkpoint {checkpoint!r} does not fit the model of {path}: data or settings have changed."
        ) from error
    return plain(metrics), perf_counter() - started


def _without_validation(epoch):
    return {key: value for key, value in epoch.content().items() if key != "valid_result"}


def _again(stored, changes, device):
    """What a result says of its second test: the run's own versions and hardware are those of its training."""
    replaced = {key: stored.config.get(key) for key in changes if key not in ("results_dir", "data_path")}
    return {"instead_of": replaced, "versions": versions(), "hardware": hardware(device)}
