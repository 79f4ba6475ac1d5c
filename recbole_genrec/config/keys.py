"""Which keys a run may have: those that its models read; others are refused or listed.

A model is a class, or the name of a model of this package or of RecBole, for which nothing is imported.
"""

from functools import cache

import yaml

from recbole_genrec.config.arguments.base import Neutral
from recbole_genrec.config.arguments.recbole_general import unread_by
from recbole_genrec.config.arguments.recbole_models import NOT_IN_YAML
from recbole_genrec.config.arguments.schema import (
    ModelKind,
    all_settings,
    described_models,
    readers,
    unknown_key,
    without_effect,
)
from recbole_genrec.config.registry import MODELS, get_model, is_general, recbole_folder, recbole_models
from recbole_genrec.errors import GenRecError, listed
from recbole_genrec.files.properties import read_shipped

#: the model whose settings a new generative model reads.
DEFAULT_READER = "GenRec"
#: name of the command line in messages.
COMMAND_LINE = "command line"
#: settings that say where and how a run is carried out, not which run it is.
PLACE_KEYS = frozenset(
    ("resume", "checkpoint_dir", "results_dir", "show_progress", "state", "log_wandb", "wandb_project", "gpu_id")
    + ("use_gpu", "worker", "tune_malloc", "lazy_windows", "config_files", "save_steps", "distributed")
)
#: settings that a test of a finished run may change: they say which lists a model makes and how they are measured.
TEST_KEYS = (
    ("repeatable", "eval_args", "metrics", "topk", "valid_metric", "metric_decimal_place", "eval_users", "valid_users")
    + (
        "decoding",
        "num_beams",
        "node_budget",
        "unseen_share",
        "unseen_every",
        "title_weight",
        "rank_by",
        "eval_batch_size",
        "data_path",
        "results_dir",
        "trust_remote_code",
    )
    + ("gpu_id", "use_gpu", "show_progress", "state", "tune_malloc")
)
#: RecBole's caches of pickled datasets: the runner builds the dataset once for all models and keeps no copy.
UNSUPPORTED_KEYS = ("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path")


def known_keys(models, dataset) -> frozenset[str]:
    """Every key that one of the ``models`` reads, and those that RecBole's file of the dataset names."""
    keys = set()
    for model in models:
        kind = model_kind(model)
        keys.update(kind.settings(), keys_of_class(model))
        if kind.from_recbole:  # RecBole's files may name a key that is not described here
            keys.update(kind.named)
    keys.update(_yaml_keys(recbole_folder() / "properties" / "dataset" / f"{dataset}.yaml") & all_settings().keys())
    return frozenset(keys)


def keys_of_class(model) -> frozenset[str]:
    """The keys that a model class and its parents name in the class attribute ``setting_keys``.

    Models of this package and of RecBole have none. Another one says there what it reads beyond the keys of its
    parents::

        class Mine(SASRec):
            setting_keys = ("my_width",)

    Raises:
        GenRecError: the attribute is not a list or tuple of names.
    """
    if isinstance(model := _class_of_unknown(model), str):
        return frozenset()
    keys = set()
    for parent in _recommenders(model):
        named = vars(parent).get("setting_keys", ())
        if not isinstance(named, (list, tuple)) or not all(isinstance(key, str) for key in named):
            raise GenRecError(f"'setting_keys' of {parent.__name__} must be a tuple of names of keys, not {named!r}.")
        keys.update(named)
    return frozenset(keys)


def _yaml_keys(file):
    return set(yaml.load(file.read_text("utf-8"), yaml.SafeLoader) or {}) if file.is_file() else set()


@cache
def model_kind(model) -> ModelKind:
    """Describe which settings a model reads.

    A class reads what the nearest model among its parents reads that settings name as their reader; a generative
    model without one what GenRec reads. Else it is RecBole's: it reads what RecBole's YAML files of its parents name.
    """
    names = _names_of_parents(model)
    generative = "GenerativeRecommender" in names
    plugin_model = next((name for name in names if name in described_models()), DEFAULT_READER if generative else None)
    recbole, keys = recbole_folder() / "properties" / "model", set()
    for name in names:
        keys |= _yaml_keys(recbole / f"{name}.yaml") | read_shipped(f"model/{name}.yaml", yaml.SafeLoader).keys()
        keys.update(NOT_IN_YAML.get(name, ()))
    general = is_general(_class_of_unknown(model))
    return ModelKind(
        name=plugin_model or names[0],
        generative=generative,
        from_recbole=plugin_model is None,
        named=frozenset(keys),
        general=general,
        unread=unread_by(names) if general else frozenset(),
    )


def name_of(model) -> str:
    """The name of a model, which may be a class."""
    return model if isinstance(model, str) else model.__name__


def check_effects(configs, beside=()):
    """Refuse a setting that was given, but has no effect on any model of a run.

    A setting that asks for something (``quantization: 4bit``) is refused wherever it stands. A parameter of what was
    not chosen (``svd_bins`` of another scheme) is refused on the command line alone: a file may hold those of several
    choices, which :func:`idle_keys` lists.

    Args:
        configs: :class:`~recbole_genrec.config.config.GenRecConfig` of each model.
        beside: names of models that get the same settings in runs of their own.

    Raises:
        GenRecError: there is one; the message names it, its source and what it needs.
    """
    read_beside = frozenset().union(*(known_keys([name], "") for name in beside))
    for key, source, reason, asks in _without_effect(configs):
        if (asks or source == COMMAND_LINE) and key not in read_beside:
            raise GenRecError(f"{key!r} ({source}) has {reason}.")


def idle_keys(configs) -> str:
    """The settings of a run's files and dictionaries that have no effect on it, in words; empty without any."""
    read = known_keys([config.model_class for config in configs], configs[0]["dataset"])
    sources = list(configs[0].sources)
    idle = [(key, source) for key, source, _, _ in _without_effect(configs)]
    idle += [
        (key, sources[number])
        for key, number in configs[0].given_by.items()
        if key not in read and not _asks_for_nothing(key, configs[0].external_config_dict.get(key, ()))
    ]
    return f"Without effect on this run: {listed(f'{key} ({source})' for key, source in idle)}." if idle else ""


def _without_effect(configs):
    """Keys that were given and that a model reads, but that have no effect on any.

    Yields the key, its source, the reason, and whether the setting asks for something.
    """
    reasons = {}
    for config in configs:
        kind = model_kind(config.model_class)
        readable = kind.settings()
        for key in config.given_by.keys() & readable.keys():
            reason = without_effect(readable[key], kind, config.final_config_dict, config.given_by)
            number = config.given_by[key]
            asks = bool(readable[key].metadata_of(Neutral))
            reasons.setdefault(key, []).append((reason, list(config.sources)[number], asks))
    for key, found in sorted(reasons.items()):
        if all(reason for reason, _, _ in found):
            reason, source, asks = found[0]
            yield key, source, reason, asks


def _names_of_parents(model):
    """Names of a model and of the recommenders that it is derived from, the nearest first."""
    if isinstance(model := _class_of_unknown(model), str):
        return [model, *(MODELS[model].parents if model in MODELS else ())]
    return [parent.__name__ for parent in _recommenders(model)]


def _class_of_unknown(model):
    """The class of a name that neither this package nor RecBole, as published, has; else the name or class itself."""
    return get_model(model) if isinstance(model, str) and model not in (*MODELS, *recbole_models()) else model


def _recommenders(model):
    from recbole.model.abstract_recommender import AbstractRecommender

    return [parent for parent in model.__mro__ if issubclass(parent, AbstractRecommender)]


def check_key(key, source, known, models=(), value=()):
    """Refuse a key of ``source``, a file or the like, that is none of the ``known`` ones.

    A key that nobody reads may say that it asks for nothing, such as ``quantization: none``.

    Raises:
        GenRecError: it is none; the message names the source and the nearest known key, or the models that read it.
    """
    if key in known or _asks_for_nothing(key, value):
        return
    if key in UNSUPPORTED_KEYS:
        raise GenRecError(f"{key!r} is not supported ({source}): the dataset is built once a run, for all its models.")
    if key in all_settings() and models:
        names = " and ".join(dict.fromkeys(map(name_of, models)))
        others = "; ".join(dict.fromkeys(map(readers, all_settings()[key])))
        raise GenRecError(f"{key!r} ({source}) has no effect on {names}. It is read by: {others}.")
    raise unknown_key(key, source, known, _how_to_name(models))


def _how_to_name(models):
    """What the author of a model class outside this package and RecBole may have forgotten; empty without one."""
    packages = ("recbole", "recbole_genrec")
    classes = [model for model in models if not isinstance(model, str)]
    others = [model.__name__ for model in classes if model.__module__.split(".")[0] not in packages]
    return f" If {others[0]} reads it, name it in the class attribute 'setting_keys'." if others else ""


def _asks_for_nothing(key, value):
    if key in UNSUPPORTED_KEYS:
        return value in (False, None)
    return any(setting.asks_for_nothing(value) for setting in all_settings().get(key, ()))
