"""Item text: one line of text for an item, read losslessly from its ``.item`` columns.

RecBole splits a title at its spaces, and takes ``None`` or ``NA`` for an empty value. Titles are data: an
:class:`~recbole_genrec.files.item_table.ItemTable` holds them as the file does.
"""

from dataclasses import dataclass
from string import Formatter
from typing import NamedTuple

from recbole_genrec.errors import GenRecError, listed, unknown_name
from recbole_genrec.files.text import clean_text, one_line

#: columns that hold a title in the common ``.item`` files, the likeliest first.
TITLE_COLUMNS = ("title", "movie_title", "name", "item_name", "item_title", "product_title", "product_name")

_BRACKETS = {"(": ")", "[": "]"}


@dataclass(frozen=True)
class ItemText:
    """The text of a catalogue's items."""

    #: raw item token -> its text; an item whose columns are all empty is absent.
    texts: dict
    #: the template that made the texts.
    template: str
    #: the columns of the file, in its order.
    columns: tuple


def item_text(items, template=""):
    """The text of every item of an ``.item`` file.

    Args:
        items: :class:`~recbole_genrec.files.item_table.ItemTable`.
        template: text over the file's columns, e.g. ``"{movie_title} ({release_year})"``; empty: the title column.

    Returns:
        The texts as :class:`ItemText`.

    Raises:
        GenRecError: a malformed template, an unknown column, no title column.
    """
    columns = tuple(items.kinds)
    template = template or title_template(columns, items.path)
    parsed = _parse_template(template, columns, items.path)
    texts = {}
    for item, *cells in zip(items.cells[items.item_field], *items.cells.values()):
        text = one_line(_fill(parsed, dict(zip(columns, map(clean_text, cells)))))
        if text:
            texts[item] = text
    return ItemText(texts, template, columns)


class ItemColumn(NamedTuple):
    """One column of an ``.item`` file."""

    #: its type in the header: ``token``, ``token_seq``, ``float`` or ``float_seq``.
    kind: str
    #: raw item token -> list of values, texts; an item whose cell is empty is absent.
    values: dict


def item_columns(items):
    """The values of all columns of an ``.item`` file, that of the item tokens among them.

    A ``token`` or ``float`` column holds one value; another one several, with " | " between them if any of its cells
    has that, else with white space.

    Args:
        items: :class:`~recbole_genrec.files.item_table.ItemTable`.

    Returns:
        :class:`ItemColumn` by name, in the order of the file.
    """
    tokens, columns = items.cells[items.item_field], {}
    for name, kind in items.kinds.items():
        cells = dict(zip(tokens, map(clean_text, items.cells[name])))
        columns[name] = ItemColumn(kind, _values(cells, several=kind.endswith("_seq")))
    return columns


def _values(cells, several):
    """The values in the cells of a column, by item."""
    if not several:
        return {item: [cell] for item, cell in cells.items() if cell}
    between = " | " if any(" | " in cell for cell in cells.values()) else None
    return {item: cell.split(between) for item, cell in cells.items() if cell}


def categories(columns, names, item_field):
    """The categories of every item, such as its genres, in some of an ``.item`` file's columns.

    Args:
        columns: :class:`ItemColumn` by name.
        names: of ``token`` or ``token_seq`` columns.
        item_field: name of the column of item tokens, which is none of them.

    Returns:
        By column, the values of each item that has any: raw item token -> list of texts.

    Raises:
        GenRecError: a column is unknown, or no ``token`` or ``token_seq``.
    """
    categorical = [name for name, c in columns.items() if name != item_field and c.kind in ("token", "token_seq")]
    for name in names:
        if name not in categorical:
            raise unknown_name("column of categories in the .item file:", name, categorical)
    return {name: columns[name].values for name in names}


class TextOfColumns:
    """Fill a template with column values, as :func:`item_text` does, also for items that are in no file.

    Args:
        template: text over the columns.
        columns: their names.
        path: of the file, for messages.
        key: the setting that holds the template, for messages.

    Attributes:
        names: the columns that the template names.

    Raises:
        GenRecError: a malformed template, or an unknown column.
    """

    def __init__(self, template, columns, path, key="item_text"):
        self._parsed = _parse_template(template, tuple(columns), path, key)
        self.names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]

    def __call__(self, cells):
        """One line of text; ``cells`` holds the text of a column by its name, a column that lacks is empty."""
        return one_line(_fill(self._parsed, {name: cells.get(name, "") for name in self.names}))


def title_template(columns, path):
    """The template of an empty ``item_text``: the title column of some columns.

    Raises:
        GenRecError: none of them looks like one; the message names ``path``.
    """
    return "{" + _title_column(columns, path) + "}"


def _title_column(columns, path):
    lower = {name.lower(): name for name in reversed(columns)}
    for name in TITLE_COLUMNS:
        if name in lower:
            return lower[name]
    for word in ("title", "name"):
        for name in columns:
            if word in name.lower():
                return name
    raise GenRecError(
        f"{path} has no obvious title column. Set 'item_text' to a template over its columns: {listed(columns)}."
    )


class _Piece(NamedTuple):
    """A parsed template, or a bracketed part of one that holds fields: it vanishes when all its fields are empty."""

    opening: str
    #: pairs of the literal before an element and the element: a column name or a bracketed :class:`_Piece`.
    elements: list
    #: literal after the last element.
    tail: str
    closing: str


def _parse_template(template, columns, path, key="item_text"):
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise GenRecError(f"Malformed {key!r} template {template!r}: {error}.") from error
    stack = [("", [])]  # open brackets, each with its tokens so far: ("text", character) or ("element", element)
    for literal, field, spec, conversion in pieces:
        for character in literal:
            _push(stack, character)
        if field is None:
            continue
        if field not in columns or spec or conversion:
            raise GenRecError(
                f"The {key!r} template {template!r} asks for {field!r}, which is no column of {path}. "
                f"Columns: {listed(columns)}."
            )
        stack[-1][1].append(("element", field))
    while len(stack) > 1:  # a bracket that is never closed is plain text
        opening, tokens = stack.pop()
        stack[-1][1].extend([("text", opening), *tokens])
    parsed = _piece("", stack[0][1], "")
    if not parsed.elements:
        raise GenRecError(f"The {key!r} template {template!r} names no column. Columns: {listed(columns)}.")
    return parsed


def _push(stack, character):
    opening, tokens = stack[-1]
    if character in _BRACKETS:
        stack.append((character, []))
    elif opening and character == _BRACKETS[opening]:
        stack.pop()
        if any(kind == "element" for kind, _ in tokens):
            stack[-1][1].append(("element", _piece(opening, tokens, character)))
        else:
            stack[-1][1].extend([("text", opening), *tokens, ("text", character)])
    else:
        tokens.append(("text", character))


def _piece(opening, tokens, closing):
    elements, literal = [], ""
    for kind, token in tokens:
        if kind == "text":
            literal += token
        else:
            elements.append((literal, token))
            literal = ""
    return _Piece(opening, elements, literal, closing)


def _fill(piece, values):
    """Fill a template in; a literal between two elements stays only where both sides have a value."""
    text, value = "", ""
    for position, (literal, element) in enumerate(piece.elements):
        value = values[element] if isinstance(element, str) else _fill(element, values)
        if value:
            text += (literal if text or position == 0 else "") + value
    if not text:
        return ""
    return piece.opening + text + (piece.tail if value else "") + piece.closing
