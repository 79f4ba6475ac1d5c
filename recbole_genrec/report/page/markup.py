"""Tables of the page as HTML; texts are data, and escaped by who hands them over."""

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        html: its content, HTML already.
        value: what a sortable column is ordered by; None for its text.
        tip: a text that is shown where the cell is pointed at or has the focus.
        kind: its class, for the style.
    """

    html: str
    value: float | None = None
    tip: str = ""
    kind: str = ""

    def tag(self, name):
        """The cell as an element: ``td``, or ``th`` for the head of a row."""
        attributes = ' scope="row"' if name == "th" else ""
        attributes += f' class="{escape(self.kind)}"' if self.kind else ""
        attributes += "" if self.value is None else f' data-value="{self.value!r}"'
        attributes += f' tabindex="0" data-tip="{escape(self.tip)}"' if self.tip else ""
        return f"<{name}{attributes}>{self.html}</{name}>"


def table(label, header, rows, kind="", sortable=False):
    """A table that scrolls by itself where it is wider than the page; its first column stays.

    Args:
        label: its accessible name, a text.
        header: cells of its head, HTML; of a sortable table, an empty one belongs to a column that is not sorted.
        rows: lists of HTML and :class:`Cell`; the first of a row is its head.
        kind: its class.
        sortable: whether the reader may sort it by its columns.
    """
    head = "".join(_head(cell, sortable) for cell in header)
    body = "".join(f"<tr>{''.join(_cells(row))}</tr>\n" for row in rows)
    kinds = " ".join(filter(None, [kind, "sortable" if sortable else ""]))
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(label)}"><table class="{kinds}">\n'
        f'<caption class="hidden">{escape(label)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def _head(cell, sortable):
    if sortable:
        return f'<th scope="col" aria-sort="none"><button type="button">{cell}</button></th>'
    return f'<th scope="col">{cell}</th>'


def _cells(row):
    for place, cell in enumerate(row):
        cell = cell if isinstance(cell, Cell) else Cell(cell)
        yield cell.tag("td" if place else "th")
