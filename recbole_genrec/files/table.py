"""The package's one writer of tables: Markdown, CSV, LaTeX and the console.

A cell is a text, as it is to be read, or a :class:`Figure`; each format escapes and emphasises it in its own way.
"""

import csv
import io
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.table import Table

_LATEX_SIGNS = {sign: f"\\{sign}" for sign in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
_LATEX_SIGNS |= {"^": r"\textasciicircum{}", "±": r"$\pm$", "†": r"\dag{}", "‡": r"\ddag{}", "<": "$<$"}


@dataclass(frozen=True)
class Figure:
    """A measured number as a cell.

    Attributes:
        mean: to four digits.
        deviation: over the seeds; None for one seed alone.
        marks: signs behind it.
        is_best: it is shown bold.
    """

    mean: float
    deviation: float | None = None
    marks: str = ""
    is_best: bool = False

    def emphasised(self, before: str, after: str) -> str:
        """The figure as text, between ``before`` and ``after`` where it is the best; its marks stand outside."""
        text = f"{self.mean:.4f}" + ("" if self.deviation is None else f" ± {self.deviation:.4f}")
        return (f"{before}{text}{after}" if self.is_best else text) + (f" {self.marks}" if self.marks else "")

    def latex(self) -> str:
        """The figure as LaTeX: of the best one, the mean alone is bold."""
        text = f"\\textbf{{{self.mean:.4f}}}" if self.is_best else f"{self.mean:.4f}"
        text += "" if self.deviation is None else f" $\\pm$ {self.deviation:.4f}"
        return text + (f" {escaped(self.marks)}" if self.marks else "")


#: a text as it is to be read, or a figure.
Cell: TypeAlias = str | Figure


def markdown(
    header: Sequence[str], rows: Iterable[Sequence[Cell]], numbers: Container[str] | None = None, padded: bool = True
) -> str:
    """A table as Markdown.

    Args:
        header: names of the columns.
        rows: their cells.
        numbers: names of the columns that are aligned to the right; None for all but the first.
        padded: whether the rule below the header has spaces.
    """
    numbers = header[1:] if numbers is None else numbers
    rule = ["---:" if name in numbers else "---" for name in header]
    ruled = f"| {' | '.join(rule)} |" if padded else f"|{'|'.join(rule)}|"
    return "".join(f"{line}\n" for line in (_markdown_line(header), ruled, *map(_markdown_line, rows)))


def _markdown_line(cells: Iterable[Cell]) -> str:
    texts = (c.emphasised("**", "**") if isinstance(c, Figure) else c.replace("|", "\\|") for c in cells)
    return f"| {' | '.join(texts)} |"


def rows_as_markdown(title: str, rows: Sequence[Sequence[str]]) -> str:
    """A title, then a header and rows as Markdown, all columns but the first to the right."""
    return f"{title}\n\n{markdown(rows[0], rows[1:])}"


def latex(header: Sequence[str], rows: Iterable[Sequence[Cell]], caption: str) -> str:
    """A table as LaTeX, for the package ``booktabs``; all columns but the first to the right."""
    lines = (" & ".join(c.latex() if isinstance(c, Figure) else escaped(c) for c in cells) for cells in rows)
    body = "".join(f"{line} \\\\\n" for line in lines)
    return (
        f"\\begin{{table}}\n\\centering\n\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}\n\\toprule\n"
        f"{' & '.join(map(escaped, header))} \\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
        f"\\caption{{{escaped(caption)}}}\n\\end{{table}}\n"
    )


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_LATEX_SIGNS.get(sign, sign) for sign in text)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV; cells are values, None an empty one."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([header, *rows])
    return file.getvalue()


def print_rows(title: str | None, rows: Sequence[Sequence[str]]) -> None:
    """Print a header and rows as a table, transposed on a narrow terminal."""
    from rich.console import Console  # not every table is for a console

    console = Console()
    natural = Console(width=1000).measure(console_table(title, rows, numbers=True)).maximum
    if console.is_terminal and natural > console.width:
        rows = [list(column) for column in zip(*rows)]
    # A pipe has no width of its own: the table keeps its natural one.
    width = None if console.is_terminal else natural
    Console(width=width).print(console_table(title, rows, numbers=True))


def console_table(
    title: str | None, rows: Sequence[Sequence[str]], has_header: bool = True, numbers: bool = False
) -> "Table":
    """A table of texts for rich's console.

    Args:
        title: what stands above; None for nothing.
        rows: the header, where there is one, and the rows.
        has_header: whether the first row is a header.
        numbers: all columns but the first are numbers: to the right, and never broken into lines.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title and escape(title), show_header=has_header)
    for column, name in enumerate(rows[0]):
        header = escape(name) if has_header else ""
        table.add_column(header, justify="right" if numbers and column else "left", no_wrap=numbers)
    for row in rows[1:] if has_header else rows:
        table.add_row(*map(escape, row))
    return table
