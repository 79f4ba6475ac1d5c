"""Every patch that RecBole 1.2.0 and 1.2.1 need on today's numpy, pandas, torch and ray; nowhere else.

``apply`` runs once, on ``import recbole_genrec``, also in a spawned process that unpickles anything of this package.
A patch replaces a name inside a RecBole module, so nothing outside RecBole sees it. Each names the line it mends, as
``file:line`` of RecBole 1.2.1.
"""

from importlib import import_module

from recbole_genrec.compat import evaluation, imports, naming, numeric, torch_calls
from recbole_genrec.compat.patching import quiet_recbole

_applied = False


def apply():
    """Import the parts of RecBole that need mending, and mend them; a second call does nothing."""
    global _applied
    if _applied:
        return
    _applied = True
    with imports.stub_modules(), quiet_recbole(), imports.no_anomaly_detection():
        for name in ("quick_start", "trainer", "data.dataset"):
            import_module(f"recbole.{name}")
        for kind in ("general", "sequential", "knowledge_aware", "context_aware"):
            import_module(f"recbole.model.{kind}_recommender")
    for patch in (
        numeric.numpy_aliases,
        torch_calls.trusted_checkpoints,
        torch_calls.load_data_and_model_of_runs,
        torch_calls.trusted_caches,
        torch_calls.grad_scaler,
        evaluation.collector_of_counters,
        evaluation.scores_that_are_no_numbers,
        evaluation.losses_that_are_no_numbers,
        numeric.sparse_update,
        torch_calls.barrier_after_download,
        torch_calls.folders_of_several_processes,
        numeric.chained_fillna,
        numeric.argsort_of_tensors,
        numeric.preloaded_weights,
        numeric.draws_of_exhaustive_search,
        evaluation.flops_of_language_models,
        naming.shipped_defaults_in_stock_config,
        naming.plugin_names,
    ):
        patch()
