"""A board's pictures, as figures of plotly. Each gives the figure and what a reader must know to read it."""

from dataclasses import dataclass

from recbole_genrec.errors import GenRecError
from recbole_genrec.report.breakdowns import HEAD, HISTORIES, POPULARITIES, TAIL
from recbole_genrec.report.statistics import mean_and_deviation

#: Okabe & Ito's colours without black and yellow, which the page's grounds swallow; then others that stand beside them.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6BB1", "#7A7A7A", "#A6761D", "#66A61E")
#: of what belongs to no model; it shows on a light and on a dark ground.
_GREY = "#8C8C8C"


@dataclass(frozen=True)
class Picture:
    """A figure, its title, and the sentence below."""

    title: str
    figure: object
    note: str


def plotly_objects():
    """The figures of plotly.

    Raises:
        GenRecError: the library is not there.
    """
    try:
        import plotly.graph_objects
    except ImportError as error:
        raise GenRecError('The page of a report needs plotly: pip install -e ".[report]".') from error
    return plotly.graph_objects


def pictures(analysis):
    """All pictures for which the runs have kept what is shown, in the page's order."""
    drawn = (
        _metric_by_model(analysis),
        _learning_curves(analysis),
        _quality_by_cost(analysis, "Quality against training time", "seconds of training", _train_seconds),
        _quality_by_cost(analysis, "Quality against time per user", "seconds to rank for a user", _seconds_per_user),
        _by_group(analysis, f"{_name(analysis)} by history length", analysis.history, HISTORIES, _HISTORY_NOTE),
        _by_group(
            analysis, f"{_name(analysis)} by item popularity", analysis.popularity, POPULARITIES, _POPULARITY_NOTE
        ),
        _pair(analysis, "Catalogue coverage and Gini index", ("coverage", "gini"), _COVERAGE_NOTE),
        _pair(analysis, "Validity and novelty of the lists", ("full", "novelty"), _VALIDITY_NOTE),
    )
    return [picture for picture in drawn if picture is not None]


_HISTORY_NOTE = "Users by their interactions in training; below each group the test rows in it."
_POPULARITY_NOTE = (
    f"Targets by their popularity in training: head, the most popular {HEAD:.0%} of the items seen; tail, the least "
    f"popular {TAIL:.0%}; cold, items never seen. Below each group the targets in it."
)
_COVERAGE_NOTE = (
    "Coverage: the share of the catalogue that is in some user's list, more is wider. Gini: how unequally the lists "
    "share out the items, 0 equally, 1 all to one."
)
_VALIDITY_NOTE = (
    "Validity: the share of lists that hold distinct items of the catalogue at every place. Novelty: the mean of -log2 "
    "of a recommended item's share of training interactions, in bits, one interaction added to every item."
)


def _name(analysis):
    return analysis.metric.upper().replace("HIT", "HR")


def _colours(analysis):
    return {row.name: COLOURS[index % len(COLOURS)] for index, row in enumerate(analysis.rows)}


def _figure(traces, x="", y="", **layout):
    figure = plotly_objects().Figure(traces)
    figure.update_layout(
        template="none",
        height=360,
        margin={"l": 64, "r": 24, "t": 16, "b": 56},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis={"title": {"text": x}},
        yaxis={"title": {"text": y}, "rangemode": "tozero"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"namelength": -1},
    )
    return figure.update_layout(**layout)


def _error_bars(pairs):
    several = any(deviation is not None for _, deviation in pairs)
    return {"type": "data", "array": [deviation or 0 for _, deviation in pairs], "visible": several, "color": _GREY}


def _metric_by_model(analysis):
    go, colours, rows = plotly_objects(), _colours(analysis), [r for r in analysis.rows if r.values(analysis.metric)]
    pairs = [mean_and_deviation(row.values(analysis.metric).values()) for row in rows]
    names = [row.name for row in rows]
    bars = go.Bar(
        x=names,
        y=[mean for mean, _ in pairs],
        error_y=_error_bars(pairs),
        marker_color=[colours[name] for name in names],
        opacity=0.75,
        name="mean",
    )
    points = [(row.name, value) for row in rows for value in row.values(analysis.metric).values()]
    dots = go.Scatter(
        x=[name for name, _ in points],
        y=[value for _, value in points],
        mode="markers",
        marker={"color": _GREY, "size": 9, "symbol": "circle-open"},
        name="a run",
    )
    figure = _figure([bars, dots], y=_name(analysis), bargap=0.5, showlegend=False)
    note = "Bars: means over seeds, with the sample standard deviation; a point is a run."
    return Picture(f"{_name(analysis)} by model", figure, note)


def _learning_curves(analysis):
    go, colours, traces = plotly_objects(), _colours(analysis), []
    for row in analysis.rows:
        first = True
        for seed, run in row.runs.items():
            selected_by = run.result.valid_metric.lower()
            validated = [epoch for epoch in run.result.curve if selected_by in (epoch.valid_result or {})]
            if not validated:
                continue
            trace = go.Scatter(
                x=[epoch.epoch for epoch in validated],
                y=[epoch.valid_result[selected_by] for epoch in validated],
                mode="lines+markers",
                line={"color": colours[row.name], "width": 1.5},
                marker={"size": 4},
                name=row.name,
                legendgroup=row.name,
                showlegend=first,
                hovertemplate=f"seed {seed}, epoch %{{x}}: %{{y:.4f}}",
            )
            traces.append(trace)
            first = False
    if not traces:
        return None
    figure = _figure(traces, x="epoch", y=f"validation {analysis.rows[0].any.result.valid_metric}", showlegend=True)
    figure.update_xaxes(nticks=min(12, max(max(trace.x) for trace in traces)))  # no halves of an epoch
    return Picture("Learning curves", figure, "A line is a run; validation, by the metric that selects the epoch.")


def _train_seconds(result):
    return result.seconds.train


def _seconds_per_user(result):
    return 1 / result.users_per_second


def _quality_by_cost(analysis, title, axis, cost):
    go, colours, traces = plotly_objects(), _colours(analysis), []
    for row in analysis.rows:
        values = row.values(analysis.metric)
        trace = go.Scatter(
            x=[cost(row.runs[seed].result) for seed in values],
            y=list(values.values()),
            mode="markers",
            marker={"color": colours[row.name], "size": 11},
            name=row.name,
            text=[f"seed {seed}" for seed in values],
        )
        traces.append(trace)
    figure = _figure(traces, x=axis, y=_name(analysis), showlegend=True)
    figure.update_xaxes(type="log", nticks=8, exponentformat="power")
    note = "A point is a run; up and left is better. Times compare only on the same hardware: see the table of runs."
    return Picture(title, figure, note)


def _by_group(analysis, title, of_rows, names, note):
    present = [name for name in names if any(name in groups for groups in of_rows.values())]
    if not present:
        return None
    go, colours, traces = plotly_objects(), _colours(analysis), []
    labels = [f"{name}<br>{analysis.counts[name]:,}" for name in present]
    for row, groups in of_rows.items():
        pairs = [groups.get(name, (None, None)) for name in present]
        bars = go.Bar(
            x=labels, y=[mean for mean, _ in pairs], error_y=_error_bars(pairs), marker_color=colours[row], name=row
        )
        traces.append(bars)
    return Picture(title, _figure(traces, y=_name(analysis), barmode="group", showlegend=True), note)


_FIGURES = {"coverage": "coverage", "gini": "Gini index", "full": "valid lists", "novelty": "novelty, bits"}


def _pair(analysis, title, figures, note):
    """Two figures side by side, a bar a model."""
    if not analysis.beyond:
        return None
    go, colours, traces = plotly_objects(), _colours(analysis), []
    names = list(analysis.beyond)
    for axis, figure in zip(("", "2"), figures):
        pairs = [analysis.beyond[name][figure] for name in names]
        bars = go.Bar(
            x=names,
            y=[mean for mean, _ in pairs],
            error_y=_error_bars(pairs),
            marker_color=[colours[name] for name in names],
            xaxis=f"x{axis}",
            yaxis=f"y{axis}",
        )
        traces.append(bars)
    layout = {
        "xaxis": {"domain": [0, 0.44]},
        "xaxis2": {"domain": [0.56, 1], "anchor": "y2"},
        "yaxis": {"title": {"text": _FIGURES[figures[0]]}, "rangemode": "tozero"},
        "yaxis2": {"title": {"text": _FIGURES[figures[1]]}, "rangemode": "tozero", "anchor": "x2"},
    }
    shown = f" Of the first {analysis.length} items of a list."
    return Picture(title, _figure(traces, showlegend=False, **layout), note + shown)
