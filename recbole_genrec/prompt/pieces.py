"""Texts with named fields, such as ``What follows {history}?``, cut into pieces."""

import re
from string import Formatter
from typing import NamedTuple

from recbole_genrec.errors import GenRecError, shown

_FIELD = re.compile(r"\{([a-z_]+)\}")


class Piece(NamedTuple):
    """A part of a prompt: a ``field`` to fill in, or plain ``text``."""

    text: str
    field: str


def parse_pieces(text, known, where):
    """The list of :class:`Piece` of a text: texts and fields in turn, without empty texts.

    Args:
        text: a doubled brace is a plain one.
        known: the accepted fields.
        where: names the text in errors.

    Raises:
        GenRecError: a brace is not closed, a field is unknown or has a format.
    """
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise GenRecError(f"{where}: {error}.") from error
    pieces = []
    for literal, field, form, conversion in parsed:
        if literal:
            pieces.append(Piece(literal, ""))
        if field is None:
            continue
        if form or conversion:
            raise GenRecError(f"{where}: write {{{field}}} without a format.")
        if field not in known:
            accepted = ", ".join(sorted(known) if isinstance(known, (set, frozenset)) else known)
            raise GenRecError(f"{where}: unknown field {shown(field)}. Accepted: {accepted}.")
        pieces.append(Piece("", field))
    return pieces


def parse_spaced(text, known, where):
    """As :func:`parse_pieces`, a tuple; the space before a field belongs to it.

    So it is in the vocabularies of language models. The text before a field has no space at its end.
    """
    pieces = parse_pieces(text, known, where)
    before_field = [bool(following.field) for following in pieces[1:]] + [False]
    cut = [Piece(p.text.removesuffix(" ") if before else p.text, p.field) for p, before in zip(pieces, before_field)]
    return tuple(piece for piece in cut if piece.text or piece.field)


def written(pieces):
    """The text that :func:`parse_spaced` reads as ``pieces``: a field with the space before it, braces doubled."""
    text = "".join(p.text.replace("{", "{{").replace("}", "}}") or f" {{{p.field}}}" for p in pieces)
    return text if pieces[0].text else text[1:]


def named_fields(text):
    """Names of the fields of a text whose other braces are plain ones, such as those of JSON, in their order."""
    return _FIELD.findall(text)


def fill(text, values):
    """Put values into the fields that :func:`named_fields` finds; a field's pattern inside a value stays."""
    return _FIELD.sub(lambda match: str(values[match[1]]), text)
