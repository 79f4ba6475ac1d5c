"""Check the shape of JSON that a user may have edited."""

from typing import Any

from recbole_genrec.errors import GenRecError, shown

NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", None: "null"}


def check_shape(value: Any, shape: Any, where: str) -> None:
    """Compare a JSON value with the shape that its readers rely on.

    Args:
        value: what ``json.loads`` has given.
        shape: a type, where whole numbers are numbers and booleans are none; ``None`` for null; a list with the shape
            of all entries; a dict with the shapes of the keys that must be there, or may be where a key ends with
            ``?``, ``"*"`` standing for all others, which else may be anything; or a tuple of shapes, one of which must
            fit.
        where: names the value in an error.

    Raises:
        GenRecError: it looks different; the message says where.
    """
    found = _misfit(value, shape)
    if found is not None:
        place, problem = found
        raise GenRecError(f"{where}{place} {problem}.")


def _misfit(value: Any, shape: Any) -> tuple[str, str] | None:
    """The place below ``value`` and what is wrong there, or ``None``."""
    if isinstance(shape, tuple):
        fits = any(_misfit(value, one) is None for one in shape)
    elif isinstance(shape, (list, dict)):
        fits = isinstance(value, type(shape))
    else:
        fits = _is(value, shape)
    if not fits:
        return "", f"is {shown(value)}, not {_named(shape)}"
    if isinstance(shape, list):
        if isinstance(shape[0], type) and all(type(entry) is shape[0] for entry in value):  # a million of them, quickly
            return None
        entries = ((place, entry, shape[0]) for place, entry in enumerate(value))
    elif isinstance(shape, dict):
        for key in shape.keys() - value.keys():
            if key != "*" and not key.endswith("?"):
                return "", f"lacks the key {key!r}"
        known = {key.removesuffix("?"): one for key, one in shape.items()}
        entries = ((key, each, known.get(key, known.get("*", ...))) for key, each in value.items())
    else:
        return None
    for place, entry, one in entries:
        if one is not ... and (found := _misfit(entry, one)) is not None:
            return f"[{shown(place)}]{found[0]}", found[1]
    return None


def _is(value: Any, kind: type | None) -> bool:
    if kind is None:
        return value is None
    return isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))


def _named(shape: Any) -> str:
    if isinstance(shape, tuple):
        return " or ".join(map(_named, shape))
    return "a list" if isinstance(shape, list) else "an object" if isinstance(shape, dict) else NAMES[shape]
