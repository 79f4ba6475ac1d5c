"""Names of models and the classes behind them: the plugin's registry first, RecBole's own models after it.

A plugin model is one file and one YAML: ``properties/model/<Name>.yaml`` and ``recbole_genrec/model/<name>.py``, the
lower-case name, which is also how RecBole looks its own models up (``recbole/utils/utils.py:55``).
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from recbole_genrec.distributed import current
from recbole_genrec.errors import GenRecError, unknown_name
from recbole_genrec.properties_path import properties_folder


@cache
def plugin_models() -> dict[str, str]:
    """Names of the plugin's models and the modules that define them."""
    modules = {path.stem: f"recbole_genrec.model.{path.stem.lower()}" for path in _plugin_yamls()}
    package = Path(find_spec("recbole_genrec").origin).parent
    return {name: module for name, module in modules.items() if (package / "model" / f"{name.lower()}.py").is_file()}


def _plugin_yamls():
    return sorted(properties_folder().glob("model/*.yaml"))


def plugin_model(name: str) -> type:
    """Import the plugin's model class ``name``."""
    return getattr(import_module(plugin_models()[name]), name)


def plugin_trainer(name: str) -> type:
    """Import the trainer of the plugin's model ``name``: ``<name>Trainer`` where it exists, else ``GenRecTrainer``."""
    trainers = import_module("recbole_genrec.trainer")
    return getattr(trainers, f"{name}Trainer", None) or trainers.GenRecTrainer


def plugin_dataset(name: str) -> type:
    """Import the dataset of the plugin's model ``name``: ``<name>Dataset`` where it exists, else RecBole's, exact."""
    datasets = import_module("recbole_genrec.data.dataset")
    own = getattr(datasets, f"{name}Dataset", None)
    return own or datasets.exact_dataset_class(import_module("recbole.data.dataset").SequentialDataset)


def sequential_models() -> list[str]:
    """Names of every model that the runner takes: the plugin's, then RecBole's sequential ones."""
    recbole_models = vars(import_module("recbole.model.sequential_recommender"))
    return [*plugin_models(), *sorted(name for name, value in recbole_models.items() if isinstance(value, type))]


def get_model(name: str) -> type:
    """Return the model class of a name.

    Raises:
        GenRecError: no sequential model has this name; the message lists those that exist.
    """
    if name in plugin_models():
        return plugin_model(name)
    recbole_models = import_module("recbole.model.sequential_recommender")
    model = getattr(recbole_models, name, None)
    if isinstance(model, type):
        return model
    other_kinds = ("general", "context_aware", "knowledge_aware")
    if any(hasattr(import_module(f"recbole.model.{kind}_recommender"), name) for kind in other_kinds):
        raise GenRecError(f"{name!r} is not a sequential model; this runner compares sequential models only.")
    raise unknown_name("model", name, sequential_models())


def get_trainer(model_type, name: str) -> type:
    """Return the trainer class of a model: the plugin's own, or the one RecBole picks; either shares its work where
    there are several processes.

    Raises:
        GenRecError: it cannot.
    """
    own = name in plugin_models()
    trainer = plugin_trainer(name) if own else import_module("recbole.utils").get_trainer(model_type, name)
    if current().size > 1:
        return import_module("recbole_genrec.trainer").for_several_processes(trainer)
    return trainer
