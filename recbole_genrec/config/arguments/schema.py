"""Every setting of every model by its key; the check of values, help for a key, and settings without effect."""

from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from recbole_genrec.config.arguments.base import STRICT, Needs
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
from recbole_genrec.config.arguments.recbole import (
    RECBOLE,
    DataSettings,
    EnvironmentSettings,
    EvaluationSettings,
    RunnerSettings,
    TrainingSettings,
)
from recbole_genrec.config.arguments.recbole_general import RecBoleGeneralSettings
from recbole_genrec.config.arguments.recbole_models import RecBoleModelSettings
from recbole_genrec.config.arguments.shared import (
    BackboneArguments,
    EngineArguments,
    IndexingArguments,
    PromptArguments,
    SequenceArguments,
    TextVectorArguments,
)
from recbole_genrec.config.arguments.training import ScheduleArguments, TrainerArguments
from recbole_genrec.config.arguments.types import expected
from recbole_genrec.errors import GenRecError, shown, unknown_name

#: every group of the plugin's own settings, in the order of the reference.
ARGUMENT_GROUPS = (
    PromptArguments,
    IndexingArguments,
    BackboneArguments,
    EngineArguments,
    TextVectorArguments,
    GenRecArguments,
    UserArguments,
    AlignmentArguments,
    ContextArguments,
    PretrainArguments,
    P5Arguments,
    ExplanationArguments,
    PEPLERArguments,
    PromptLLMArguments,
    Seq2SeqArguments,
    TigerArguments,
    SequenceArguments,
    TALLRecArguments,
    UniTRecArguments,
    BSARecArguments,
    HSTUArguments,
    ScheduleArguments,
    TrainerArguments,
)
#: RecBole's own and the runner's, which all models share.
RUN_GROUPS = (RunnerSettings, DataSettings, TrainingSettings, EvaluationSettings, EnvironmentSettings)
#: of RecBole's own models.
RECBOLE_GROUPS = (RecBoleModelSettings, RecBoleGeneralSettings)
#: the plugin's groups come first: if both have a key, a generative model reads the plugin's.
GROUPS = (*ARGUMENT_GROUPS, *RUN_GROUPS, *RECBOLE_GROUPS)


@dataclass(frozen=True)
class ModelKind:
    """The facts about a model class that decide which settings it reads.

    Attributes:
        name: of the class, or of the plugin's model that it is derived from.
        generative: whether it is one of the plugin's generative recommenders.
        from_recbole: whether it is no model of the plugin, so that RecBole's trainer and loaders run it.
        named: keys that the YAML files of the class and its parents name.
        general: whether it is a general model, which knows users and items, but no histories.
        unread: keys of a run that the model does not read although models of its sort do.
    """

    name: str
    generative: bool
    from_recbole: bool
    named: frozenset
    general: bool = False
    unread: frozenset = frozenset()

    def reads(self, setting):
        """Whether the model reads a setting."""
        if setting.key in self.unread:
            return False
        if setting.key in described(RecBoleGeneralSettings):  # which may hold it for sequential models otherwise
            other = RecBoleModelSettings if self.general else RecBoleGeneralSettings
            if setting.group is other:
                return False
        if setting.group in RECBOLE_GROUPS:
            return not self.generative and setting.key in self.named
        if setting.models:
            return self.name in setting.models or (self.from_recbole and RECBOLE in setting.models)
        return self.generative or setting.group in RUN_GROUPS

    def settings(self):
        """``{key: Setting}`` of every setting that the model reads."""
        found = {}
        for group in GROUPS:
            for key, setting in described(group).items():
                if key not in found and self.reads(setting):
                    found[key] = setting
        return found


@cache
def described(group):
    """The settings of a group by key."""
    return group.settings()


@cache
def all_settings():
    """``{key: [Setting, ...]}``: of a key that several groups have, one setting for each."""
    found = {}
    for group in GROUPS:
        for key, setting in described(group).items():
            found.setdefault(key, []).append(setting)
    return found


def plugin_keys():
    """All configuration keys that the plugin's models and trainers read."""
    return frozenset(key for group in ARGUMENT_GROUPS for key in group.keys())


# ---- the check of a value ----


def check_value(setting, value, source=""):
    """Refuse a value that a setting does not accept.

    An empty text setting is its default, so ``null`` is accepted for it as well.

    Args:
        setting: :class:`~recbole_genrec.config.arguments.base.Setting`.
        value: as YAML or a caller gave it.
        source: where it was given, such as a file, for the message.

    Raises:
        GenRecError: it is not accepted; the message names the key, nested ones too, and what is accepted.
    """
    if value is None and (setting.annotation is str or setting.default == ()):
        return
    try:
        _adapter(setting).validate_python(value)
    except ValidationError as error:
        raise _nested_refusal(setting, value, source, error.errors()[0]) from None


def check_values(settings, value, source):
    """:func:`check_value` for a key that several groups have: one of them has to accept the value."""
    problems = []
    for setting in settings or ():
        try:
            return check_value(setting, value, source)
        except GenRecError as problem:
            problems.append(problem)
    if problems:
        raise problems[0]


@cache
def _adapter(setting):
    annotation = Annotated[(setting.annotation, *setting.metadata)] if setting.metadata else setting.annotation
    nested = _model_in(setting.annotation) is not None
    return TypeAdapter(annotation, config=None if nested else STRICT)


def _nested_refusal(setting, value, source, error):
    """The message for one of pydantic's errors, at the nested key where it is."""
    where = f" ({source})" if source else ""
    path, model, words, inner = [setting.key], _model_in(setting.annotation), "", value
    of_each = _values_of(setting.annotation)
    if of_each is not None and isinstance(value, dict) and error["loc"] and error["loc"][0] in value:
        path.append(str(error["loc"][0]))
        words, inner = expected(of_each), value[error["loc"][0]]
    for part in error["loc"]:
        if model is None or not isinstance(inner, dict):
            break
        if part not in model.model_fields:
            return unknown_name(f"key of {': '.join(path)!r}:", part, model.model_fields, where)
        if part not in inner:
            break
        field, inner = model.model_fields[part], inner[part]
        path.append(part)
        words, model = expected(field.annotation, field.metadata), _model_in(field.annotation)
    if not words:
        return setting.refusal(value, source)
    return GenRecError(f"{': '.join(path)!r} must be {words}, not {shown(inner)}{where}.")


def _values_of(annotation):
    """The type of the values of a setting that is a mapping; ``None`` for another setting."""
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    return next(filter(None, map(_values_of, get_args(annotation))), None) if get_args(annotation) else None


def _model_in(annotation):
    """The pydantic model of a nested setting, or ``None``."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def takes_text(key):
    """Whether every setting of a key accepts text; then a value that is no YAML is taken as typed."""
    return key in all_settings() and all(str in _kinds(setting.annotation) for setting in all_settings()[key])


def is_text(key):
    """Whether a key accepts nothing but text."""
    return key in all_settings() and all(_kinds(s.annotation) <= {str, NoneType} for s in all_settings()[key])


def _kinds(annotation):
    """The types in a union or an ``Annotated`` type."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return frozenset().union(*map(_kinds, get_args(annotation)))
    return frozenset((annotation,))


@cache
def described_models():
    """Names of the plugin's models that settings name as their readers."""
    return frozenset(name for settings in all_settings().values() for s in settings for name in s.models) - {RECBOLE}


# ---- settings without effect ----


def without_effect(setting, kind, settings, given_by):
    """Why a given setting has no effect on a model; empty if it has one.

    A user who overrides a file's ``backbone`` expects the file's ``lora_r`` to lose its effect. So a setting is
    reported only if its source is the same as that of the setting it needs, or a later one.

    Args:
        setting: :class:`~recbole_genrec.config.arguments.base.Setting`, which the model reads.
        kind: :class:`ModelKind`.
        settings: the model's final settings, a mapping.
        given_by: ``{key: number of its source}``, sources in rising order of precedence; defaults are missing.
    """
    if setting.asks_for_nothing(settings.get(setting.key)):
        return ""
    readable = kind.settings()
    for need in setting.needs(kind.name):
        if need.key not in readable:
            continue
        if need.when and _value(readable, settings, need.when[0]) != need.when[1]:
            continue
        value = _value(readable, settings, need.key)
        if not need.met(value) and given_by.get(setting.key, -1) >= given_by.get(need.key, -1):
            shown_value = str(value).lower() if isinstance(value, bool) else value or "''"
            return f"no effect with '{need.key}: {shown_value}'; it needs '{need.key}: {need.words}'"
    return ""


def _value(readable, settings, key):
    value = settings.get(key)
    value = readable[key].default if value is None else value
    return value.lower() if key == "learner" else value


# ---- help ----


def explain(key):
    """The text of ``--help KEY``.

    Raises:
        GenRecError: there is no such key; the message names the nearest one.
    """
    if key not in all_settings():
        raise unknown_key(key, "", all_settings())
    return "\n".join(_explained(setting) for setting in all_settings()[key])


def _explained(setting):
    models = f"Read by: {readers(setting)}.\n"
    needs = "".join(f"Needs {need_in_words(need)}.\n" for need in setting.metadata_of(Needs))
    default = "" if setting.group in (*RUN_GROUPS, *RECBOLE_GROUPS) else default_of(setting)
    return f"--{setting.key}: {setting.expected}\n{setting.sentence}\n{models}{needs}" + (
        f"Default: {default}; a model's own file may give another.\n" if default else ""
    )


def need_in_words(need):
    """What a setting needs, as help and reference say it."""
    words = f"'{need.key}: {need.words}'"
    if need.when:
        words += f" (with '{need.when[0]}: {str(need.when[1]).lower()}')"
    return words + (f" ({', '.join(need.models)})" if need.models else "")


def default_of(setting):
    """The default as YAML writes it."""
    if isinstance(setting.default, bool):
        return str(setting.default).lower()
    if isinstance(setting.default, (tuple, list)):
        return f"[{', '.join(map(str, setting.default))}]"
    return "''" if setting.default == "" else str(setting.default)


def readers(setting):
    """Names of the models that read a setting, in words."""
    if setting.group in RECBOLE_GROUPS:
        return "those of RecBole's models whose file names it"
    if setting.models:
        return ", ".join("RecBole's models" if name == RECBOLE else name for name in setting.models)
    return "every model" if setting.group in RUN_GROUPS else "every generative model"


def unknown_key(key, source, known, advice="") -> GenRecError:
    """The error for a key that nothing reads; it names the nearest known one, and ends with ``advice``."""
    import difflib

    from recbole_genrec.errors import LONGEST_NAME

    where = f" ({source})" if source else ""
    nearest = difflib.get_close_matches(str(key)[:LONGEST_NAME], sorted(known), n=1, cutoff=0.6)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else " It is neither RecBole's, nor the plugin's, nor a model's."
    return GenRecError(f"Unknown key {shown(key)}{where}.{hint}{advice}")
