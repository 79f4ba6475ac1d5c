"""The text behind an item's vector: the item's own text, or a template over its columns."""

from recbole_genrec.catalogue.item_text import TextOfColumns, title_template


class VectorText:
    """Make the text of an item's vector, in the same way for items of a file and for items added later.

    Args:
        template: the setting ``text_vectors_text``; empty: the item's own text.
        item_template: the setting ``item_text``.
        columns: names of the ``.item`` columns.
        path: of the file, for messages.

    Raises:
        GenRecError: a malformed template, or an unknown column.
    """

    def __init__(self, template, item_template, columns, path):
        self._fill = None
        if template:
            self._fill = TextOfColumns(template, columns, path, "text_vectors_text")
            self._own = TextOfColumns(item_template or title_template(columns, path), columns, path).names

    def __call__(self, text, values):
        """The text of one item, ``""`` where it has none.

        Args:
            text: the item's own text. Where none of the columns that it is made of has a value, as for free text, it
                stands in place of the first of them.
            values: lists of the columns' values by name; a column may lack.
        """
        if self._fill is None:
            return text or ""
        cells = {name: _joined(several) for name, several in values.items()}
        if text and not any(cells.get(name) for name in self._own):
            cells[self._own[0]] = text
        return self._fill(cells)


def vector_texts(maker, item_tokens, texts, columns):
    """The texts of vectors of a catalogue, a list.

    Args:
        maker: :class:`VectorText`.
        item_tokens: of its items.
        texts: their own texts, ``None`` where there is none.
        columns: :class:`~recbole_genrec.catalogue.item_text.ItemColumn` by name.
    """
    return [
        maker(text, {name: column.values[token] for name, column in columns.items() if token in column.values})
        for token, text in zip(item_tokens, texts)
    ]


def _joined(values):
    return (" | " if len(values) > 1 and any(" " in value for value in values) else " ").join(values)
