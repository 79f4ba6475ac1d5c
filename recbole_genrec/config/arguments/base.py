"""One description of a setting, and everything that follows from it: the check, the message, the help, the reference.

A group of settings is a frozen pydantic dataclass. A field's name is the key, its annotation the type with its bounds,
its default the value where no YAML file gives one, and the docstring below it the sentence that explains it. Metadata
of the annotation say which models read the key (:class:`Reads`) and which other settings it needs (:class:`Needs`).
"""

from dataclasses import MISSING, dataclass, fields
from typing import ClassVar, Literal, get_args, get_origin

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from recbole_genrec.config.arguments.types import MOST, expected
from recbole_genrec.errors import GenRecError, shown, unknown_name

STRICT = ConfigDict(strict=True, use_attribute_docstrings=True, allow_inf_nan=False, arbitrary_types_allowed=True)


class Reads:
    """Metadata of a field: the models that read it, where they are not those of its group."""

    def __init__(self, *models):
        self.models = models


class Needs:
    """Metadata of a field: it has an effect only with certain values of another key.

    Args:
        key: the other key.
        values: of the other key with which the field has an effect.
        models: for which this holds; empty: all that read the field.
        when: a key and a value; this holds only with them.
        but: a value of the other key with which the field has no effect, instead of ``values``.
        words: text for messages instead of the values.
    """

    def __init__(self, key, *values, models=(), when=None, but=None, words=""):
        self.key, self.values, self.models, self.when, self.but = key, values, models, when, but
        self.words = words or " or ".join(map(_yaml, values))

    def met(self, value):
        """Whether a value of the other key lets the field have an effect."""
        if self.but is None:
            return value in self.values
        return (tuple(value) if isinstance(value, list) else value) != self.but


class Neutral:
    """Metadata of a field: the value that switches the key off, with which it needs no other key."""

    def __init__(self, value):
        self.value = value


@dataclass(frozen=True)
class Setting:
    """A key of the configuration as its group describes it."""

    key: str
    #: the type, and its metadata: bounds, :class:`Reads`, :class:`Needs`.
    annotation: object
    metadata: tuple
    #: the value where no YAML file gives one.
    default: object
    sentence: str
    group: type

    def __hash__(self):
        return hash((self.key, self.group))

    def metadata_of(self, kind):
        """Items of its metadata that are instances of the class ``kind``."""
        return [item for item in self.metadata if isinstance(item, kind)]

    @property
    def models(self):
        """Names of the models that read it; empty: every model of the group's kind."""
        return next((item.models for item in self.metadata_of(Reads)), self.group.models)

    def needs(self, model):
        """The :class:`Needs` of the key for a model."""
        return [need for need in self.metadata_of(Needs) if not need.models or model in need.models]

    def asks_for_nothing(self, value):
        """Whether a value switches off what the key is about."""
        return any(item.value == value for item in self.metadata_of(Neutral))

    @property
    def expected(self):
        """What it accepts, in words that follow "must be"."""
        return expected(self.annotation, self.metadata)

    def refusal(self, value, source="") -> GenRecError:
        """The error for a value that is not accepted.

        Args:
            value: the value.
            source: where it was given, such as a file.
        """
        where = f" ({source})" if source else ""
        if get_origin(self.annotation) is Literal:
            return unknown_name(f"value of {self.key!r}:", value, get_args(self.annotation), where)
        most = f" and at most {MOST}" if isinstance(value, int) and value > MOST else ""
        return GenRecError(f"{self.key!r} must be {self.expected}{most}, not {shown(value)}{where}.")


class Settings:
    """What all groups share: their fields as :class:`Setting`, and the check of a value."""

    #: names of the models that read the group's keys; empty: every one of the group's kind.
    models: ClassVar[tuple] = ()

    @classmethod
    def keys(cls):
        """The configuration keys of this group."""
        return tuple(f.name for f in fields(cls))

    @classmethod
    def settings(cls):
        """The settings of the group by key, ``{key: Setting}``."""
        defaults = {f.name: f.default if f.default is not MISSING else f.default_factory() for f in fields(cls)}
        return {
            key: Setting(key, info.annotation, tuple(info.metadata), defaults[key], info.description or "", cls)
            for key, info in cls.__pydantic_fields__.items()
        }


class Arguments(Settings):
    """A group of the plugin's own keys, which models and trainers read through an object of the class.

    Raises:
        GenRecError: a value is not accepted; the message names the key.
    """

    @classmethod
    def from_config(cls, config):
        """Read this class's fields from ``config``, a mapping whose ``[key]`` gives ``None`` for a missing key.

        A key that is missing or empty takes the field's default.

        Raises:
            GenRecError: a value is not accepted; the message names the key.
        """
        given = {f.name: config[f.name] for f in fields(cls) if config[f.name] is not None}
        return cls(**given)


def _yaml(value):
    return str(value).lower() if isinstance(value, bool) else "empty" if value == "" else str(value)


def group(cls):
    """Make a class a frozen group of settings whose constructor raises :class:`GenRecError`.

    pydantic raises its error from the ``__init__`` that it generates, so that method is wrapped.
    """
    cls = pydantic_dataclass(frozen=True, config=STRICT)(cls)
    construct = cls.__init__

    def __init__(self, *args, **kwargs):
        try:
            construct(self, *args, **kwargs)
        except ValidationError as error:
            raise _explained(cls, error, kwargs) from None

    cls.__init__ = __init__
    return cls


def _explained(cls, error, given):
    """The first of pydantic's errors as a :class:`GenRecError`; ``given`` holds the values by key."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, GenRecError):  # raised by a check of several keys together
        return cause
    key = first["loc"][0]
    return cls.settings()[key].refusal(given.get(key, first["input"]))
