"""The shipped settings of a model and a dataset, below those that a user gives."""

from collections.abc import Mapping

import torch

from recbole_genrec.config.arguments.shared import SCRATCH
from recbole_genrec.config.registry import MODELS
from recbole_genrec.files.properties import read_shipped


def dataset_defaults(name, model, loader):
    """The shipped settings of a dataset, overridden by those in the section named after ``model``; maybe empty."""
    settings = read_shipped(f"dataset/{name}.yaml", loader)
    section = settings.get(model, {}) if model in MODELS else {}
    return {key: value for key, value in settings.items() if key not in MODELS} | section


def add_shipped_defaults(config, model, dataset):
    """Add the plugin's defaults for ``model`` and ``dataset`` to the internal ones of a RecBole configuration.

    A dataset that no shipped YAML describes gets the columns that a sequential model needs: RecBole's default
    ``load_col`` has no time, without which it cannot sort. The column of ``threshold`` is loaded, too.

    A pretrained ``backbone`` is fine-tuned by other values than a small model from scratch: those of
    ``properties/pretrained/<model>.yaml``.

    Returns:
        The defaults that hold because the backbone is pretrained, by key; maybe empty.
    """
    internal = config.internal_config_dict
    internal.update(read_shipped(f"model/{model}.yaml", config.yaml_loader))
    internal.update(dataset_defaults(dataset, model, config.yaml_loader))
    pretrained = _pretrained_defaults(config, model)
    internal.update(pretrained)
    settings = {**internal, **config.external_config_dict}
    columns = [settings[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")]
    columns += settings.get("threshold") or ()
    loaded = settings["load_col"]
    if "load_col" not in config.external_config_dict and isinstance(loaded, Mapping):
        internal["load_col"] = {**loaded, "inter": list(dict.fromkeys([*loaded["inter"], *columns]))}
    return pretrained


def _pretrained_defaults(config, model):
    """The defaults of a model whose backbone is pretrained; empty for one from scratch."""
    settings = {**config.internal_config_dict, **config.external_config_dict}
    if settings.get("backbone") in (None, SCRATCH):
        return {}
    defaults = read_shipped(f"pretrained/{model}.yaml", config.yaml_loader)
    if defaults and settings.get("use_gpu", True) and torch.cuda.is_available() and torch.cuda.is_bf16_supported(False):
        defaults["precision"] = "bf16"
    return defaults
