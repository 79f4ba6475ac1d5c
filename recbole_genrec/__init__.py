"""Generative recommendation with language models, inside RecBole."""

from typing import TYPE_CHECKING

from recbole_genrec.compat.on_import import after_import
from recbole_genrec.config.registry import resolve
from recbole_genrec.distributed.threads import choose_waiting
from recbole_genrec.errors import GenRecError

__version__ = "0.1.0"
__all__ = [
    "Conversation",
    "GenRec",
    "GenRecConfig",
    "GenRecError",
    "GenRecommender",
    "ItemId",
    "NewItem",
    "Recommender",
    "Title",
    "UserHistory",
    "objective_function",
    "run_recbole_genrec",
]

#: public names and where they are: RecBole, transformers and the like are imported when somebody asks for one.
_PUBLIC = {
    "Conversation": "recbole_genrec.serve.conversation:Conversation",
    "GenRec": "recbole_genrec.model.genrec:GenRec",
    "GenRecConfig": "recbole_genrec.config.config:GenRecConfig",
    "GenRecommender": "recbole_genrec.serve.recommender:GenRecommender",
    "ItemId": "recbole_genrec.serve.history_reader:ItemId",
    "NewItem": "recbole_genrec.catalogue.new_items:NewItem",
    "Recommender": "recbole_genrec.serve.protocol:Recommender",
    "Title": "recbole_genrec.serve.history_reader:Title",
    "UserHistory": "recbole_genrec.serve.history_reader:UserHistory",
    "objective_function": "recbole_genrec.runs.tuning:objective_function",
    "run_recbole_genrec": "recbole_genrec.quick_start:run_recbole_genrec",
}

choose_waiting()  # before anything loads torch
after_import("recbole", lambda: resolve("recbole_genrec.plugin:install")())


if TYPE_CHECKING:
    from recbole_genrec.catalogue.new_items import NewItem
    from recbole_genrec.config.config import GenRecConfig
    from recbole_genrec.model.genrec import GenRec
    from recbole_genrec.quick_start import run_recbole_genrec
    from recbole_genrec.runs.tuning import objective_function
    from recbole_genrec.serve.conversation import Conversation
    from recbole_genrec.serve.history_reader import ItemId, Title, UserHistory
    from recbole_genrec.serve.protocol import Recommender
    from recbole_genrec.serve.recommender import GenRecommender
else:  # a type checker would take every name for a public one

    def __getattr__(name):
        if name not in _PUBLIC:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return resolve(_PUBLIC[name])
