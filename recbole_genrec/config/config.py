"""The runner's configuration: RecBole's ``Config``, strict about keys and without ``eval``."""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from os import PathLike
from typing import Any

from recbole.config import Config
from recbole.evaluator import metric_types
from recbole.evaluator.register import metric_information
from recbole.utils import EvaluatorType, InputType, ModelType

from recbole_genrec.config.arguments import ARGUMENT_GROUPS
from recbole_genrec.config.arguments.former import with_present_names
from recbole_genrec.config.defaults import add_shipped_defaults
from recbole_genrec.config.feature_columns import add_feature_columns
from recbole_genrec.config.keys import COMMAND_LINE, model_kind
from recbole_genrec.config.metrics import WITHOUT_LENGTH, check_metrics
from recbole_genrec.config.registry import MODELS, get_model, is_general, predicts_ratings, unsupported
from recbole_genrec.config.sources import check_names, check_sources, is_section
from recbole_genrec.config.yaml_settings import YamlLoader, named_file, read_yaml
from recbole_genrec.distributed.world import current, own_gpu
from recbole_genrec.errors import GenRecError, listed, shown, unknown_name
from recbole_genrec.files.properties import read_shipped

#: packages that RecBole asks for in the middle of a run.
_PACKAGES = {"NCL": "faiss"}


class GenRecConfig(Config):
    """RecBole's ``Config`` for the runner.

    Differences: it never reads ``sys.argv``; strings are never evaluated; an unknown key is an error; RecBole's
    defaults are followed by ``properties/overall.yaml``, ``properties/model/<model>.yaml`` and
    ``properties/dataset/<dataset>.yaml``; a key that is the name of a model of the run holds settings for that model
    alone, and overrides other keys of the same source; ``eval_args`` may be given in part; ``train_neg_sample_args`` is
    empty for a cross-entropy loss, and RecBole's own for a general model that learns from negative samples.

    Args:
        model: name or class. dataset: name.
        config_file_list: paths of YAML files, later ones over earlier ones.
        config_dict: settings over the files'.
        command_line: settings over all others, parsed already.
        models: names or classes of every model of the run, whose keys are known too.

    Attributes:
        pretrained_defaults: the shipped defaults that hold because the backbone is pretrained, by key.

    Raises:
        GenRecError: a file, key or value is not accepted; the message names it.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str | PathLike[str]] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        command_line: Mapping[str, Any] | None = None,
        models: Sequence[str | type] = (),
    ) -> None:
        self.command_line = dict(command_line or {})
        self.run_models = [*models, model] if model is not None else [*models]
        self.sources, self.notices = {}, []
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
            self.sources[str(path)] = self._present(read_yaml(named_file(path)), path)
            merged.update(self.sources[str(path)])
        return merged

    def _load_variable_config_dict(self, config_dict):
        self.sources["config_dict"] = self._present(config_dict, "config_dict")
        return self.sources["config_dict"]

    def _load_cmd_line(self):
        self.sources[COMMAND_LINE] = self._present(self.command_line, COMMAND_LINE)
        return self.sources[COMMAND_LINE]

    def _present(self, settings, source):
        settings, notices = with_present_names(settings, source)
        self.notices += notices
        return settings

    def _get_model_and_dataset(self, model, dataset):
        model = model or self.external_config_dict.get("model")
        dataset = dataset or self.external_config_dict.get("dataset")
        check_names(model, dataset)
        model_class = get_model(model) if isinstance(model, str) else model
        if model_class.type != ModelType.SEQUENTIAL and not is_general(model_class):
            raise unsupported(model_class.__name__)
        return model_class.__name__, model_class, str(dataset)

    def _load_internal_config_dict(self, model, model_class, dataset):
        models = [*self.run_models, model_class]
        self.given_by = check_sources(self.sources, model_class, models, dataset)
        self._own_section = {}
        for source in self.sources.values():  # a later source overrides an earlier one, sections and all
            sections = {key: value for key, value in source.items() if is_section(key, value, models)}
            own = sections.get(model, {})
            self.external_config_dict.update({k: v for k, v in source.items() if k not in sections} | own)
            self._own_section = {k: v for k, v in self._own_section.items() if k not in source} | own
            for name in sections:
                self.external_config_dict.pop(name, None)
        super()._load_internal_config_dict(model, model_class, dataset)
        self.internal_config_dict.update(read_shipped("overall.yaml", YamlLoader))
        self.pretrained_defaults = add_shipped_defaults(self, model, dataset)

    def _set_default_parameters(self):
        given, settings = self.external_config_dict, self.final_config_dict
        if isinstance(given.get("eval_args"), dict):
            settings["eval_args"] = {**self.internal_config_dict["eval_args"], **given["eval_args"]}
        self._choose_negatives(given, settings)
        if predicts_ratings(self.model_class):
            self._predict_ratings(given, settings)
        if "show_progress" not in given:
            settings["show_progress"] = sys.stderr.isatty()
        if "gpu_id" not in given and "CUDA_VISIBLE_DEVICES" in os.environ:
            # RecBole overwrites the variable with its default, the first device.
            settings["gpu_id"] = os.environ["CUDA_VISIBLE_DEVICES"]
        if current().size > 1:
            self._take_place(given, settings)
        self._check_metrics()
        if self.model not in MODELS:
            add_feature_columns(self.model, settings, given, self.internal_config_dict)
        repeatable, settings["repeatable"] = settings["repeatable"], True  # RecBole refuses False: we rank the unseen
        super()._set_default_parameters()
        settings["repeatable"] = repeatable

    def _choose_negatives(self, given, settings):
        """Settle ``train_neg_sample_args``: a general model has RecBole's, whatever the run gives for sequential ones.

        Raises:
            GenRecError: a model that cannot do without negative samples is told to, in its own section.
        """
        key = "train_neg_sample_args"
        if not is_general(self.model_class):
            if self.model in MODELS or (key not in given and settings.get("loss_type") == "CE"):
                settings[key] = None
            return
        kind = model_kind(self.model_class)
        if "epochs" in kind.unread:
            settings["epochs"] = 1  # trainer.py:799, after 'eval_step' has been held against what was asked for
        if key in kind.unread:
            settings[key] = None
        elif "labeled" in _modes(settings) and self.model_class.input_type == InputType.POINTWISE:
            settings[key] = given.get(key)  # the labels of the file are what it learns
        elif settings[key] is None:
            if key in self._own_section:
                raise GenRecError(f"{self.model} learns from negative samples: {key!r} of its section is empty.")
            settings[key] = dict(self.internal_config_dict[key])

    def _predict_ratings(self, given, settings):
        """Have a model of ratings evaluated by their errors, whatever the rankings of the run's other models take.

        Raises:
            GenRecError: it is alone in its run, or in its own section, and told to rank.
        """
        asked = given.get("eval_args") if len(set(self.run_models)) == 1 else self._own_section.get("eval_args")
        if asked and "mode" in asked and _modes({"eval_args": asked}) != {"labeled"}:
            raise GenRecError(f"{self.model} predicts ratings and ranks nothing: it takes 'eval_args: mode: labeled'.")
        settings["eval_args"] = {**settings["eval_args"], "mode": "labeled"}
        settings.update(metrics=["RMSE", "MAE"], valid_metric="RMSE", LABEL_FIELD=settings["RATING_FIELD"])

    @staticmethod
    def _take_place(given, settings):
        """Choose the GPU of this one of several processes, and leave logs to the first."""
        named = "gpu_id" in given or "CUDA_VISIBLE_DEVICES" in os.environ
        settings["gpu_id"] = own_gpu(str(settings["gpu_id"]) if named else None)
        if not current().is_first:
            settings.update(show_progress=False, log_wandb=False)

    def _check_metrics(self):
        """Check names of metrics, and let ``valid_metric`` follow ``metrics`` and ``topk`` where it is not given."""
        settings = self.final_config_dict
        metrics = [settings["metrics"]] if isinstance(settings["metrics"], str) else settings["metrics"]
        lengths = [settings["topk"]] if isinstance(settings["topk"], int) else settings["topk"]
        check_metrics(metrics)
        self._check_labels(metrics)
        names = []
        if predicts_ratings(self.model_class):
            return
        for metric in metrics:
            names += [metric] if metric.lower() in WITHOUT_LENGTH else [f"{metric}@{k}" for k in lengths]
        if "valid_metric" not in self.external_config_dict and settings["valid_metric"] not in names:
            settings["valid_metric"] = names[-1]
        if str(settings["valid_metric"]).lower() not in map(str.lower, names):
            raise unknown_name("valid_metric", settings["valid_metric"], names)

    def _check_labels(self, metrics):
        """``mode: labeled`` measures predictions of a column of labels: it takes other metrics than rankings."""
        settings = self.final_config_dict
        if "labeled" not in _modes(settings):
            return
        for metric in metrics:
            if metric_types[str(metric).lower()] != EvaluatorType.VALUE:
                names = [name for name, kind in metric_types.items() if kind == EvaluatorType.VALUE]
                raise GenRecError(
                    f"'eval_args: mode: labeled' predicts labels: it takes the metrics {listed(names)}, not "
                    f"{metric!r}. To rank, use full, uni100 and the like, or pop100."
                )
        label, loaded = settings["LABEL_FIELD"], (settings["load_col"] or {}).get("inter", "*")
        if predicts_ratings(self.model_class):
            return  # it has its column loaded
        if not settings["threshold"] and loaded != "*" and label not in loaded:
            raise GenRecError(
                f"'eval_args: mode: labeled' needs labels: name the column of 'LABEL_FIELD' ({label!r}) under "
                "'inter' in 'load_col', or give a 'threshold'."
            )

    def _check_values(self):
        if self["log_wandb"] and not _is_installed("wandb"):
            raise GenRecError("'log_wandb: true' needs wandb: pip install 'recbole_genrec[wandb]'.")
        share = self["cold_items"]
        if share and self["eval_args"]["mode"]["test"] != "full":
            raise GenRecError("'cold_items' asks for items among the whole catalogue: it takes 'mode: full'.")
        if self["sample_users"] is not None and self["benchmark_filename"]:
            raise GenRecError("'sample_users' needs one .inter file: 'benchmark_filename' has split it already.")
        if share and self["benchmark_filename"]:
            raise GenRecError("'cold_items' needs one .inter file: 'benchmark_filename' has split it already.")
        if self["unseen_every"] and self["eval_args"]["mode"]["test"] != "full":
            raise GenRecError("'unseen_every' gives new items places in lists of the whole catalogue: 'mode: full'.")
        self._check_transform()
        if is_general(self.model_class):
            self._check_general()
        if self.model in MODELS:
            for group in ARGUMENT_GROUPS:
                group.from_config(self)
            if hasattr(self.model_class, "check_settings"):
                self.model_class.check_settings(self)
            self._check_scores()

    def _check_general(self):
        """Refuse what a general model of RecBole cannot do here."""
        if current().size > 1:
            raise GenRecError(f"{self.model}: RecBole's general models train in one process: leave '--nproc' at 1.")
        needed = _PACKAGES.get(self.model)
        if needed and not _is_installed(needed):
            raise GenRecError(f"{self.model} needs the package {needed}, which is not installed.")

    def _check_transform(self):
        """Refuse what RecBole's transforms of batches would fail at, or a model without the one that it reads."""
        own = self.internal_config_dict.get("transform")
        if own and self["transform"] != own:
            raise GenRecError(f"{self.model} reads what 'transform: {own}' makes, not {shown(self['transform'])}.")
        longest = self["MAX_ITEM_LIST_LENGTH"]
        if own == "mask_itemseq" and int(self["mask_ratio"] * longest) < 1:  # transform.py:54
            raise GenRecError(
                f"'mask_ratio' ({self['mask_ratio']}) of 'MAX_ITEM_LIST_LENGTH' ({longest}) masks no item: "
                f"{self.model} needs at least one."
            )

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


def _modes(settings):
    """The modes of the evaluations."""
    mode = settings["eval_args"]["mode"]
    return set(mode.values()) if isinstance(mode, dict) else {mode}


def _is_installed(package):
    # a folder of that name, such as the one that wandb writes, can be found as well, but has no file to import
    found = find_spec(package)
    return found is not None and found.origin is not None
