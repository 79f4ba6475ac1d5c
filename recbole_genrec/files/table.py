"""Rows of texts as tables, for people: Markdown in a file, a table on the console."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def rows_as_markdown(title, rows) -> str:
    """A header and rows as a Markdown table, all columns but the first to the right."""
    header, *rows = rows
    rule = ["---"] + ["---:"] * (len(header) - 1)
    table = "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *rows))
    return f"{title}\n\n{table}"


def print_rows(title, rows):
    """Print a header and rows as a table, turned round where the terminal is narrow."""
    console = Console()
    natural = Console(width=1000).measure(_rich_table(title, rows)).maximum
    if console.is_terminal and natural > console.width:
        rows = [list(column) for column in zip(*rows)]
    # A pipe has no width of its own: the table keeps its natural one.
    Console(width=None if console.is_terminal else natural).print(_rich_table(title, rows))


def _rich_table(title, rows):
    table = Table(title=escape(title))
    for column, name in enumerate(rows[0]):
        table.add_column(escape(name), justify="right" if column else "left", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table
