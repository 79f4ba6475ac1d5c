"""All patches, applied at once."""

from importlib import import_module
from typing import NamedTuple

from recbole_genrec.compat import evaluation, imports, naming, numeric, tensorboard, torch_calls
from recbole_genrec.compat.patching import quiet_recbole

_applied = False


class Plugin(NamedTuple):
    """What patches need to know of the package.

    Attributes:
        names: of its models, a mapping or set; looked at when RecBole asks.
        find_model, find_trainer, find_dataset: the class for a name.
        add_defaults: (config, model, dataset) adds the shipped settings to a stock ``Config``.
        read_checkpoint: reads a checkpoint folder as ``torch.load`` would give one of RecBole's.
        load_data_and_model: replaces RecBole's function of that name.
    """

    names: object
    find_model: object
    find_trainer: object
    find_dataset: object
    add_defaults: object
    read_checkpoint: object
    load_data_and_model: object


def apply(plugin):
    """Import the parts of RecBole that need patches, and patch them; a second call does nothing."""
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
        torch_calls.trusted_caches,
        torch_calls.grad_scaler,
        evaluation.collector_of_counters,
        evaluation.scores_that_are_no_numbers,
        evaluation.losses_that_are_no_numbers,
        evaluation.popularity_within_a_batch,
        evaluation.scores_of_pairs,
        numeric.sparse_update,
        torch_calls.sparse_tensors,
        torch_calls.barrier_after_download,
        torch_calls.folders_of_several_processes,
        numeric.chained_fillna,
        numeric.argsort_of_tensors,
        numeric.preloaded_weights,
        numeric.draws_of_exhaustive_search,
        tensorboard.boards_that_stay_where_they_are,
    ):
        patch()
    torch_calls.trusted_checkpoints(plugin.read_checkpoint)
    torch_calls.load_data_and_model_of_runs(plugin.load_data_and_model)
    evaluation.flops_of_language_models(plugin.names)
    naming.shipped_defaults_in_stock_config(plugin.names, plugin.add_defaults)
    naming.plugin_names(plugin.names, plugin.find_model, plugin.find_trainer, plugin.find_dataset)
