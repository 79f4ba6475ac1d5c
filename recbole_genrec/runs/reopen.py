"""A checkpoint opened again with its data, as RecBole's ``load_data_and_model`` gives them."""

from logging import getLogger
from pathlib import Path

from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, init_logger, init_seed

from recbole_genrec.checkpoint.checkpoint import check_trust
from recbole_genrec.checkpoint.folder import BUILT_FOR, damage_of, read_json, read_settings, read_state_dict, verify
from recbole_genrec.compat.torch_calls import load_pickle
from recbole_genrec.config.arguments import ARGUMENT_GROUPS
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.files.json_shape import check_shape
from recbole_genrec.interactions.split import SplitData

#: settings of the machine that trained.
_MACHINE_KEYS = frozenset(("gpu_id", "use_gpu", "local_rank", "single_spec"))


def read_config(folder, trust_remote_code=False):
    """The configuration of a checkpoint; a model of it is built for this checkpoint, see :data:`BUILT_FOR`.

    No setting is evaluated, and the device is chosen on this machine. See :func:`check_trust` for what is refused.
    """
    settings = dict(read_settings(folder))
    check_trust(folder, settings, trust_remote_code)
    with damage_of(folder):
        shape = {"metrics": ([str], str), "topk": ([int], int), "valid_metric": str, "eval_args": {}}
        check_shape(settings, shape, "config.json")
        shaping = {key: settings[key] for key in shape}
        config = GenRecConfig(settings["model"], settings["dataset"], config_dict=shaping)
        config.final_config_dict.update({key: value for key, value in settings.items() if key not in _MACHINE_KEYS})
        for group in ARGUMENT_GROUPS:
            group.from_config(config)
    config.final_config_dict[BUILT_FOR] = str(folder)
    return config


def load_as_recbole(folder):
    """Read a checkpoint as the dict that ``torch.load`` gives for RecBole's own checkpoints.

    The state dict of an adapter does not hold the frozen weights; they come from the backbone itself.

    Args:
        folder: the checkpoint.

    Returns:
        A dict with ``config``, ``state_dict``, ``other_parameter``, ``epoch``, ``cur_step`` and ``best_valid_score``.

    Raises:
        GenRecError: it is damaged, or its backbone comes with code: RecBole has no way to say that this is trusted.
    """
    folder = verify(folder)
    trainer = read_json(folder / "trainer.json")
    return {
        "config": read_config(folder),
        "state_dict": read_state_dict(folder),
        "other_parameter": None,
        "epoch": trainer["epoch"],
        "cur_step": trainer["cur_step"],
        "best_valid_score": trainer["best_valid_score"],
    }


def load_data_and_model(model_file):
    """Open a checkpoint of this package, or one of RecBole's, with the data that it was trained and tested on.

    Of a run of this package's runner the data are the runner's: sorted by exact time, with its sample of users and its
    candidates. The loader of training batches is RecBole's, one prompt a target.

    Args:
        model_file: a checkpoint folder, or the path of a pickle of RecBole's.

    Returns:
        Configuration, model, dataset, and loaders for training, validation and test.

    Raises:
        GenRecError: the checkpoint is damaged, or of another dataset; see :func:`load_as_recbole`.
    """
    checkpoint = load_as_recbole(model_file) if Path(model_file).is_dir() else load_pickle(model_file)
    config = checkpoint["config"]
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    getLogger().info(config)
    if isinstance(config, GenRecConfig):
        data = SplitData([config])
        evaluation = (data.evaluation_loader(config, phase) for phase in ("valid", "test"))
        dataset, train_dataset = data.dataset, data.train_part(config)
        loaders = (data.recbole_train_loader(config), *evaluation)
    else:
        dataset = create_dataset(config)
        getLogger().info(dataset)
        loaders = data_preparation(config, dataset)
        train_dataset = loaders[0]._dataset
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train_dataset).to(config["device"])
    model.load_state_dict(checkpoint["state_dict"])
    model.load_other_parameter(checkpoint.get("other_parameter"))
    return config, model, dataset, *loaders
