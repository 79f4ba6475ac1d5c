"""The public function: train, evaluate and compare models on one dataset object and one split."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from recbole_genrec.runs.run import RunOptions, run_models


def run_recbole_genrec(
    model: str | type | Sequence[str | type] = "GenRec",
    dataset: str | None = None,
    config_file_list: Sequence[str | PathLike[str]] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    saved: bool = True,
) -> dict[str, Any] | list[dict[str, Any]]:
    """Train and test one model or several, in turn, on the same dataset object and split.

    Args:
        model: a name, a class, or several: a list, or names with commas between them.
        dataset: name of a folder of atomic files below ``data_path``.
        config_file_list: paths of YAML files, later ones over earlier ones.
        config_dict: settings over the files'. ``{"SASRec": {...}}`` holds settings for one model alone.
        saved: keep the best epoch in ``checkpoint_dir`` and test it; else test the last epoch.

    Returns:
        The result of the model, or a list of results where several were asked for: a dictionary with ``model``,
        ``dataset``, ``seed``, ``best_valid_result``, ``test_result``, ``seconds`` and more, as written to
        ``results_dir``.

    Raises:
        GenRecError: a model, dataset, file, key or value is not accepted.
    """
    return run_models(model, dataset, config_file_list, config_dict, options=RunOptions(saved))
