"""Typed settings: the one place where configuration keys are read and checked.

Every key of ``properties/model/GenRec.yaml`` that RecBole itself does not know is a field of one of these frozen
dataclasses. A model builds them once from RecBole's ``Config``; nothing behind the constructors reads a key again.
"""

from recbole_genrec.arguments.models import GenRecArguments, P5Arguments, PromptLLMArguments, Seq2SeqArguments
from recbole_genrec.arguments.shared import BackboneArguments, EngineArguments, IndexingArguments, PromptArguments
from recbole_genrec.arguments.training import ScheduleArguments, TrainerArguments

#: every group of settings, in the order of the README.
ARGUMENT_GROUPS = (
    PromptArguments,
    IndexingArguments,
    BackboneArguments,
    EngineArguments,
    GenRecArguments,
    P5Arguments,
    PromptLLMArguments,
    Seq2SeqArguments,
    ScheduleArguments,
    TrainerArguments,
)


def plugin_keys():
    """All configuration keys that the plugin adds to RecBole's."""
    return frozenset(key for group in ARGUMENT_GROUPS for key in group.keys())
