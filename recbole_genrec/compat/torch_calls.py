"""Today's torch: pickles that can run code, gradient scaling; and one process or several."""

import pickle
import sys
from logging import getLogger
from pathlib import Path

import torch

from recbole_genrec.compat.patching import ModuleProxy, recbole_module

#: what reading a file that is no pickle of torch's, or half of one, raises.
NO_PICKLE = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, AttributeError, ImportError, ValueError)
#: pickles that this process has written itself.
_own_pickles = set()


def _warn_of_code(file):
    """Say that a pickle can run code, unless this process wrote it; of several processes, the first says so."""
    path = _path_of(file)
    others = torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank()
    if not others and path.resolve() not in _own_pickles:
        getLogger().warning(f"{path} is a pickle of RecBole's: reading it can run any code that somebody put into it.")


def _note_own(file):
    _own_pickles.add(_path_of(file).resolve())


def _path_of(file):
    """The path of a file that is open, or is named by a text or a ``Path``, whose ``name`` is its last part alone."""
    return Path(file if isinstance(file, (str, Path)) else file.name)


def load_pickle(file, *args, **kwargs):
    """``torch.load`` of one of RecBole's checkpoints."""
    _warn_of_code(file)
    return torch.load(file, *args, **{"weights_only": False, **kwargs})


def _save_checkpoint(state, file, *args, **kwargs):
    torch.save(state, file, *args, **kwargs)
    _note_own(file)


def trusted_checkpoints(read_folder):
    """trainer.py:323, 583, s3rec.py:120: RecBole's checkpoints are pickles, which ``torch.load`` refuses by default.

    So do convncf.py:82, nais.py:127, neumf.py:84 and ract.py:75, which begin with checkpoints of others.

    Only these loads trust the file, and they warn. A folder is one of this package's checkpoints and holds no pickle.

    Args:
        read_folder: reads such a folder.
    """

    def load(file, *args, **kwargs):
        is_folder = isinstance(file, (str, Path)) and Path(file).is_dir()
        return read_folder(file) if is_folder else load_pickle(file, *args, **kwargs)

    trusting = ModuleProxy(torch, load=load, save=_save_checkpoint)
    general = [f"model.general_recommender.{name}" for name in ("convncf", "nais", "neumf", "ract")]
    for name in ("trainer.trainer", "model.sequential_recommender.s3rec", *general):
        recbole_module(name).torch = trusting


def sparse_tensors():
    """lightgcn.py:125, and eight more modules: today's torch warns of ``torch.sparse.FloatTensor``."""

    def float_tensor(*args):
        return torch.sparse_coo_tensor(*args, dtype=torch.float32, check_invariants=True)

    sparse = ModuleProxy(torch.sparse, FloatTensor=float_tensor)
    names = "spectralcf gcmc lightgcn sgl dmf dgcf ngcf ncl".split()
    for name in (*(f"model.general_recommender.{name}" for name in names), "model.layers"):
        recbole_module(name).torch = ModuleProxy(torch, sparse=sparse)


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
    warning = ModuleProxy(pickle, load=_load_cache, dump=_dump_cache)
    for name in ("data.utils", "data.dataset.dataset"):
        recbole_module(name).pickle = warning


def load_data_and_model_of_runs(load):
    """quick_start.py:235 reads a pickle as ``trusted_checkpoints`` does not, and builds other data than the runner.

    Args:
        load: its replacement.
    """

    def load_data_and_model(model_file):
        return load(model_file)

    original = recbole_module("quick_start").load_data_and_model
    load_data_and_model.__doc__ = original.__doc__
    for name in ("quick_start", "quick_start.quick_start"):
        recbole_module(name).load_data_and_model = load_data_and_model


def grad_scaler():
    """trainer.py:241 makes a ``torch.cuda.amp.GradScaler``, which torch 2.4 and later warn of in every epoch."""

    def scaler(enabled=True):
        return torch.amp.GradScaler("cuda", enabled=enabled)

    recbole_module("trainer.trainer").amp = ModuleProxy(torch.cuda.amp, GradScaler=scaler)


def barrier_after_download():
    """dataset.py:252, 254 wait for other processes after a download, which fails where there is one process."""

    def barrier(*args, **kwargs):
        if torch.distributed.is_initialized():
            torch.distributed.barrier(*args, **kwargs)

    distributed = ModuleProxy(torch.distributed, barrier=barrier)
    recbole_module("data.dataset.dataset").torch = ModuleProxy(torch, distributed=distributed)


def folders_of_several_processes():
    """utils.py:51 checks for a folder and then makes it; another process may make it in between."""

    def ensure_dir(dir_path):
        """Make a folder, unless it is there."""
        Path(dir_path).mkdir(parents=True, exist_ok=True)

    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "recbole" and "ensure_dir" in vars(module):
            module.ensure_dir = ensure_dir
