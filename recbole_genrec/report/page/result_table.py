"""The table of results: sortable, with each row's interval drawn, and what stands behind a figure at its cell."""

from html import escape

from recbole_genrec.files.table import Figure
from recbole_genrec.report.headline import p_text
from recbole_genrec.report.page.markup import Cell, table
from recbole_genrec.report.pictures import spread_of, told
from recbole_genrec.report.statistics import mean_and_deviation
from recbole_genrec.report.tables import caption, cells

#: width of a drawn interval, and the room at its ends, in pixels.
_WIDTH, _ROOM = 100, 5


def result_table(analysis):
    """The table with its caption, as HTML."""
    header, rows = cells(analysis)
    scale, body = _scale(analysis), []
    for row, texts in zip(analysis.rows, rows):
        of_column = {name: _cell(analysis, row, name, text) for name, text in zip(header, texts)}
        body.append(_ordered(analysis, of_column | {"interval": _interval(analysis, row, scale)}))
    header = [escape(name) for name in _ordered(analysis, {name: name for name in [*header, "interval"]})]
    note = (
        f" Interval: of {analysis.metric}, the 95 % bootstrap interval over users for one seed, the sample standard "
        "deviation for several. Point at a figure, or reach it with the Tab key, for its seeds, intervals and files."
    )
    shown = table(f"Results, {analysis.name}", header, body, "results", sortable=True)
    return f'{shown}<p class="note">{escape(caption(analysis, with_settings=False) + note)}</p>\n'


def _ordered(analysis, of_column):
    """Columns with the metric of the pictures in front, which a phone shows beside the names."""
    first = ["model", analysis.metric, "interval"]
    return [of_column[name] for name in [*first, *(name for name in of_column if name not in first)]]


def _cell(analysis, row, name, cell):
    if isinstance(cell, Figure):
        best = ("<b>", "</b>") if cell.is_best else ("", "")
        text = f"{best[0]}{cell.mean:.4f}{best[1]}" + (f" {escape(cell.marks)}" if cell.marks else "")
        if cell.deviation is not None:
            text += f"<small>± {cell.deviation:.4f}</small>"
        return Cell(text, cell.mean, _tip(analysis, row, name))
    number = cell.replace(",", "")
    return Cell(escape(cell), float(number) if name != "model" and number else None)


def _tip(analysis, row, metric):
    """What stands behind a figure: its runs, and its comparison."""
    lines = [line for seed in row.values(metric) for line in told(row, seed, metric)]
    comparison = analysis.comparisons[metric].get(row.name)
    if comparison is not None:
        tests = (("users", comparison.p_users), ("seeds", comparison.p_seeds))
        tested = ", ".join(f"{p_text(p)} over {over}" for over, p in tests if p is not None) or "not tested"
        lines.append(f"Against {analysis.references[metric].name}: {tested}")
    return "\n".join(lines)


def _scale(analysis):
    """The least and the largest value that a drawn interval of the board shows."""
    shown = [value for row in analysis.rows for value in row.values(analysis.metric).values()]
    shown += [end for row in analysis.rows if row.values(analysis.metric) for end in _spread(analysis, row)]
    return min(shown), max(shown)


def _spread(analysis, row):
    return spread_of(row, analysis.metric) or ()


def _interval(analysis, row, scale):
    """A row's runs as points, and its spread as a line, on the scale of the board."""
    values = row.values(analysis.metric).values()
    if not values:
        return Cell("")

    def place(value):
        least, most = scale
        share = (value - least) / (most - least) if most > least else 0.5
        return f"{_ROOM + share * (_WIDTH - 2 * _ROOM):.1f}"

    mean, ends = mean_and_deviation(values)[0], _spread(analysis, row)
    said = f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else "no interval is known"
    parts = "".join(f'<circle cx="{place(value)}" cy="8" r="3"/>' for value in values)
    if ends:
        low, high = map(place, ends)
        parts = f'<path d="M{low} 8H{high}M{low} 4V12M{high} 4V12"/>{parts}'
    picture = (
        f'<svg role="img" aria-label="{said}" width="{_WIDTH}" height="16" viewBox="0 0 {_WIDTH} 16">{parts}</svg>'
    )
    return Cell(picture, ends[0] if ends else mean, kind="drawn")
