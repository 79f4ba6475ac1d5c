"""Today's numpy, pandas and scipy."""

import sys

import numpy as np
import scipy.sparse

from recbole_genrec.compat.patching import ModuleProxy, quiet, recbole_module, replace


def numpy_aliases():
    """configurator.py:628-635 reads aliases that numpy 2 removed and writes others into numpy for the whole process.

    Give the RecBole modules that use an alias (metrics.py:90, interaction.py:31, dataset.py:652, hyper_tuning.py:386)
    a proxy of numpy that has it, and leave numpy itself unchanged.
    """
    if hasattr(np, "float_"):
        return
    recbole_module("config.configurator").Config.compatibility_settings = lambda config: None
    aliased = ModuleProxy(np, float=np.float64, str=np.str_)
    for name in ("evaluator.metrics", "data.interaction", "data.dataset.dataset", "trainer.hyper_tuning"):
        recbole_module(name).np = aliased


def chained_fillna():
    """dataset.py:501, 648, 650 fill columns in place through a chain, of which pandas 2.2 and later warn."""
    for method in ("_load_feat", "_fill_nan"):
        quiet(recbole_module("data.dataset.dataset").Dataset, method)


def argsort_of_tensors():
    """interaction.py:347 hands tensors to ``np.argsort``, of which numpy 2 warns."""
    quiet(recbole_module("data.interaction").Interaction, "sort")


def preloaded_weights():
    """dataset.py:2186 gives float64, which ksr.py:153 multiplies with a model's float32."""

    @replace(recbole_module("data.dataset.dataset").Dataset, "get_preload_weight")
    def get_preload_weight(original, dataset, field):
        return original(dataset, field).astype(np.float32)


def draws_of_exhaustive_search():
    """hyper_tuning.py:117 draws from a ``RandomState``; hyperopt from 0.2.6 on wants numpy's newer ``Generator``."""
    module = recbole_module("trainer.hyper_tuning")
    module.np = ModuleProxy(module.np, random=ModuleProxy(np.random, RandomState=np.random.default_rng))


class _DokMatrix(scipy.sparse.dok_matrix):
    def _update(self, entries):
        self._dict.update(entries)


def sparse_update():
    """lightgcn.py:111, and six more models: ``dok_matrix._update`` is gone since scipy 1.15."""
    if hasattr(scipy.sparse.dok_matrix, "_update"):
        return
    updatable = ModuleProxy(scipy.sparse, dok_matrix=_DokMatrix)
    general = [f"model.general_recommender.{name}" for name in ("spectralcf", "gcmc", "lightgcn", "ngcf", "ncl")]
    for name in (*general, "model.knowledge_aware_recommender.kgin", "model.knowledge_aware_recommender.mcclk"):
        if f"recbole.{name}" in sys.modules:
            recbole_module(name).sp = updatable
