"""The runner's configuration: RecBole's ``Config``, strict about keys and without ``eval``."""

import codecs
import difflib
import inspect
import os
import re
import sys
from dataclasses import fields
from functools import cache
from importlib.resources import files
from importlib.util import find_spec

import yaml
from recbole.config import Config
from recbole.evaluator import metric_types
from recbole.evaluator.register import metric_information
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import (
    ModelType,
    dataset_arguments,
    evaluation_arguments,
    general_arguments,
    training_arguments,
)

from recbole_genrec.arguments import ARGUMENT_GROUPS, IndexingArguments, PromptArguments, plugin_keys
from recbole_genrec.compat.naming import add_shipped_defaults, read_dataset, read_shipped
from recbole_genrec.distributed import current
from recbole_genrec.distributed.world import own_gpu
from recbole_genrec.errors import LONGEST_NAME, GenRecError, shown, unknown_name
from recbole_genrec.feature_columns import add_feature_columns
from recbole_genrec.indexing import needs_interactions
from recbole_genrec.prompt.template import load_template
from recbole_genrec.strict_yaml import YamlProblem, load_yaml, read_yaml_file
from recbole_genrec.utils import get_model, plugin_models, sequential_models

#: keys of the runner and of RecBole that neither an argument list nor a YAML file names.
OTHER_KEYS = frozenset(
    ("model", "dataset", "config_files", "results_dir", "tune_malloc", "lazy_windows", "eval_users", "valid_users")
    + ("cold_items", "keep_unseen_items", "encoding", "tail_ratio")
)
#: RecBole's caches of pickled datasets: the runner builds the dataset once for all models and keeps no copy.
UNSUPPORTED_KEYS = ("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path")

#: metrics that are not taken at a list length.
WITHOUT_LENGTH = ("auc", "gauc", "mae", "rmse", "logloss")

LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")


class YamlLoader(yaml.SafeLoader):
    """Safe YAML in which ``1e-3`` is a number, as in RecBole's files."""


YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_yaml(path) -> dict:
    """Read a configuration file.

    Raises:
        GenRecError: there is no such file, or it is not YAML with keys at the top; the message names file and line.
    """
    content = read_yaml_file(path, "configuration file ", YamlLoader)
    if content is not None and not isinstance(content, dict):
        raise GenRecError(f"{path}, line 1: a configuration file holds 'key: value' lines, not a {_kind(content)}.")
    return content or {}


def parse_value(key: str, text: str):
    """Parse a value of the command line as YAML; it is never evaluated.

    A text setting stays the text as typed where YAML would make something else of it, e.g. ``--item_text={title}``.

    Raises:
        GenRecError: the value is not YAML.
    """
    try:
        value = load_yaml(text, YamlLoader)
    except YamlProblem as error:
        if key in _text_keys():
            return text
        raise GenRecError(f"command line: the value of --{key} is not valid YAML: {shown(text)} ({error}).") from error
    return text if key in _text_keys() and not isinstance(value, str) else value


@cache
def _text_keys():
    plugin = {f.name for group in ARGUMENT_GROUPS for f in fields(group) if f.type is str}
    return frozenset(plugin | {"model", "dataset", "results_dir", "data_path", "checkpoint_dir", "config_files"})


class GenRecConfig(Config):
    """RecBole's ``Config`` for the runner.

    Differences: it never reads ``sys.argv``; strings are never evaluated; an unknown key is an error; RecBole's
    defaults are followed by ``properties/overall.yaml``, ``properties/model/<model>.yaml`` and
    ``properties/dataset/<dataset>.yaml``; a key that is the name of a model of the run holds settings for that model
    alone; ``eval_args`` may be given in part; ``train_neg_sample_args`` is empty for a cross-entropy loss.

    Args:
        model: name or class. dataset: name.
        config_file_list: paths of YAML files, later ones over earlier ones.
        config_dict: settings over the files'.
        command_line: settings over all others, parsed already.
        models: names or classes of every model of the run, whose keys are known too.

    Raises:
        GenRecError: a file, key or value is not accepted; the message names it.
    """

    def __init__(self, model=None, dataset=None, config_file_list=None, config_dict=None, command_line=None, models=()):
        self.command_line = dict(command_line or {})
        self.run_models = [*models, model] if model is not None else [*models]
        self.sources = {}
        try:
            super().__init__(model, dataset, config_file_list, dict(config_dict or {}))
        except GenRecError:
            raise
        except (ValueError, TypeError, RuntimeError, KeyError) as error:
            # RecBole checks values in its own words: they concern what the user gave it.
            raise GenRecError(f"configuration: {error.args[0] if error.args else error}") from error
        self._check_values()

    def _build_yaml_loader(self):
        return YamlLoader

    def _convert_config_dict(self, config_dict):
        return config_dict

    def _load_config_files(self, file_list):
        merged = {}
        for path in file_list or ():
            self.sources[str(path)] = read_yaml(path)
            merged.update(self.sources[str(path)])
        return merged

    def _load_variable_config_dict(self, config_dict):
        self.sources["config_dict"] = config_dict
        return config_dict

    def _load_cmd_line(self):
        self.sources["command line"] = self.command_line
        return self.command_line

    def _get_model_and_dataset(self, model, dataset):
        model = model or self.external_config_dict.get("model")
        dataset = dataset or self.external_config_dict.get("dataset")
        for key, value in (("model", model), ("dataset", dataset)):
            if not value:
                raise GenRecError(f"No {key} given: add --{key}=... or the key {key!r} to a configuration file.")
        model_class = get_model(model) if isinstance(model, str) else model
        if model_class.type != ModelType.SEQUENTIAL:
            raise GenRecError(f"{model_class.__name__!r} is not a sequential model.")
        return model_class.__name__, model_class, str(dataset)

    def _load_internal_config_dict(self, model, model_class, dataset):
        self._check_keys(model_class, dataset)
        sections = {key: value for key, value in self.external_config_dict.items() if self._is_section(key, value)}
        for name in sections:
            del self.external_config_dict[name]
        self.external_config_dict.update(sections.get(model, {}))
        super()._load_internal_config_dict(model, model_class, dataset)
        self.internal_config_dict.update(read_shipped("overall.yaml", YamlLoader))
        add_shipped_defaults(self, model, dataset)

    def _set_default_parameters(self):
        given, settings = self.external_config_dict, self.final_config_dict
        self._check_types()
        if isinstance(given.get("eval_args"), dict):
            settings["eval_args"] = {**self.internal_config_dict["eval_args"], **given["eval_args"]}
        if "train_neg_sample_args" not in given and settings.get("loss_type") == "CE":
            settings["train_neg_sample_args"] = None
        if "show_progress" not in given:
            settings["show_progress"] = sys.stderr.isatty()
        if "gpu_id" not in given and "CUDA_VISIBLE_DEVICES" in os.environ:
            # RecBole overwrites the variable with its default, the first device.
            settings["gpu_id"] = os.environ["CUDA_VISIBLE_DEVICES"]
        if current().size > 1:
            self._take_place(given, settings)
        self._check_metrics()
        if self.model not in plugin_models():
            add_feature_columns(self.model, settings, given, self.internal_config_dict)
        repeatable, settings["repeatable"] = settings["repeatable"], True  # RecBole refuses False: we rank the unseen
        super()._set_default_parameters()
        settings["repeatable"] = repeatable

    @staticmethod
    def _take_place(given, settings):
        """Choose the GPU of this one of several processes, and leave logs to the first."""
        named = "gpu_id" in given or "CUDA_VISIBLE_DEVICES" in os.environ
        settings["gpu_id"] = own_gpu(str(settings["gpu_id"]) if named else None)
        if not current().is_first:
            settings.update(show_progress=False, log_wandb=False)

    def _is_section(self, key, value):
        names = {model if isinstance(model, str) else model.__name__ for model in self.run_models}
        return isinstance(value, dict) and key in names.union(sequential_models())

    def _check_keys(self, model_class, dataset):
        models = [get_model(model) if isinstance(model, str) else model for model in [*self.run_models, model_class]]
        known = known_keys(models, dataset)
        for source, settings in self.sources.items():
            for key, value in settings.items():
                if not self._is_section(key, value):
                    check_key(key, source, known)
                    continue
                own = known if key not in sequential_models() else known_keys([get_model(key)], dataset)
                for name in value:
                    check_key(name, f"{source}, section {key!r}", own)

    def _check_types(self):
        """Compare the given values with the types of RecBole's numeric and boolean defaults."""
        for key, value in self.external_config_dict.items():
            default = self.internal_config_dict.get(key)
            if key in _text_keys() and value is not None and not isinstance(value, str):
                raise GenRecError(f"{key!r} must be text, not {shown(value)}: quote it.")
            if not isinstance(default, (bool, int, float)) or value is None:
                continue
            if isinstance(default, bool) != isinstance(value, bool) or not isinstance(value, (int, float)):
                expected = "true or false" if isinstance(default, bool) else "a number"
                raise GenRecError(f"{key!r} must be {expected}, not {shown(value)}.")
        for key in ("epochs", "train_batch_size", "eval_batch_size", "eval_step", "stopping_step", "seed"):
            if not isinstance(self.final_config_dict[key], int):
                raise GenRecError(f"{key!r} must be a whole number, not {shown(self.final_config_dict[key])}.")

    def _check_metrics(self):
        """Check names of metrics, and let ``valid_metric`` follow ``metrics`` and ``topk`` where it is not given."""
        settings = self.final_config_dict
        metrics = [settings["metrics"]] if isinstance(settings["metrics"], str) else settings["metrics"]
        lengths = [settings["topk"]] if isinstance(settings["topk"], int) else settings["topk"]
        for metric in metrics:
            if str(metric).lower() not in metric_types:
                raise unknown_name("metric", metric, metric_types)
        names = []
        for metric in metrics:
            names += [metric] if metric.lower() in WITHOUT_LENGTH else [f"{metric}@{k}" for k in lengths]
        if "valid_metric" not in self.external_config_dict and settings["valid_metric"] not in names:
            settings["valid_metric"] = names[-1]
        if str(settings["valid_metric"]).lower() not in map(str.lower, names):
            raise unknown_name("valid_metric", settings["valid_metric"], names)

    def _check_values(self):
        for key in ("eval_users", "valid_users"):
            sample = self[key]
            if sample is not None and (isinstance(sample, bool) or not isinstance(sample, int) or sample < 1):
                raise GenRecError(
                    f"{key!r} must be a positive whole number, or empty for all users, not {shown(sample)}."
                )
        if self["log_wandb"] and not _is_installed("wandb"):
            raise GenRecError("'log_wandb: true' needs wandb: pip install 'recbole_genrec[wandb]'.")
        if self["encoding"] is not None:
            _check_encoding(self["encoding"])
        share = self["cold_items"]
        if share is not None and (isinstance(share, bool) or not 0 <= share <= 0.5):
            raise GenRecError(f"'cold_items' must be a share from 0 to 0.5, not {shown(share)}.")
        if share and self["eval_args"]["mode"]["test"] != "full":
            raise GenRecError("'cold_items' asks for items among the whole catalogue: it takes 'mode: full'.")
        if share and self["benchmark_filename"]:
            raise GenRecError("'cold_items' needs one .inter file: 'benchmark_filename' has split it already.")
        for key in UNSUPPORTED_KEYS:
            if self[key]:
                raise GenRecError(f"{key!r} is not supported: the dataset is built once a run, for all its models.")
        if str(self["learner"]).lower() not in LEARNERS:
            # RecBole would train with Adam instead, and say so in the log only.
            raise unknown_name("learner", self["learner"], LEARNERS)
        if self.model in plugin_models():
            for group in ARGUMENT_GROUPS:
                group.from_config(self)
            load_template(PromptArguments.from_config(self).prompt)
            needs_interactions(IndexingArguments.from_config(self).item_indexing)  # refuses an unknown scheme
            if hasattr(self.model_class, "check_settings"):
                self.model_class.check_settings(self)
            self._check_scores()

    def _check_scores(self):
        """Refuse metrics of the scores of the whole catalogue where the model scores the best K items alone."""
        if "full" not in self["eval_args"]["mode"].values() or not hasattr(self.model_class, "needs_for_all_scores"):
            return
        deep = {"rec.meanrank", "rec.score"}
        metrics = [metric for metric in self["metrics"] if deep.intersection(metric_information[metric.lower()])]
        needed = self.model_class.needs_for_all_scores(self)
        if metrics and needed:
            raise GenRecError(
                f"{metrics[0]!r} is a metric of the scores of all items, but {self.model} scores the best of them "
                f"alone: it needs {' and '.join(needed)}."
            )


def known_keys(models, dataset) -> frozenset[str]:
    """Every key that RecBole, the plugin or one of the model classes ``models`` reads."""
    return own_keys(models, dataset) | plugin_keys() | OTHER_KEYS


def own_keys(models, dataset) -> frozenset[str]:
    """As :func:`known_keys`, without those of the plugin that no file or line of the model classes names."""
    names = [parent.__name__ for model in models for parent in _recommenders(model)]
    recbole = files("recbole") / "properties"
    yamls = [recbole / "overall.yaml", recbole / "dataset" / "sample.yaml", recbole / "dataset" / f"{dataset}.yaml"]
    yamls += [recbole / "model" / f"{name}.yaml" for name in names]
    yamls += [file for file in (recbole / "quick_start_config").iterdir() if file.name.startswith("sequential")]
    keys = {*general_arguments, *training_arguments, *evaluation_arguments, *dataset_arguments}
    for file in yamls:
        if file.is_file():
            keys.update(yaml.load(file.read_text("utf-8"), YamlLoader) or {})
    for name in names:
        keys.update(read_shipped(f"model/{name}.yaml", YamlLoader))
        keys.update(read_dataset(dataset, name, YamlLoader))
    keys.update(read_shipped("overall.yaml", YamlLoader))
    for model in models:
        keys.update(_keys_in_source(model))
    return frozenset(keys)


@cache
def _keys_in_source(model):
    """Keys that a model's code reads; RecBole's YAML files do not name them all (S3Rec's ``pre_model_path``)."""
    modules = {sys.modules[parent.__module__] for parent in _recommenders(model)}
    return frozenset(key for m in modules for key in re.findall(r"config\[\"(\w+)\"\]", inspect.getsource(m)))


def _recommenders(model):
    return [parent for parent in model.__mro__ if issubclass(parent, AbstractRecommender)]


def check_key(key, source, known):
    """Refuse a key of ``source``, a file or the like, that is none of the ``known`` ones.

    Raises:
        GenRecError: it is none; the message names the source and the nearest known key.
    """
    if key in known:
        return
    nearest = difflib.get_close_matches(str(key)[:LONGEST_NAME], sorted(known), n=1, cutoff=0.6)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else " It is neither RecBole's, nor the plugin's, nor a model's."
    raise GenRecError(f"Unknown key {shown(key)} ({source}).{hint}")


def _check_encoding(name):
    try:
        codecs.lookup(name)
    except (LookupError, TypeError, ValueError):
        raise GenRecError(f"'encoding' must be the name of one, such as 'utf-8', not {shown(name)}.") from None


def _is_installed(package):
    # a folder of that name, such as the one that wandb writes, can be found as well, but has no file to import
    found = find_spec(package)
    return found is not None and found.origin is not None


def _kind(value):
    return {list: "list", str: "text"}.get(type(value), "single value")
