"""Typed settings: the one place where every configuration key is described and checked, the plugin's and RecBole's.

The plugin's keys are fields of frozen dataclasses. A model builds them once from RecBole's ``Config``; nothing behind
the constructors reads a key again. From the same descriptions come the check before a run, ``--help KEY``, the errors
and the reference in ``docs/settings.md``.
"""

from recbole_genrec.config.arguments.explanation_settings import ExplanationArguments, PEPLERArguments
from recbole_genrec.config.arguments.models import (
    AlignmentArguments,
    BSARecArguments,
    ContextArguments,
    GenRecArguments,
    HSTUArguments,
    P5Arguments,
    PretrainArguments,
    PromptLLMArguments,
    Seq2SeqArguments,
    TALLRecArguments,
    TigerArguments,
    UniTRecArguments,
    UserArguments,
)
from recbole_genrec.config.arguments.schema import ARGUMENT_GROUPS, plugin_keys
from recbole_genrec.config.arguments.shared import (
    BackboneArguments,
    EngineArguments,
    IndexingArguments,
    PromptArguments,
    SequenceArguments,
    TextVectorArguments,
)
from recbole_genrec.config.arguments.training import ScheduleArguments, TrainerArguments

__all__ = [
    "ARGUMENT_GROUPS",
    "AlignmentArguments",
    "BSARecArguments",
    "BackboneArguments",
    "ContextArguments",
    "EngineArguments",
    "ExplanationArguments",
    "GenRecArguments",
    "HSTUArguments",
    "IndexingArguments",
    "P5Arguments",
    "PEPLERArguments",
    "PretrainArguments",
    "PromptArguments",
    "PromptLLMArguments",
    "ScheduleArguments",
    "Seq2SeqArguments",
    "SequenceArguments",
    "TALLRecArguments",
    "TigerArguments",
    "TextVectorArguments",
    "TrainerArguments",
    "UniTRecArguments",
    "UserArguments",
    "plugin_keys",
]
