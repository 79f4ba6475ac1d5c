"""The plugin's models, datasets and defaults under the names that RecBole looks up."""

import sys
import types
from collections.abc import Mapping
from importlib.machinery import ModuleSpec

import yaml

from recbole_genrec.compat.patching import recbole_module, replace
from recbole_genrec.properties_path import properties_folder
from recbole_genrec.utils import plugin_dataset, plugin_model, plugin_models, plugin_trainer


def read_shipped(name, loader):
    """Read a shipped YAML file; ``{}`` where there is none."""
    file = properties_folder() / name
    if not file.is_file():
        return {}
    return yaml.load(file.read_text("utf-8"), loader) or {}


def read_dataset(name, model, loader):
    """The shipped settings of a dataset, over them those of the section named after ``model``; ``{}`` without any."""
    settings = read_shipped(f"dataset/{name}.yaml", loader)
    own = settings.get(model, {}) if model in plugin_models() else {}
    return {key: value for key, value in settings.items() if key not in plugin_models()} | own


def add_shipped_defaults(config, model, dataset):
    """Add the plugin's defaults for ``model`` and ``dataset`` to the internal ones of a RecBole configuration.

    A dataset that no shipped YAML describes gets the columns that a sequential model needs: RecBole's default
    ``load_col`` has no time, without which it cannot sort.
    """
    internal = config.internal_config_dict
    internal.update(read_shipped(f"model/{model}.yaml", config.yaml_loader))
    internal.update(read_dataset(dataset, model, config.yaml_loader))
    settings = {**internal, **config.external_config_dict}
    columns = [settings[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")]
    loaded = settings["load_col"]
    if "load_col" not in config.external_config_dict and isinstance(loaded, Mapping):
        internal["load_col"] = {**loaded, "inter": list(dict.fromkeys([*loaded["inter"], *columns]))}


def shipped_defaults_in_stock_config():
    """configurator.py:237: a stock ``Config`` knows no YAML of the plugin's models."""

    @replace(recbole_module("config.configurator").Config, "_load_internal_config_dict")
    def load(original, config, model, model_class, dataset):
        original(config, model, model_class, dataset)
        if model in plugin_models():
            add_shipped_defaults(config, model, dataset)


def plugin_names():
    """Stock lookups by name: utils.py:72 (model), utils.py:96 (trainer), data/utils.py:40 (dataset).

    The modules and classes behind the names are imported when they are asked for.
    """
    for name, module in plugin_models().items():
        alias = types.ModuleType(f"recbole.model.sequential_recommender.{name.lower()}", f"See {module}.")
        alias.__spec__ = ModuleSpec(alias.__name__, loader=None)
        alias.__getattr__ = _resolver(alias.__name__, "", plugin_model)
        sys.modules[alias.__name__] = alias
    recbole_module("trainer").__getattr__ = _resolver("recbole.trainer", "Trainer", plugin_trainer)
    recbole_module("data.dataset").__getattr__ = _resolver("recbole.data.dataset", "Dataset", plugin_dataset)


def _resolver(module, suffix, find):
    def resolve(name):
        model = name.removesuffix(suffix)
        if name != model + suffix or model not in plugin_models():
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return find(model)

    return resolve
