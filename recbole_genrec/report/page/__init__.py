"""One page of HTML and the script that draws its pictures: a headline, tables, examples, and what the runs were."""

import re
from base64 import b64encode
from collections import Counter
from hashlib import sha256
from html import escape
from pathlib import Path

from recbole_genrec import __version__
from recbole_genrec.report.headline import headline
from recbole_genrec.report.page.example_cards import example_cards
from recbole_genrec.report.page.markup import Cell, table
from recbole_genrec.report.page.result_table import result_table
from recbole_genrec.report.pictures import pictures
from recbole_genrec.report.stored_runs import differing_settings
from recbole_genrec.report.strength import best_epoch, published, seen_items, shortfalls

#: the script that draws the pictures, beside the page: one for all pages of a folder.
SCRIPT = "plotly.min.js"

#: remarks on a board's rows beyond which they are folded away.
MOST_SENTENCES = 6


def page(results, analyses, made) -> str:
    """The whole page, but for the script ``SCRIPT`` beside it.

    Args:
        results: :class:`~recbole_genrec.report.stored_runs.Results`.
        analyses: one :class:`~recbole_genrec.report.analysis.Analysis` a board.
        made: the day on which it is written.
    """
    boards = "".join(_board(analysis, number) for number, analysis in enumerate(analyses))
    script = _asset("page.js")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Comparison of recommenders</title>\n<style>{_asset('page.css')}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Comparison of recommenders</h1>\n{_origin(results, made)}{_contents(analyses)}{boards}{_rest(results)}"
        f'</main>\n<script src="{SCRIPT}"></script>\n<script>{script}</script>\n</body>\n</html>\n'
    )


def _asset(name):
    return Path(__file__).with_name(name).read_text("utf-8")


def _policy(script):
    """The browser itself refuses what the page would fetch from elsewhere, and every script but its own and plotly's.

    Where a page is opened as a file, browsers disagree on whether the files beside it are ``'self'``.
    """
    digest = b64encode(sha256(script.encode()).digest()).decode()
    scripts = f"script-src 'sha256-{digest}' 'self' file:"
    return f"default-src 'none'; {scripts}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"


def _origin(results, made):
    """When the page was written, and by which versions its runs were made."""
    found = {}
    for board in results.boards:
        for run in (run for row in board.rows for run in row.runs.values()):
            for name, version in run.result.versions.items():
                if version is not None:
                    found.setdefault(name, set()).add(version)
    versions = ", ".join(f"{name} {' and '.join(sorted(each))}" for name, each in sorted(found.items()))
    count = sum(len(row.runs) for board in results.boards for row in board.rows)
    text = f"Written on {made:%Y-%m-%d} by recbole_genrec {__version__}, from {count} {'run' if count == 1 else 'runs'}"
    return f'<p class="note">{escape(text)}{escape(f", made with {versions}" if versions else "")}.</p>\n'


def _contents(analyses):
    """Links to the boards, where there are several."""
    if len(analyses) < 2:
        return ""
    links = "".join(f'<li><a href="#board-{n}">{escape(each.name)}</a></li>\n' for n, each in enumerate(analyses))
    return f'<nav aria-label="Boards"><ul>\n{links}</ul></nav>\n'


def _board(analysis, number):
    said = "".join(f"<p>{escape(sentence)}</p>\n" for sentence in headline(analysis))
    drawn = "".join(
        f"<h3>{escape(picture.title)}</h3>\n{_drawing(analysis, picture, f'picture-{number}-{index}')}"
        for index, picture in enumerate(pictures(analysis))
    )
    return (
        f'<h2 id="board-{number}">{escape(analysis.name)}</h2>\n<div class="headline">{said}</div>\n'
        f"{result_table(analysis)}{_settings_tables(analysis)}{example_cards(analysis)}"
        f"{_strength(analysis.board)}{_test_table(analysis)}{drawn}{_missing(analysis)}{_run_table(analysis)}"
    )


def _drawing(analysis, picture, name):
    """A picture as data, which the page's script draws, its note, and buttons that save it."""
    data = picture.figure.to_json()  # without "<", so that a text in it cannot end the element
    file = re.sub(r"\W+", "-", f"{analysis.board.dataset} {picture.title}").strip("-").lower()
    label = escape(f"{picture.title}. {picture.note}")
    buttons = "".join(
        f'<button type="button" data-format="{kind}" aria-label="Save {escape(picture.title)} as {kind.upper()}">'
        f"{kind.upper()}</button>"
        for kind in ("svg", "png")
    )
    height = picture.figure.layout.height
    return (
        f'<figure><div id="{name}" class="plotly-graph-div" role="img" aria-label="{label}" data-name="{file}" '
        f'style="min-height: {height}px"></div>\n<script type="application/json" id="{name}-data">{data}</script>\n'
        f'<div class="save">{buttons}</div>\n<figcaption class="note">{escape(picture.note)}</figcaption></figure>\n'
    )


def _settings_tables(analysis):
    """For every model with several rows, the settings in which they differ."""
    found = differing_settings(analysis.rows)
    text = "<h3>Settings that differ</h3>\n" if found else ""
    for model, (keys, by_row) in found.items():
        columns = list(by_row.values())
        rows = []
        for at, key in enumerate(keys):
            values = [column[at] for column in columns]
            usual, count = Counter(values).most_common(1)[0]
            kinds = ["same" if count > 1 and value == usual else "" for value in values]
            rows.append(
                [
                    escape(key).replace("_", "_<wbr>"),
                    *(Cell(escape(value), kind=kind) for value, kind in zip(values, kinds)),
                ]
            )
        header = [f"{escape(model)}: setting", *map(escape, by_row)]
        text += table(f"Settings in which the rows of {model} differ", header, rows, "settings")
    if found:
        note = "Settings that are equal in all rows of a model are left out; a setting's commonest value is pale."
        text += f'<p class="note">{note}</p>\n'
    return text


def _strength(board):
    sentences = shortfalls(board)
    told = "".join(f"<li>{escape(sentence)}</li>\n" for sentence in sentences)
    told = f"<ul>\n{told}</ul>\n"
    if len(sentences) > MOST_SENTENCES:
        told = f"<details><summary>{len(sentences)} remarks on the rows</summary>\n{told}</details>\n"
    return f"<h3>How strong the rows are</h3>\n{told}{_published_table(board)}"


def _published_table(board):
    entries = published(board)
    if not entries:
        return ""
    rows = [
        [escape(entry["setting"]), f"{entry['hit@10']:.4f}", f"{entry['ndcg@10']:.4f}", seen_items(entry)]
        + [escape(entry["source"])]
        for entry in entries
    ]
    return table("Published figures", ["published", "hit@10", "ndcg@10", "seen items", "source"], rows)


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
    return f'<h3>Tests</h3>\n{table("Tests", header, rows)}<p class="note">{escape(note)}</p>\n'


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
    return f"<h3>Runs</h3>\n{table('Runs', header, rows, 'texts')}"


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
        text += f"<h2>Failed runs</h2>\n{table('Failed runs', ['run', 'reason'], rows, 'texts')}"
    if results.repeated:
        names = escape(", ".join(map(str, results.repeated)))
        text += f'<p class="note">Left out, as another file has the same settings and seed: {names}.</p>\n'
    return text
