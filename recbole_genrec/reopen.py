"""A checkpoint opened again with its data, as RecBole's ``load_data_and_model`` gives them."""

from logging import getLogger

from recbole.data import create_dataset, data_preparation
from recbole.data.utils import create_samplers, get_dataloader
from recbole.utils import get_model, init_logger, init_seed

from recbole_genrec.compat.torch_calls import load_checkpoint
from recbole_genrec.config import GenRecConfig
from recbole_genrec.split_data import SplitData


def load_data_and_model(model_file):
    """Open a checkpoint of this package, or one of RecBole's, with the data that it was trained and tested on.

    Of a run of this package's runner the data are the runner's: sorted by exact time, with its sample of users and its
    candidates. The loader of training batches is RecBole's, one prompt a target.

    Args:
        model_file: a checkpoint folder, or the path of a pickle of RecBole's.

    Returns:
        Configuration, model, dataset, and loaders for training, validation and test.

    Raises:
        GenRecError: the checkpoint is damaged, or of another dataset; see :func:`.checkpoint.load_as_recbole`.
    """
    checkpoint = load_checkpoint(model_file)
    config = checkpoint["config"]
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    getLogger().info(config)
    if isinstance(config, GenRecConfig):
        dataset, train_dataset, loaders = _runner_data(config)
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


def _runner_data(config):
    """The dataset, its training part, and loaders of the three parts."""
    data = SplitData([config])
    sampler, _, _ = create_samplers(config, data.dataset, data.parts)
    train = get_dataloader(config, "train")(config, data.parts[0], sampler, shuffle=config["shuffle"])
    evaluation = (data.evaluation_loader(config, phase) for phase in ("valid", "test"))
    return data.dataset, data.parts[0], (train, *evaluation)
