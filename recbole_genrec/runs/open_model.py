"""A trained model opened with the dataset that it was trained on, to be asked for recommendations.

It is stored as a checkpoint folder of this package, as the JSON of a run, which names its checkpoint and all settings,
or as a ``.pth`` file of RecBole's trainer, which is a pickle and needs trust.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from recbole.data import create_dataset, data_preparation
from recbole.data.transform import construct_transform
from recbole.utils import init_seed

from recbole_genrec.checkpoint.checkpoint import check_trust
from recbole_genrec.checkpoint.folder import BUILT_FOR, is_checkpoint
from recbole_genrec.compat.torch_calls import NO_PICKLE, load_pickle
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import get_model, predicts_ratings
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.presplit import interaction_files
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.reopen import read_config
from recbole_genrec.runs.result import FailedRun, read_run
from recbole_genrec.runs.run import build_model
from recbole_genrec.runs.stored_model import check_checkpoint, load_weights, stored_config


class OpenedModel(NamedTuple):
    """A model that evaluates, and what its batches are made with.

    Attributes:
        config: RecBole's.
        dataset: the training part that the model was built on, which has the numbers of items and users.
        model: the model.
        transform: RecBole's, of its batches.
    """

    config: Any
    dataset: Any
    model: Any
    transform: Any


class _Stored(NamedTuple):
    """Configuration and checkpoint of a trained model; ``checkpoint`` is ``None`` where nothing is trained."""

    config: Any
    checkpoint: Any
    #: what a pickle held, which is read once.
    content: Any = None


class _Trust(NamedTuple):
    """Whether code that comes with a checkpoint may run, and the device that a pickle's tensors go to."""

    is_given: bool
    device: Any


def open_model(path, device=None, trust_remote_code=False, data_path=None):
    """Open a trained model with its dataset.

    Args:
        path: a checkpoint folder, the JSON of a run, or a ``.pth`` file.
        device: where to compute; by default a CUDA device where there is one.
        trust_remote_code: run code that comes with it: Python files of a backbone, or a pickle.
        data_path: the folder that holds the dataset's folder; by default where it was in training.

    Returns:
        :class:`OpenedModel`.

    Raises:
        GenRecError: the checkpoint or the dataset is missing, they do not belong together, or code is not trusted.
    """
    path, device = Path(path), torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    trust = _Trust(trust_remote_code, device)
    if path.is_dir():
        stored = _Stored(read_config(path, trust_remote_code), path)
    elif path.suffix == ".json":
        stored = _of_run(path, trust, data_path)
    else:
        content = _read_pickle(path, trust)
        stored = _Stored(content["config"], path, content)
    config = stored.config
    settings = config.final_config_dict
    if data_path is not None:
        settings["data_path"] = str(Path(data_path) / config["dataset"])
    settings["device"] = device
    settings["distributed"] = "ddp"  # every process that ranks holds the whole model
    if predicts_ratings(config.model_class):
        raise GenRecError(f"{config['model']} predicts ratings and ranks no items: it has nothing to recommend.")
    _check_files(config)
    return _build(stored, path)


def _of_run(path, trust, data_path):
    """What the JSON of a run names."""
    run = read_run(path)
    if isinstance(run, FailedRun):
        raise GenRecError(f"{path} tells of a run that failed: there is no model to open.")
    check_trust(path, run.config, trust.is_given)
    is_trained = getattr(get_model(run.model), "is_trained", True)
    if is_trained:
        check_checkpoint(path, run)
    config = stored_config(run, {} if data_path is None else {"data_path": str(data_path)})
    config.final_config_dict["trust_remote_code"] = bool(run.config.get("trust_remote_code"))
    if not is_trained:
        return _Stored(config, None)
    if is_checkpoint(run.checkpoint):  # its prompts may name columns of the data
        config.final_config_dict[BUILT_FOR] = run.checkpoint
        return _Stored(config, run.checkpoint)
    return _Stored(config, run.checkpoint, _read_pickle(Path(run.checkpoint), trust))


def _read_pickle(path, trust):
    """The content of a checkpoint of RecBole's trainer.

    Raises:
        GenRecError: nobody trusts it, or it is none.
    """
    if not path.is_file():
        raise GenRecError(f"There is no checkpoint {str(path)!r}: neither a folder nor a file.")
    if not trust.is_given:
        raise GenRecError(
            f"The checkpoint {str(path)!r} is a pickle of RecBole's: reading it runs any code that somebody put into "
            "it. Where you trust the file, say so: --trust_remote_code, in Python trust_remote_code=True."
        )
    try:
        content = load_pickle(path, map_location=trust.device)
    except NO_PICKLE as error:
        raise GenRecError(f"{path} is no checkpoint of RecBole's: {str(error)[:200]}.") from error
    if not isinstance(content, dict) or not {"config", "state_dict"} <= content.keys():
        raise GenRecError(f"{path} is no checkpoint of RecBole's: it has no 'config' and 'state_dict'.")
    return content


def _check_files(config):
    """Refuse a missing dataset: RecBole would try to download it."""
    for file in interaction_files(config):
        if not file.is_file():
            raise GenRecError(
                f"{config['model']} ranks with the dataset that it was trained on, and there is no file {file}. "
                "--data_path, in Python data_path, names the folder that holds the dataset's."
            )


def _build(stored, path):
    """Build the model on its dataset, and load its weights."""
    config = stored.config
    if isinstance(config, GenRecConfig):
        data = SplitData([config])
        dataset = data.train_part(config)
    else:  # of RecBole alone, whose split it was trained on
        dataset = data_preparation(config, create_dataset(config))[0]._dataset
    transform = construct_transform(config)  # before the model: it tells the configuration what BERT4Rec reads
    init_seed(config["seed"], config["reproducibility"])
    if isinstance(config, GenRecConfig):
        model = build_model(config, data)
    else:
        model = config.model_class(config, dataset).to(config["device"])
    if stored.checkpoint is not None:
        load_weights(model, stored.checkpoint, path, stored.content)
    return OpenedModel(config, dataset, model.eval(), transform)
