"""The plugin's models, datasets and defaults under the names that RecBole looks up."""

import sys
import types
from importlib.machinery import ModuleSpec

from recbole_genrec.compat.patching import recbole_module, replace


def shipped_defaults_in_stock_config(names, add_defaults):
    """configurator.py:237: a stock ``Config`` knows no YAML of the plugin's models.

    Args:
        names: of the plugin's models.
        add_defaults: (config, model, dataset) adds their defaults.
    """

    @replace(recbole_module("config.configurator").Config, "_load_internal_config_dict")
    def load(original, config, model, model_class, dataset):
        original(config, model, model_class, dataset)
        if model in names:
            add_defaults(config, model, dataset)


def plugin_names(names, find_model, find_trainer, find_dataset):
    """Stock lookups by name: utils.py:72 (model), utils.py:96 (trainer), data/utils.py:40 (dataset).

    The classes behind the names are imported when they are asked for.

    Args:
        names: of the plugin's models.
        find_model, find_trainer, find_dataset: give the class for a name.
    """
    for name in names:
        alias = types.ModuleType(f"recbole.model.sequential_recommender.{name.lower()}", "A model of recbole_genrec.")
        alias.__spec__ = ModuleSpec(alias.__name__, loader=None)
        alias.__getattr__ = _resolver(alias.__name__, "", names, find_model)
        sys.modules[alias.__name__] = alias
    recbole_module("trainer").__getattr__ = _resolver("recbole.trainer", "Trainer", names, find_trainer)
    recbole_module("data.dataset").__getattr__ = _resolver("recbole.data.dataset", "Dataset", names, find_dataset)


def _resolver(module, suffix, names, find):
    def look_up(name):
        model = name.removesuffix(suffix)
        if name != model + suffix or model not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return find(model)

    return look_up
