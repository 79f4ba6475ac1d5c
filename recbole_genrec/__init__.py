"""Generative recommendation with language models, inside RecBole."""

from importlib import import_module
from importlib.util import find_spec

from recbole_genrec.errors import GenRecError
from recbole_genrec.threads import choose_waiting

__version__ = "0.1.0"
__all__ = [
    "GenRec",
    "GenRecConfig",
    "GenRecError",
    "GenRecommender",
    "ItemId",
    "NewItem",
    "objective_function",
    "run_recbole_genrec",
]

choose_waiting()  # before the next line loads torch
if find_spec("recbole"):  # indexing, prompt, decoding, backbone and packing also serve without RecBole
    import_module("recbole_genrec.compat").apply()

_LAZY = {
    "GenRec": "recbole_genrec.model.genrec",
    "GenRecConfig": "recbole_genrec.config",
    "GenRecommender": "recbole_genrec.recommend.recommender",
    "ItemId": "recbole_genrec.recommend.history",
    "NewItem": "recbole_genrec.recommend.new_items",
    "objective_function": "recbole_genrec.tuning",
    "run_recbole_genrec": "recbole_genrec.quick_start",
}


def __getattr__(name):
    # transformers and peft take seconds to import; nobody waits for them who only asks for a SASRec.
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
