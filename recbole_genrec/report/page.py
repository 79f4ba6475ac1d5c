"""One self-contained page of HTML: tables, pictures, and what the runs were."""

from html import escape

from recbole_genrec.files.table import Figure
from recbole_genrec.report.pictures import pictures
from recbole_genrec.report.strength import best_epoch, published, seen_items, shortfalls
from recbole_genrec.report.tables import caption, cells

#: the browser itself refuses whatever the page would fetch from elsewhere.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1b1b; --pale: #5c5c5c; --line: #d9d9d9; --grid: #e8e8e8; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181c; --ink: #e8e8e8; --pale: #a5a9b0; --line: #3a3f47; --grid: #2b3037; }
}
body { background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; }
h2 { border-top: 1px solid var(--line); font-size: 1.3rem; margin-top: 3rem; padding-top: 1rem; }
h3 { font-size: 1rem; margin: 2rem 0 0; }
.note { color: var(--pale); font-size: .87rem; margin: .3rem 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .5rem; text-align: right; vertical-align: top;
  white-space: nowrap; }
th:first-child, td:first-child, .texts th, .texts td { text-align: left; }
.texts td { white-space: normal; min-width: 4.5rem; overflow-wrap: break-word; }
summary { cursor: pointer; } code { font-size: .95em; }
"""

#: plotly draws with colours of its own: give it those of the page, again when the reader's scheme changes.
_SCRIPT = """
function paint() {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim(), grid = style.getPropertyValue("--grid").trim();
  for (const picture of document.querySelectorAll(".plotly-graph-div")) {
    const colours = {"font.color": ink};
    for (const axis of Object.keys(picture.layout).filter(key => /^[xy]axis/.test(key))) {
      for (const part of ["gridcolor", "zerolinecolor", "linecolor"]) colours[axis + "." + part] = grid;
    }
    Plotly.relayout(picture, colours);
  }
}
paint();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
"""


def page(results, analyses) -> str:
    """The whole page.

    Args:
        results: :class:`~recbole_genrec.report.stored_runs.Results`.
        analyses: one :class:`~recbole_genrec.report.analysis.Analysis` a board.
    """
    import plotly.offline

    boards = "".join(_board(analysis, number) for number, analysis in enumerate(analyses))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>Comparison of recommenders</title>\n"
        f"<style>{_STYLE}</style>\n<script>{plotly.offline.get_plotlyjs()}</script>\n</head>\n<body>\n"
        f"<h1>Comparison of recommenders</h1>\n{boards}{_rest(results)}<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _board(analysis, number):
    drawn = "".join(
        f"<h3>{escape(picture.title)}</h3>\n{_drawing(picture, f'picture-{number}-{index}')}\n"
        f'<p class="note">{escape(picture.note)}</p>\n'
        for index, picture in enumerate(pictures(analysis))
    )
    return (
        f"<h2>{escape(analysis.name)}</h2>\n{_result_table(analysis)}<h3>How strong the rows are</h3>\n<ul>\n"
        f"{''.join(f'<li>{escape(sentence)}</li>{chr(10)}' for sentence in shortfalls(analysis.board))}</ul>\n"
        f"{_published_table(analysis.board)}{_test_table(analysis)}{drawn}{_missing(analysis)}{_run_table(analysis)}"
    )


def _drawing(picture, name):
    return picture.figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config={"displayModeBar": False, "responsive": True}
    )


def _table(header, rows, kind=""):
    """A table; cells are HTML already."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="wide"><table class="{kind}">\n<tr>{head}</tr>\n{body}</table></div>\n'


def _result_table(analysis):
    def shown(cell):
        return cell.emphasised("<b>", "</b>") if isinstance(cell, Figure) else escape(cell)

    header, rows = cells(analysis)
    table = _table(map(escape, header), [[shown(cell) for cell in row] for row in rows])
    return f'{table}<p class="note">{escape(caption(analysis))}</p>\n'


def _published_table(board):
    entries = published(board)
    if not entries:
        return ""
    rows = [
        [escape(entry["setting"]), f"{entry['hit@10']:.4f}", f"{entry['ndcg@10']:.4f}", seen_items(entry)]
        + [escape(entry["source"])]
        for entry in entries
    ]
    return _table(["published", "hit@10", "ndcg@10", "seen items", "source"], rows)


def _test_table(analysis):
    """Differences of the pictures' metric, with intervals and p-values."""
    compared = analysis.comparisons[analysis.metric]
    if not compared:
        return ""
    rows = []
    for name, comparison in compared.items():
        low, high = comparison.interval or (None, None)
        interval = "not paired" if low is None else f"{low:+.4f} to {high:+.4f}"
        difference = "" if comparison.difference is None else f"{comparison.difference:+.4f}"
        p_values = _p_value(comparison.p_users), _p_value(comparison.p_seeds)
        rows.append([escape(name), difference, interval, *p_values])
    against = escape(analysis.references[analysis.metric].name)
    header = [f"{analysis.metric} against {against}", "difference", "95 % interval over users", "p, users", "p, seeds"]
    note = (
        "p-values after Holm's correction. Users are paired where the runs of all common seeds have their outcomes "
        "(.npz) and tested the same users on the same targets; seeds from three common ones on."
    )
    return f'<h3>Tests</h3>\n{_table(header, rows)}<p class="note">{escape(note)}</p>\n'


def _p_value(p):
    return "" if p is None else "&lt; .001" if p < 0.001 else f"{p:.3f}"


def _missing(analysis):
    """Which rows the pictures leave out, and why."""
    without_file = [row.name for row in analysis.rows if row.name not in [*analysis.beyond, *analysis.uncounted]]
    notes = []
    if without_file:
        names = ", ".join(without_file)
        notes.append(f"No file of outcomes (.npz) beside the runs of {names}: pictures over users leave them out.")
    if analysis.uncounted:
        notes.append(
            f"The outcomes (.npz) of {', '.join(analysis.uncounted)} are kept without lists, and without counts of the "
            f"first {analysis.length} items: coverage, Gini index, validity and novelty leave them out."
        )
    return "".join(f'<p class="note">{escape(note)}</p>\n' for note in notes)


def _run_table(analysis):
    rows = [_run_row(row, seed, run.path, run.result) for row in analysis.rows for seed, run in row.runs.items()]
    header = ["model", "seed", "file", "best epoch", "seconds", "generation", "versions", "hardware", "settings"]
    return f"<h3>Runs</h3>\n{_table(header, rows, 'texts')}"


def _run_row(row, seed, path, result):
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    hardware = result.hardware
    machine = f"{hardware.device} {hardware.name}, {hardware.cpu_count} cores, {hardware.threads} threads"
    settings = "\n".join(f"{key}: {value}" for key, value in sorted(result.config.items()))
    cells = [row.name, seed, path, best_epoch(result) or "", f"{result.seconds.total:,.0f}"]
    cells += [_generation(result.generation), versions, machine]
    return [
        *(escape(str(cell)) for cell in cells),
        f"<details><summary>{len(result.config)}</summary><pre>{escape(settings)}</pre></details>",
    ]


def _generation(generation):
    """What a generative model counted while it ranked."""
    if not generation:
        return ""
    counts = [f"{generation['valid_share']:.1%} valid"] if "valid_share" in generation else []
    counts += [f"{name} {count}" for name, count in generation.get("grounding", {}).items()]
    return ", ".join(counts)


def _rest(results):
    text = ""
    if results.failed:
        rows = [[escape(f"{run.model}, {run.dataset}, seed {run.seed}"), escape(run.error)] for run in results.failed]
        text += f"<h2>Failed runs</h2>\n{_table(['run', 'reason'], rows, 'texts')}"
    if results.repeated:
        names = escape(", ".join(map(str, results.repeated)))
        text += f'<p class="note">Left out, as another file has the same settings and seed: {names}.</p>\n'
    return text
