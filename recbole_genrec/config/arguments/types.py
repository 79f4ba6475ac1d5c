"""The types of settings, and the words in which a message or a reference describes what a type accepts."""

import codecs
import re
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, Strict

#: the largest whole number that a setting accepts, so that no count overflows a 32-bit index.
MOST = 2**31 - 1


class Form(NamedTuple):
    """Metadata of a type: what it accepts, in words that follow "must be"."""

    text: str


Flag = bool
Text = str
Count = Annotated[int, Ge(0), Le(MOST)]
Positive = Annotated[int, Ge(1), Le(MOST)]
AtLeast0 = Annotated[float, Ge(0)]
Above0 = Annotated[float, Gt(0)]
#: a probability below 1: of dropout, of a mask, of a running average.
Share = Annotated[float, Ge(0), Lt(1)]
Ratio = Annotated[float, Ge(0), Le(1)]
Texts = Annotated[tuple[str, ...], Strict(False)]
#: a list of YAML; RecBole changes some in place, so it stays a list.
Names = list[str]


def _check_interval(text):
    for part in text.split(";"):
        match = re.fullmatch(r"\s*[\[(]\s*([^,\s]+)\s*,\s*([^,\s]+)\s*[\])]\s*", part)
        try:
            low, high = map(float, match.groups()) if match else (1, 0)
        except ValueError:
            low, high = 1, 0
        if not low <= high:
            raise ValueError("not an interval")
    return text


#: numbers from one bound to another, as RecBole writes them (dataset.py:981); several with semicolons between them.
Interval = Annotated[str, AfterValidator(_check_interval), Form("an interval such as '[5,inf)' or '(0,1];[3,4]'")]


def _check_encoding(name):
    try:
        codecs.lookup(name)
    except (LookupError, ValueError):
        raise ValueError("no encoding") from None
    return name


Encoding = Annotated[str, AfterValidator(_check_encoding), Form("the name of an encoding, such as 'utf-8'")]


def expected(annotation, metadata=()) -> str:
    """What a type accepts, in words that follow "must be".

    Args:
        annotation: the type, with or without ``Annotated``.
        metadata: of the ``Annotated`` where it was taken off already, as pydantic does with a field's.
    """
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        metadata = (*inner, *metadata)
    for item in metadata:
        if isinstance(item, Form):
            return item.text
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        words = [expected(part) for part in parts if part is not NoneType]
        return " or ".join(words) + (", or empty" if NoneType in parts else "")
    if annotation in (int, float):
        return _number(annotation, metadata)
    if origin is Literal:
        *first, last = map(str, parts)
        return f"{', '.join(first)} or {last}" if first else last
    if origin in (list, tuple):
        return f"a list of {_plural(expected(parts[0]))}"
    if origin is dict or annotation is dict:
        return "a mapping" + (f" of {_plural(expected(parts[1]))}" if parts else "")
    return {bool: "true or false", str: "text"}.get(annotation, "a mapping")


def _number(kind, metadata):
    """A number and its bounds in words."""
    name = "a whole number" if kind is int else "a number"
    low = next((item.ge for item in metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in metadata if isinstance(item, Le)), inf)
    below = next((item.lt for item in metadata if isinstance(item, Lt)), None)
    above = next((item.gt for item in metadata if isinstance(item, Gt)), None)
    if below is not None:
        return f"{name} in {'(' if low is None else '['}{above if low is None else low}, {below})"
    if above is not None:
        return f"{name} above {above}" + ("" if high in (inf, MOST) else f" and at most {high}")
    if low is not None:
        return f"{name} of at least {low}" if high in (inf, MOST) else f"{name} from {low} to {high}"
    return name


def _plural(text):
    if " or a " in text:
        return " or ".join(map(_plural, text.replace(" or a ", " or |a ").split(" or |")))
    words = {"text": "texts", "true or false": "true or false", "a mapping": "mappings"}
    if text.startswith(("a whole number", "a number")):
        return text.removeprefix("a ").replace("number", "numbers", 1)
    return words.get(text, text)
