"""Names of models, and where the classes behind them are: the plugin's table first, RecBole's own models after it.

The table holds texts, ``module:name``, so that nothing is imported before it is asked for; :func:`resolve` is the one
function of this package that imports by a text. A new model is one file ``model/<name>.py``, one file of defaults
``properties/model/<Name>.yaml`` and one line of :data:`MODELS`.
"""

from importlib import import_module
from typing import NamedTuple

from recbole_genrec.errors import GenRecError, unknown_name


class Plugin(NamedTuple):
    """Where the classes of a model of this package are, each as ``module:name``."""

    model: str
    trainer: str = "recbole_genrec.training.trainer:GenRecTrainer"
    dataset: str = "recbole_genrec.interactions.dataset:GenRecDataset"


MODELS = {
    "GenRec": Plugin("recbole_genrec.model.genrec:GenRec"),
    "GenRecSeq2Seq": Plugin(
        "recbole_genrec.model.genrecseq2seq:GenRecSeq2Seq", "recbole_genrec.training.stages:GenRecSeq2SeqTrainer"
    ),
    "P5": Plugin("recbole_genrec.model.p5:P5"),
    "PromptLLM": Plugin(
        "recbole_genrec.model.promptllm:PromptLLM", "recbole_genrec.training.untrained:PromptLLMTrainer"
    ),
    "SASRecAll": Plugin(
        "recbole_genrec.model.sasrecall:SASRecAll", "recbole_genrec.training.sasrecall_trainer:SASRecAllTrainer"
    ),
}
#: RecBole's sequential models, so that a name can be checked before RecBole is imported, which takes seconds.
RECBOLE_MODELS = tuple(
    """BERT4Rec CORE Caser DIEN DIN FDSA FEARec FOSSIL FPMC GCSAN GRU4Rec GRU4RecCPR GRU4RecF GRU4RecKG HGN HRM KSR
    LightSANs NARM NPE NextItNet RepeatNet S3Rec SASRec SASRecCPR SASRecF SHAN SINE SRGNN STAMP TransRec""".split()
)
#: derives the class that a run makes its trainer of: with listeners, and sharing its work where several processes run.
TRAINER_CLASS = "recbole_genrec.training.listeners:trainer_class"
#: what opens checkpoints of this package for RecBole's ``torch.load`` and ``load_data_and_model``.
CHECKPOINT_READER = "recbole_genrec.runs.reopen:load_as_recbole"
RUN_READER = "recbole_genrec.runs.reopen:load_data_and_model"
#: kinds of RecBole's models beside the sequential ones.
_OTHER_KINDS = ("general", "context_aware", "knowledge_aware")


def resolve(place: str):
    """Import what ``place`` names, ``module:name``."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def plugin_model(name: str) -> type:
    """The plugin's model class ``name``."""
    return resolve(MODELS[name].model)


def plugin_trainer(name: str) -> type:
    """The trainer class of the plugin's model ``name``."""
    return resolve(MODELS[name].trainer)


def plugin_dataset(name: str) -> type:
    """The dataset class of the plugin's model ``name``."""
    return resolve(MODELS[name].dataset)


def sequential_models() -> list[str]:
    """Names of every model that the runner takes: the plugin's, then RecBole's sequential ones."""
    recbole_models = vars(import_module("recbole.model.sequential_recommender"))
    return [*MODELS, *sorted(name for name, value in recbole_models.items() if isinstance(value, type))]


def get_model(name: str) -> type:
    """Return the model class of a name.

    Raises:
        GenRecError: no sequential model has this name; the message lists those that exist.
    """
    if name in MODELS:
        return plugin_model(name)
    model = getattr(import_module("recbole.model.sequential_recommender"), name, None)
    if isinstance(model, type):
        return model
    if any(hasattr(import_module(f"recbole.model.{kind}_recommender"), name) for kind in _OTHER_KINDS):
        raise GenRecError(f"{name!r} is not a sequential model; this runner compares sequential models only.")
    raise unknown_name("model", name, sequential_models())


def get_trainer(model_type, name: str, processes: int = 1) -> type:
    """Return the trainer class of a model: the plugin's own, or the one RecBole picks, made to report to listeners.

    Args:
        model_type: RecBole's type of the model.
        name: of the model.
        processes: how many share the work of a run.

    Raises:
        GenRecError: it cannot share its work.
    """
    trainer = plugin_trainer(name) if name in MODELS else import_module("recbole.utils").get_trainer(model_type, name)
    return resolve(TRAINER_CLASS)(trainer, processes)
