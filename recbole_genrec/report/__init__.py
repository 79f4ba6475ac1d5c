"""A report over any folder of results: tables as Markdown, CSV and LaTeX, and a page with pictures."""

from datetime import date
from pathlib import Path

from recbole_genrec.errors import unknown_name
from recbole_genrec.files.write import write_text
from recbole_genrec.report.analysis import Analysis
from recbole_genrec.report.page import SCRIPT, page
from recbole_genrec.report.pictures import plotly_objects
from recbole_genrec.report.stored_runs import read_results
from recbole_genrec.report.strength import published, seen_items, shortfalls
from recbole_genrec.report.tables import csv_table, latex, markdown

__all__ = [
    "Analysis",
    "comparison_texts",
    "markdown",
    "published",
    "read_results",
    "seen_items",
    "shortfalls",
    "write_report",
]


def write_report(results="results", output=None, metric=None, baseline=None):
    """Write ``table.md``, ``table.csv``, ``table.tex`` and ``report.html``, and beside it the script of its pictures.

    Args:
        results: a folder; every run below it takes part.
        output: where the files go; None for the folder itself.
        metric: of the pictures, such as ``ndcg@10``; None for the one that selected the epochs.
        baseline: a model or a row of the table that the others are compared with; None for the best of each column.

    Returns:
        Paths of the first four.

    Raises:
        GenRecError: the folder holds no run, a name is unknown, or plotly is missing.
    """
    plotly_objects()
    read = read_results(results)
    analyses = [Analysis(board, metric, baseline) for board in read.boards]
    if baseline and not any(analysis.find(baseline) for analysis in analyses):
        raise unknown_name("baseline", baseline, {row.name for board in read.boards for row in board.rows})
    texts = {
        "table.md": "\n".join(f"## {analysis.name}\n\n{markdown(analysis)}" for analysis in analyses),
        "table.csv": csv_table(analyses),
        "table.tex": "\n".join(map(latex, analyses)),
        "report.html": page(read, analyses, date.today()),
    }
    folder = Path(output or results)
    for name, text in texts.items():
        write_text(folder / name, text)
    _write_script(folder / SCRIPT)
    return [folder / name for name in texts]


def _write_script(path):
    """Write plotly's script, unless it is there."""
    import plotly.offline

    script = plotly.offline.get_plotlyjs()
    if not path.is_file() or path.read_text("utf-8") != script:
        write_text(path, script)


def comparison_texts(compared):
    """What a comparison prints at its end: the table of each board over its own runs, and which runs failed.

    Args:
        compared: :class:`~recbole_genrec.runs.compare.Compared`.
    """
    if compared.results:
        for board in read_results(compared.folder, compared.results).boards:
            yield f"\n{markdown(Analysis(board))}"
            yield from shortfalls(board)
    if compared.failed:
        yield f"{len(compared.failed)} of {compared.count} runs failed: {'; '.join(compared.failed)}."
