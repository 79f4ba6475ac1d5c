"""The tables of a report as Markdown, CSV and LaTeX."""

from recbole_genrec.files import table
from recbole_genrec.files.table import Figure
from recbole_genrec.report.statistics import LEVEL, RESAMPLES, mean_and_deviation

#: marks of a significant difference, over users and over seeds.
USERS_MARK, SEEDS_MARK = "†", "‡"


def caption(analysis, with_settings=True) -> str:
    """What a table's signs mean, for this board, and ``with_settings`` what numbered rows are."""
    seeds = sorted({seed for row in analysis.rows for seed in row.runs})
    users = next(filter(None, (run.result.users for row in analysis.rows for run in row.runs.values())), None)
    whose = "all users" if not users or users.evaluated == users.of else _sample(users)
    return (
        f"{analysis.name}, test on {whose}. Mean ± sample standard deviation over seeds {', '.join(map(str, seeds))}, "
        f"where a row has several. The best mean in bold. Marks: differs from {analysis.against}, {USERS_MARK} over "
        f"users (paired bootstrap, {RESAMPLES:,} draws), {SEEDS_MARK} over seeds (paired t-test, three seeds or more); "
        f"p < {LEVEL} after Holm's correction for the rows of the table.{_untested(analysis)}"
        f"{_settings(analysis) if with_settings else ''}"
        f"{_knowing(analysis)}"
    )


def _untested(analysis):
    """Rows without a mark because there was no test, not because they passed it."""
    compared = analysis.comparisons[analysis.metric]
    names = [name for name, each in compared.items() if each.p_users is None and each.p_seeds is None]
    if not names:
        return ""
    return f" Not tested, for want of the users' outcomes (.npz) or of common seeds: {', '.join(names)}."


def _settings(analysis):
    """What numbered rows of a model are."""
    return "".join(f" {row.name}: {row.settings}." for row in analysis.rows if row.settings)


def _knowing(analysis):
    """Rows that are not comparable with the others without this: they have the target's own time."""
    names = [row.name for row in analysis.rows if row.any.result.knows_request]
    return f" Knows the moment of the request, which is the target's own time: {', '.join(names)}." if names else ""


def _sample(users):
    return f"{users.evaluated:,} of {users.of:,} users"


def cells(analysis):
    """Header and rows of a board's table; of metrics, :class:`~recbole_genrec.files.table.Figure`."""
    header = ["model", "seeds", *analysis.metrics, "parameters", "epochs", "train s", "users/s"]
    return header, [[row.name, str(len(row.runs)), *_metrics(analysis, row), *_costs(row)] for row in analysis.rows]


def _metrics(analysis, row):
    for metric in analysis.metrics:
        values = row.values(metric).values()
        if not values:
            yield ""
            continue
        mean, deviation = mean_and_deviation(values)
        comparison = analysis.comparisons[metric].get(row.name)
        marks = _marks(comparison) if comparison else ""
        yield Figure(mean, deviation, marks, analysis.best[metric] is row)


def _marks(comparison):
    tests = ((comparison.p_users, USERS_MARK), (comparison.p_seeds, SEEDS_MARK))
    return "".join(mark for p, mark in tests if p is not None and p < LEVEL)


def _costs(row):
    results = [run.result for run in row.runs.values()]

    def mean(figure):
        return mean_and_deviation(map(figure, results))[0]

    return [
        f"{results[0].parameters.total:,}",
        f"{mean(lambda result: result.epochs):.0f}",
        f"{mean(lambda result: result.seconds.train):,.0f}",
        f"{mean(lambda result: result.users_per_second):,.0f}",
    ]


def markdown(analysis) -> str:
    """A board's table as Markdown, with its caption."""
    return f"{table.markdown(*cells(analysis))}\n{caption(analysis)}\n"


def latex(analysis) -> str:
    """A board's table as LaTeX, for the package ``booktabs``."""
    return table.latex(*cells(analysis), caption(analysis))


def csv_table(analyses) -> str:
    """All boards as one CSV, a line for each row and metric, with unrounded numbers and p-values."""
    header = ["board", "model", "metric", "seeds", "mean", "sd", "against"]
    header += ["difference", "low", "high", "p_users", "p_seeds"]
    lines = [
        _csv_row(analysis, row, metric) for analysis in analyses for row in analysis.rows for metric in analysis.metrics
    ]
    return table.csv_text(header, lines)


def _csv_row(analysis, row, metric):
    values = row.values(metric).values()
    mean, deviation = mean_and_deviation(values) if values else (None, None)
    comparison = analysis.comparisons[metric].get(row.name)
    reference = analysis.references[metric]
    tested = [None] * 5
    if comparison:
        interval = comparison.interval or (None, None)
        tested = [comparison.difference, *interval, comparison.p_users, comparison.p_seeds]
    against = reference.name if comparison else None
    return [analysis.name, row.name, metric, len(values), mean, deviation, against, *tested]
