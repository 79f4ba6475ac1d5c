"""What the groups of settings share: construction from a configuration, and checks of a value with their messages."""

from dataclasses import fields
from math import inf
from typing import ClassVar

from recbole_genrec.errors import GenRecError, shown, unknown_name


class Arguments:
    """What the argument classes share: construction from a configuration."""

    #: names of the models that read the class's keys; empty: every generative one.
    models: ClassVar[tuple] = ()

    @classmethod
    def from_config(cls, config):
        """Read this class's fields from ``config``, a mapping whose ``[key]`` gives ``None`` for a missing key.

        A key that is missing or empty takes the field's default.

        Raises:
            GenRecError: a value is not accepted; the message names the key.
        """
        given = {f.name: config[f.name] for f in fields(cls) if config[f.name] is not None}
        return cls(**given)

    @classmethod
    def keys(cls):
        """The configuration keys that this class reads."""
        return tuple(f.name for f in fields(cls))


def one_of(key, value, accepted):
    if value not in accepted:
        raise unknown_name(f"value of {key!r}:", value, accepted)


def at_least(key, value, lowest):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest <= value < inf:
        raise GenRecError(f"{key!r} must be a number of at least {lowest}, not {shown(value)}.")


def whole(key, value, lowest):
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise GenRecError(f"{key!r} must be a whole number of at least {lowest}, not {shown(value)}.")


def share(key, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise GenRecError(f"{key!r} must be a number in [0, 1), not {shown(value)}.")


def texts(key, value):
    if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
        raise GenRecError(f"{key!r} must be a list of texts, not {shown(value)}.")


def flag(key, value):
    if not isinstance(value, bool):
        raise GenRecError(f"{key!r} must be true or false, not {shown(value)}.")
