"""Names of models, and where the classes behind them are: the plugin's table first, RecBole's own models after it.

The table holds texts, ``module:name``, so that nothing is imported before it is asked for; :func:`resolve` is the one
function of this package that imports by a text. A new model is one file ``model/<name>.py``, one file of defaults
``properties/model/<Name>.yaml`` and one line of :data:`MODELS`.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from recbole_genrec.errors import LONGEST_NAME, GenRecError, unknown_name


class Plugin(NamedTuple):
    """Where the classes of a model of this package are, each as ``module:name``, and the names of its parents."""

    model: str
    trainer: str = "recbole_genrec.training.trainer:GenRecTrainer"
    dataset: str = "recbole_genrec.interactions.dataset:GenRecDataset"
    #: names of the classes above the model that read settings, the nearest first; without RecBole's base classes.
    parents: tuple[str, ...] = ("GenerativeRecommender",)


#: the trainer of models that train at all positions of a history at once.
_ALL_POSITIONS = "recbole_genrec.training.all_positions_trainer:AllPositionsTrainer"
MODELS = {
    "BSARec": Plugin("recbole_genrec.model.bsarec:BSARec", _ALL_POSITIONS, parents=()),
    "GenRec": Plugin("recbole_genrec.model.genrec:GenRec", "recbole_genrec.training.stages:PretrainingTrainer"),
    "GenRecSeq2Seq": Plugin(
        "recbole_genrec.model.genrecseq2seq:GenRecSeq2Seq", "recbole_genrec.training.stages:GenRecSeq2SeqTrainer"
    ),
    "HSTU": Plugin("recbole_genrec.model.hstu:HSTU", _ALL_POSITIONS, parents=()),
    "P5": Plugin("recbole_genrec.model.p5:P5"),
    "PEPLER": Plugin("recbole_genrec.model.pepler:PEPLER", "recbole_genrec.training.prompt_stages:PromptStagesTrainer"),
    "PromptLLM": Plugin(
        "recbole_genrec.model.promptllm:PromptLLM",
        "recbole_genrec.training.untrained:PromptLLMTrainer",
        parents=("GenRec", "GenerativeRecommender"),
    ),
    "RatingMF": Plugin("recbole_genrec.model.ratingmf:RatingMF", "recbole.trainer:Trainer", parents=()),
    "SASRecAll": Plugin("recbole_genrec.model.sasrecall:SASRecAll", _ALL_POSITIONS, parents=("SASRec",)),
    "TALLRec": Plugin("recbole_genrec.model.tallrec:TALLRec"),
    "TIGER": Plugin("recbole_genrec.model.tiger:TIGER"),
    "UniTRec": Plugin("recbole_genrec.model.unitrec:UniTRec"),
}
#: general models of this package, which RecBole's trainer runs.
OWN_GENERAL = ("RatingMF",)
#: sequential and general models of RecBole 1.2, so that a name can be checked before RecBole is imported, which takes
#: seconds.
_SEQUENTIAL = tuple(
    """BERT4Rec CORE Caser DIEN DIN FDSA FEARec FOSSIL FPMC GCSAN GRU4Rec GRU4RecCPR GRU4RecF GRU4RecKG HGN HRM KSR
    LightSANs NARM NPE NextItNet RepeatNet S3Rec SASRec SASRecCPR SASRecF SHAN SINE SRGNN STAMP TransRec""".split()
)
_GENERAL = tuple(
    """ADMMSLIM AsymKNN BPR CDAE ConvNCF DGCF DMF DiffRec EASE ENMF FISM GCMC ItemKNN LDiffRec LINE LightGCN MacridVAE
    MultiDAE MultiVAE NAIS NCEPLRec NCL NGCF NNCF NeuMF Pop RaCT Random RecVAE SGL SLIMElastic SimpleX
    SpectralCF""".split()
)
#: RecBole's kinds of models that the runner takes, and the names of each.
_KINDS = {"sequential": _SEQUENTIAL, "general": _GENERAL}
#: derives the class that a run makes its trainer of: with listeners, and sharing its work where several processes run.
TRAINER_CLASS = "recbole_genrec.training.listeners:trainer_class"
#: what opens checkpoints of this package for RecBole's ``torch.load`` and ``load_data_and_model``.
CHECKPOINT_READER = "recbole_genrec.runs.reopen:load_as_recbole"
RUN_READER = "recbole_genrec.runs.reopen:load_data_and_model"
#: kinds of RecBole's models that the runner does not take.
_OTHER_KINDS = ("context_aware", "knowledge_aware", "exlib")


def resolve(place: str) -> Any:
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


def all_models() -> list[str]:
    """Names of every model that the runner takes: the plugin's, then RecBole's sequential and general ones."""
    found = (name for kind in _KINDS for name, value in vars(_module(kind)).items() if isinstance(value, type))
    return [*MODELS, *sorted(found)]


def _module(kind: str) -> ModuleType:
    """RecBole's module of the models of a kind."""
    return import_module(f"recbole.model.{kind}_recommender")


def recbole_folder() -> Path:
    """The folder of the installed RecBole, which is not imported for it."""
    spec: Any = find_spec("recbole")  # never None: this package depends on it
    return Path(spec.origin).parent


def recbole_models() -> tuple[str, ...]:
    """Names of the installed RecBole's sequential and general models, which is not imported for it.

    1.2.0 lacks some of 1.2.1's.
    """
    return _models_in(recbole_folder())


@cache
def _models_in(folder: Path) -> tuple[str, ...]:
    found = {kind: {path.stem for path in (folder / f"model/{kind}_recommender").glob("*.py")} for kind in _KINDS}
    return tuple(name for kind, names in _KINDS.items() for name in names if name.lower() in found[kind])


def check_model(name: str) -> None:
    """Refuse a name that no model of the runner has, without importing RecBole.

    A model that somebody has put into RecBole's own folders is known by its file, as RecBole finds it (utils.py:55).

    Raises:
        GenRecError: it has none; the message lists those that exist.
    """
    known = (*MODELS, *recbole_models())
    if name in known:
        return
    in_other_case = name.lower() in map(str.lower, known)
    if not in_other_case and any(_has_file(kind, name) for kind in _KINDS):
        return
    if not in_other_case and any(_has_file(kind, name) for kind in _OTHER_KINDS):
        raise unsupported(name)
    raise unknown_name("model", name, known)


def unsupported(name: str) -> GenRecError:
    """The error for a model of RecBole's that reads more than interactions."""
    return GenRecError(
        f"{name!r} is neither a sequential nor a general model; this runner compares these two kinds. Run "
        "context-aware and knowledge-aware models with RecBole itself."
    )


def _has_file(kind: str, name: str) -> bool:
    """Whether RecBole has a file for a model of this name among those of a kind."""
    if not name.isidentifier() or len(name) > LONGEST_NAME:
        return False
    return (recbole_folder() / "model" / f"{kind}_recommender" / f"{name.lower()}.py").is_file()


def is_model(name: str) -> bool:
    """Whether a name is that of a model of the runner."""
    try:
        check_model(name)
    except GenRecError:
        return False
    return True


def get_model(name: str) -> type:
    """Return the model class of a name.

    Raises:
        GenRecError: no model has this name; the message lists those that exist.
    """
    check_model(name)
    if name in MODELS:
        return plugin_model(name)
    for kind in _KINDS:
        model = getattr(_module(kind), name, None)
        if isinstance(model, type):
            return model
    raise unknown_name("model", name, all_models())


def is_general(model: Any) -> bool:
    """Whether a model, a class or a known name, is a general one: it knows users and items, but no histories."""
    if isinstance(model, str):
        return model in (*OWN_GENERAL, *_GENERAL)
    return model.type.name in ("GENERAL", "TRADITIONAL")


def predicts_ratings(model: type) -> bool:
    """Whether a model class predicts ratings and ranks nothing."""
    return getattr(model, "predicts_ratings", False)


def get_trainer(model_type: Any, name: str, processes: int = 1) -> type:
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
