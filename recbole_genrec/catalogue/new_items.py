"""Items added after training: read them, check them, give them identifiers and append them to the catalogue."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from typing import Any

from recbole_genrec.catalogue.catalogue import Catalogue
from recbole_genrec.catalogue.index import extend_index
from recbole_genrec.catalogue.item_text import ItemColumn, item_columns, item_text
from recbole_genrec.catalogue.schemes import draft_new_items
from recbole_genrec.errors import GenRecError, shown, unknown_name
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.item_table import read_items
from recbole_genrec.files.text import clean_text


@dataclass(frozen=True)
class NewItem:
    """An item that training has not seen."""

    #: raw id, none that the catalogue has.
    item_id: str
    #: its text; empty: it is named by its id.
    text: str = ""
    #: values of ``.item`` columns: a value or a list of values by column.
    columns: Mapping[str, Any] = field(default_factory=dict)


def read_new_items(
    path: str | PathLike[str], settings: Mapping[str, Any], columns: Mapping[str, ItemColumn] | None
) -> list[NewItem]:
    """Read new items from an atomic ``.item`` file, their texts by the template of the training.

    Args:
        path: the file.
        settings: the configuration of the checkpoint.
        columns: those of its catalogue, or ``None``; a column of the same name must have the same type.

    Returns:
        List of :class:`NewItem` in the order of the file.

    Raises:
        GenRecError: the file is malformed, or does not fit the checkpoint's columns.
    """
    id_column = settings["ITEM_ID_FIELD"]
    items = read_items(AtomicFile.of(path, settings), id_column)
    texts = item_text(items, settings["item_text"] or "").texts
    read = item_columns(items)
    tokens = list(read.pop(id_column).values)
    for name, column in read.items():
        if columns is not None and name in columns and columns[name].kind != column.kind:
            raise GenRecError(f"{path}: column {name!r} must be {columns[name].kind}, not {column.kind}.")
    kept = read if columns is not None else {}
    values = [{name: column.values.get(token, []) for name, column in kept.items()} for token in tokens]
    return [NewItem(token, texts.get(token, ""), each) for token, each in zip(tokens, values)]


def enlarge(ranker: Any, items: Sequence[NewItem]) -> Catalogue:
    """Append items to a ranker's catalogue; existing items keep their numbers and identifiers.

    Args:
        ranker: a :class:`~recbole_genrec.model.prompt_ranker.PromptRanker`.
        items: :class:`NewItem` or more of them.

    Returns:
        A :class:`~recbole_genrec.catalogue.catalogue.Catalogue`.

    Raises:
        GenRecError: an id is taken, a column unknown, a field of the wrong type, or the indexing scheme cannot name
            new items.
    """
    old = ranker.catalogue
    _check_types(items)
    tokens, known = [str(item.item_id) for item in items], set(old.item_tokens)
    for token in tokens:
        if token in known:
            raise GenRecError(f"The catalogue has an item with the id {token!r} already.")
        known.add(token)
    texts = [clean_text(item.text) or None for item in items]
    draft = draft_new_items(ranker.arguments["indexing"].item_indexing, old.index.pieces, texts)
    index = extend_index(old.index, draft, tokens, partial(ranker._encode_pieces, ranker.backbone))
    return Catalogue(
        [*old.item_tokens, *tokens], [*old.item_texts, *texts], index.symbols, index, _columns(old, tokens, items)
    )


def _check_types(items: Sequence[NewItem]) -> None:
    """Refuse items whose fields stand in the wrong order, such as columns in place of the text."""
    for item in items:
        if not isinstance(item, NewItem):
            raise GenRecError(f"A new item is a NewItem(item_id, text, columns), not {shown(item)}.")
        if not isinstance(item.text, str):
            raise GenRecError(f"The text of the new item {item.item_id!r} is a text, not {shown(item.text)}.")
        if not isinstance(item.columns, Mapping):
            raise GenRecError(
                f"The columns of the new item {item.item_id!r} are values by column name, not {shown(item.columns)}."
            )


def _columns(old: Catalogue, tokens: Iterable[str], items: Iterable[NewItem]) -> dict[str, ItemColumn] | None:
    """The columns of a catalogue with the values of new items."""
    for item in items:
        for name in item.columns:
            if old.columns is None:
                raise GenRecError("This checkpoint was written by a version that kept no item columns: leave them out.")
            if name not in old.columns:
                raise unknown_name(f"column of the new item {item.item_id!r}:", name, old.columns)
    if old.columns is None:
        return None
    columns = {}
    for name, column in old.columns.items():
        new = {token: _texts(item.columns.get(name)) for token, item in zip(tokens, items)}
        columns[name] = ItemColumn(column.kind, {**column.values, **{t: values for t, values in new.items() if values}})
    return columns


def _texts(value: Any) -> list[str]:
    """A column's value or list of values as texts, empty ones left out."""
    several = value if isinstance(value, (list, tuple, set, frozenset)) else [] if value is None else [value]
    return [text for text in map(clean_text, map(str, several)) if text]
