"""Every patch that RecBole 1.2.0 and 1.2.1 need on today's numpy, pandas, torch and ray; nowhere else.

``apply`` runs once, on ``import recbole_genrec``, also in a spawned process that unpickles anything of this package.
A patch replaces a name inside a RecBole module, so nothing outside RecBole sees it. Each names the line it mends, as
``file:line`` of RecBole 1.2.1.
"""

import builtins
import pickle
import sys
import types
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
import yaml

from recbole_genrec.errors import GenRecError
from recbole_genrec.properties_path import properties_folder
from recbole_genrec.utils import plugin_dataset, plugin_model, plugin_models, plugin_trainer

_applied = False


def apply():
    """Import the parts of RecBole that need mending, and mend them; a second call does nothing."""
    global _applied
    if _applied:
        return
    _applied = True
    with _stub_modules(), _quiet_recbole(), _no_anomaly_detection():
        for name in ("quick_start", "trainer", "data.dataset"):
            import_module(f"recbole.{name}")
        for kind in ("general", "sequential", "knowledge_aware", "context_aware"):
            import_module(f"recbole.model.{kind}_recommender")
    for patch in (
        numpy_aliases,
        trusted_checkpoints,
        load_data_and_model_checkpoints,
        trusted_caches,
        grad_scaler,
        collector_of_counters,
        scores_that_are_no_numbers,
        losses_that_are_no_numbers,
        sparse_update,
        barrier_after_download,
        chained_fillna,
        argsort_of_tensors,
        draws_of_exhaustive_search,
        flops_of_language_models,
        shipped_defaults_in_stock_config,
        plugin_names,
    ):
        patch()


class _ModuleProxy(types.ModuleType):
    """A module seen with some names replaced; every other name is the module's own."""

    def __init__(self, module, **replacements):
        super().__init__(module.__name__)
        vars(self).update(replacements)
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)


def _recbole(name):
    return sys.modules[f"recbole.{name}"]


def _replace(owner, name):
    """Decorator: put ``replacement(original, ...)`` in the place of ``owner.name``."""
    original = getattr(owner, name)

    def put(replacement):
        @wraps(original)
        def patched(*args, **kwargs):
            return replacement(original, *args, **kwargs)

        setattr(owner, name, patched)
        return replacement

    return put


# --- imports -----------------------------------------------------------------------------------------------------


class _Tune(types.ModuleType):
    """``ray.tune`` as RecBole uses it: ``report``, which means something only inside a process that ray started."""

    def report(self, **metrics):
        if "ray.tune" in sys.modules:
            sys.modules["ray.tune"].report(**metrics)


def _kmeans(*args, **kwargs):
    raise ImportError("LDiffRec with clustering needs the package kmeans_pytorch.")


@contextmanager
def _stub_modules():
    """Let RecBole import without ray (quick_start.py:20) and, 1.2.0, without kmeans_pytorch (ldiffrec.py:29).

    ray before 2.7 does not import on today's setuptools and has no wheel for Python 3.12; transformers and accelerate
    probe for it, so the stubs go at once.
    """
    stubs = {"ray": types.ModuleType("ray"), "ray.tune": _Tune("ray.tune")}
    stubs["ray"].tune = stubs["ray.tune"]
    if find_spec("kmeans_pytorch") is None:
        stubs["kmeans_pytorch"] = types.ModuleType("kmeans_pytorch")
        stubs["kmeans_pytorch"].kmeans = _kmeans
    stubs = {name: stub for name, stub in stubs.items() if name not in sys.modules}
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in stubs:
            del sys.modules[name]


@contextmanager
def _quiet_recbole():
    """Silence what RecBole's use of other libraries warns about; its user can do nothing about it."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning, SyntaxWarning):
            warnings.simplefilter("ignore", category)
        yield


@contextmanager
def _no_anomaly_detection():
    """sine.py:25 turns autograd's anomaly detection on for the whole process, on import, whichever model is trained.

    It checks every gradient for NaN: half of the time of a step of SASRec or BERT4Rec on a CPU.
    """
    before = torch.is_anomaly_enabled()
    try:
        yield
    finally:
        torch.autograd.set_detect_anomaly(before)


# --- numpy, pandas, scipy ----------------------------------------------------------------------------------------


def numpy_aliases():
    """configurator.py:628-635 reads aliases that numpy 2 removed and writes others into numpy for the whole process.

    Give the RecBole modules that use an alias (metrics.py:90, interaction.py:31, dataset.py:652, hyper_tuning.py:386)
    a numpy which has it, and leave numpy alone.
    """
    if hasattr(np, "float_"):
        return
    _recbole("config.configurator").Config.compatibility_settings = lambda config: None
    aliased = _ModuleProxy(np, float=np.float64, str=np.str_)
    for name in ("evaluator.metrics", "data.interaction", "data.dataset.dataset", "trainer.hyper_tuning"):
        _recbole(name).np = aliased


def chained_fillna():
    """dataset.py:501, 648, 650 fill columns in place through a chain, of which pandas 2.2 and later warn."""
    for method in ("_load_feat", "_fill_nan"):
        _quiet(_recbole("data.dataset.dataset").Dataset, method)


def argsort_of_tensors():
    """interaction.py:347 hands tensors to ``np.argsort``, of which numpy 2 warns."""
    _quiet(_recbole("data.interaction").Interaction, "sort")


def draws_of_exhaustive_search():
    """hyper_tuning.py:117 draws from a ``RandomState``; hyperopt from 0.2.6 on wants numpy's newer ``Generator``."""
    module = _recbole("trainer.hyper_tuning")
    module.np = _ModuleProxy(module.np, random=_ModuleProxy(np.random, RandomState=np.random.default_rng))


def _quiet(owner, name):
    @_replace(owner, name)
    def quiet(original, *args, **kwargs):
        with _quiet_recbole():
            return original(*args, **kwargs)


class _DokMatrix(scipy.sparse.dok_matrix):
    def _update(self, entries):
        self._dict.update(entries)


def sparse_update():
    """lightgcn.py:111, and six more models: ``dok_matrix._update`` is gone since scipy 1.15."""
    if hasattr(scipy.sparse.dok_matrix, "_update"):
        return
    updatable = _ModuleProxy(scipy.sparse, dok_matrix=_DokMatrix)
    general = [f"model.general_recommender.{name}" for name in ("spectralcf", "gcmc", "lightgcn", "ngcf", "ncl")]
    for name in (*general, "model.knowledge_aware_recommender.kgin", "model.knowledge_aware_recommender.mcclk"):
        if f"recbole.{name}" in sys.modules:
            _recbole(name).sp = updatable


# --- torch -------------------------------------------------------------------------------------------------------


#: pickles that this process has written itself.
_own_pickles = set()


def _warn_of_code(file):
    """Say that a pickle can run code, unless this process wrote it; of several processes, the first says so."""
    path = Path(getattr(file, "name", file))
    others = torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank()
    if not others and path.resolve() not in _own_pickles:
        getLogger().warning(f"{path} is a pickle of RecBole's: reading it can run any code that somebody put into it.")


def _note_own(file):
    _own_pickles.add(Path(getattr(file, "name", file)).resolve())


def _load_checkpoint(file, *args, **kwargs):
    if isinstance(file, (str, Path)) and Path(file).is_dir():
        return import_module("recbole_genrec.checkpoint").load_as_recbole(file)
    _warn_of_code(file)
    return torch.load(file, *args, **{"weights_only": False, **kwargs})


def _save_checkpoint(state, file, *args, **kwargs):
    torch.save(state, file, *args, **kwargs)
    _note_own(file)


def trusted_checkpoints():
    """trainer.py:323, 583, s3rec.py:120: RecBole's checkpoints are pickles, which ``torch.load`` refuses by default.

    Only these loads trust the file, and they say so. A folder is one of this package's checkpoints and holds no pickle.
    """
    trusting = _ModuleProxy(torch, load=_load_checkpoint, save=_save_checkpoint)
    for name in ("trainer.trainer", "model.sequential_recommender.s3rec"):
        _recbole(name).torch = trusting


def _load_cache(file):
    _warn_of_code(file)
    return pickle.load(file)


def _dump_cache(value, file):
    pickle.dump(value, file)
    _note_own(file)


def trusted_caches():
    """data/utils.py:61, 122: datasets and loaders in ``checkpoint_dir`` are pickles, which RecBole reads unasked.

    The runner builds its dataset itself and reads none of them.
    """
    warning = _ModuleProxy(pickle, load=_load_cache, dump=_dump_cache)
    for name in ("data.utils", "data.dataset.dataset"):
        _recbole(name).pickle = warning


def load_data_and_model_checkpoints():
    """quick_start.py:248-250: as ``trusted_checkpoints``, but this function imports torch for itself."""
    quick_start = _recbole("quick_start.quick_start")
    original = quick_start.load_data_and_model
    trusting = _ModuleProxy(torch, load=_load_checkpoint)

    def importer(name, *args, **kwargs):
        return trusting if name == "torch" else builtins.__import__(name, *args, **kwargs)

    # A function takes its builtins from its globals when it is made: the same code over the same globals, with an
    # import statement of its own.
    namespace = vars(quick_start)
    usual = namespace["__builtins__"]
    namespace["__builtins__"] = {**vars(builtins), "__import__": importer}
    try:
        patched = types.FunctionType(original.__code__, namespace, original.__name__, original.__defaults__)
    finally:
        namespace["__builtins__"] = usual
    patched.__doc__ = original.__doc__
    quick_start.load_data_and_model = patched
    _recbole("quick_start").load_data_and_model = patched


def grad_scaler():
    """trainer.py:241 makes a ``torch.cuda.amp.GradScaler``, which torch 2.4 and later warn of in every epoch."""

    def scaler(enabled=True):
        return torch.amp.GradScaler("cuda", enabled=enabled)

    _recbole("trainer.trainer").amp = _ModuleProxy(torch.cuda.amp, GradScaler=scaler)


def barrier_after_download():
    """dataset.py:252, 254 wait for other processes after a download, which fails where there is one process."""

    def barrier(*args, **kwargs):
        if torch.distributed.is_initialized():
            torch.distributed.barrier(*args, **kwargs)

    distributed = _ModuleProxy(torch.distributed, barrier=barrier)
    _recbole("data.dataset.dataset").torch = _ModuleProxy(torch, distributed=distributed)


# --- evaluation --------------------------------------------------------------------------------------------------


def collector_of_counters():
    """collector.py:227, 1.2.1: ``.cpu()`` of everything, also of numbers and counters (ItemCoverage, Gini, ...)."""

    @_replace(_recbole("evaluator.collector").Collector, "get_data_struct")
    def get_data_struct(original, collector):
        collected = collector.data_struct._data_dict
        plain = {key: value for key, value in collected.items() if not isinstance(value, torch.Tensor)}
        for key in plain:
            del collected[key]
        struct = original(collector)
        collected.update(plain)
        struct._data_dict.update(plain)
        return struct


def scores_that_are_no_numbers():
    """collector.py:162: ``topk`` takes NaN for the highest score, so that a broken model hits targets."""

    @_replace(_recbole("evaluator.collector").Collector, "eval_batch_collect")
    def eval_batch_collect(original, collector, scores, *args):
        # one pass: NaN and infinity are what a maximum cannot hide; -inf stands for items that are not ranked
        if scores.numel() and not scores.max() < torch.inf:
            rows = (~(scores < torch.inf)).reshape(len(scores), -1).any(1)
            raise GenRecError(
                f"{collector.config['model']} gives scores that are not finite, in {int(rows.sum())} of {len(rows)} "
                "rows of a batch. Nothing is ranked by them."
            )
        return original(collector, scores, *args)


def losses_that_are_no_numbers():
    """trainer.py:344 stops at a loss of NaN, not of infinity, without saying of which model."""

    @_replace(_recbole("trainer.trainer").Trainer, "_check_nan")
    def check(original, trainer, loss):
        if not torch.isfinite(loss):
            raise GenRecError(
                f"{trainer.config['model']}: the training loss is {loss.item()}. Lower 'learning_rate', or set "
                "'clip_grad_norm'."
            )


def flops_of_language_models():
    """utils.py:269, 309: ``get_flops`` deep-copies the model and hooks every module, which kills a language model."""

    @_replace(_recbole("quick_start.quick_start"), "get_flops")
    def get_flops(original, model, dataset, *args, **kwargs):
        if type(model).__name__ not in plugin_models():
            with _quiet_recbole():
                return original(model, dataset, *args, **kwargs)
        # Two operations a parameter and token (Kaplan et al. 2020, section 2.1).
        per_token = 2 * sum(parameter.numel() for parameter in model.parameters())
        getLogger().info("FLOPs of a language model are an estimate for one prompt token.")
        return per_token


# --- the plugin's names ------------------------------------------------------------------------------------------


def read_shipped(name, loader):
    """Read a shipped YAML file; ``{}`` where there is none."""
    file = properties_folder() / name
    if not file.is_file():
        return {}
    return yaml.load(file.read_text("utf-8"), loader) or {}


def add_shipped_defaults(config, model, dataset):
    """Add the plugin's defaults for ``model`` and ``dataset`` to the internal ones of a RecBole configuration.

    A dataset that no shipped YAML describes gets the columns that a sequential model needs: RecBole's default
    ``load_col`` has no time, without which it cannot sort.
    """
    internal = config.internal_config_dict
    internal.update(read_shipped(f"model/{model}.yaml", config.yaml_loader))
    internal.update(read_shipped(f"dataset/{dataset}.yaml", config.yaml_loader))
    settings = {**internal, **config.external_config_dict}
    columns = [settings[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")]
    loaded = settings["load_col"]
    if "load_col" not in config.external_config_dict and isinstance(loaded, Mapping):
        internal["load_col"] = {**loaded, "inter": list(dict.fromkeys([*loaded["inter"], *columns]))}


def shipped_defaults_in_stock_config():
    """configurator.py:237: a stock ``Config`` knows no YAML of the plugin's models."""

    @_replace(_recbole("config.configurator").Config, "_load_internal_config_dict")
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
    _recbole("trainer").__getattr__ = _resolver("recbole.trainer", "Trainer", plugin_trainer)
    _recbole("data.dataset").__getattr__ = _resolver("recbole.data.dataset", "Dataset", plugin_dataset)


def _resolver(module, suffix, find):
    def resolve(name):
        model = name.removesuffix(suffix)
        if name != model + suffix or model not in plugin_models():
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return find(model)

    return resolve
