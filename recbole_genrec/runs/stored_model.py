"""The model of a finished run, opened again: its configuration, its data and its weights."""

from contextlib import contextmanager
from pathlib import Path

from recbole.data.transform import construct_transform
from recbole.utils import init_seed

from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.checkpoint.folder import BUILT_FOR, is_checkpoint
from recbole_genrec.compat.torch_calls import load_pickle
from recbole_genrec.config.arguments.schema import all_settings
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.keys import known_keys
from recbole_genrec.config.registry import get_model
from recbole_genrec.config.sources import check_test
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.process import ready_cpu, recbole_logging
from recbole_genrec.runs.run import build_model

#: settings that name files which training has read: a test has what it needs of them in the checkpoint.
_TRAINING_FILES = ("prompt", "task_prompts", "item_index", "warm_start", "pretrained_checkpoint")
#: derived by RecBole from other settings, and settable only by the caller.
_NOT_TAKEN = frozenset(("train_neg_sample_args", "valid_neg_sample_args", "test_neg_sample_args", "device"))
_NOT_TRUSTED = frozenset(("trust_remote_code",))


def check_checkpoint(path, stored):
    """Refuse a run without a checkpoint.

    Args:
        path: of the run's JSON. stored: its result.

    Raises:
        GenRecError: the run kept none, or it is not there.
    """
    if stored.checkpoint is None:
        raise GenRecError(f"{path} names no checkpoint: its run kept none.")
    if not Path(stored.checkpoint).exists():
        where = f"seen from {str(Path.cwd())!r}"
        raise GenRecError(f"The checkpoint of {path}, {stored.checkpoint!r}, is not there, {where}.")


@contextmanager
def opened_model(path, stored, changes=None):
    """Open the model of a run with its data, for the length of a block; RecBole's log shows warnings alone.

    Args:
        path: of the run's JSON. stored: its result. changes: see :func:`stored_config`.

    Yields:
        The configuration, the :class:`~recbole_genrec.interactions.split.SplitData`, and the model, which evaluates. A
        model that is not trained needs no checkpoint.

    Raises:
        GenRecError: the run has no checkpoint, or it does not fit the data.
    """
    is_trained = getattr(get_model(stored.model), "is_trained", True)
    if is_trained:
        check_checkpoint(path, stored)
    config = stored_config(stored, changes or {})
    with recbole_logging(config, console=False):
        ready_cpu(config)
        if is_trained and is_checkpoint(stored.checkpoint):  # its prompts may name columns of the data
            config[BUILT_FOR] = stored.checkpoint
        data = SplitData([config])
        construct_transform(config)  # it tells the configuration what BERT4Rec reads when it is built
        init_seed(config["seed"], config["reproducibility"])
        model = build_model(config, data)
        if is_trained:
            load_weights(model, stored.checkpoint, path)
        model.eval()
        yield config, data, model


def load_weights(model, checkpoint, path, content=None):
    """Load the weights of a checkpoint of this package, or of RecBole's.

    Args:
        model: takes them.
        checkpoint: a folder, or a pickle.
        path: of the run's JSON, or of what was opened, for messages.
        content: of the pickle, where it has been read.

    Raises:
        GenRecError: they do not fit the model.
    """
    if is_checkpoint(checkpoint):
        load_checkpoint_into(model, checkpoint)
        return
    if content is None:
        content = load_pickle(checkpoint, map_location=next(model.parameters()).device)
    try:
        model.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise GenRecError(
            f"The checkpoint {checkpoint!r} does not fit the model of {path}: data or settings have changed."
        ) from error
    model.load_other_parameter(content.get("other_parameter"))


def stored_config(run, changes):
    """The configuration of a finished run, for its model built again.

    Args:
        run: :class:`~recbole_genrec.runs.result.RunResult`.
        changes: settings that change, some of :data:`~recbole_genrec.config.keys.TEST_KEYS`.

    Raises:
        GenRecError: a key or value is not accepted.
    """
    check_test(changes)
    stored, dataset = run.config, run.dataset
    known = known_keys([get_model(run.model)], dataset) | all_settings().keys()  # those of the run's other models, too
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
    config = GenRecConfig(run.model, dataset, config_dict=settings)
    config.final_config_dict.update(left_out)
    return config
