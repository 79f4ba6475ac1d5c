"""A board's pictures, as figures of plotly. Each gives the figure and what a reader must know to read it.

Names of rows stand at bars that lie, so that long ones fit a phone. plotly reads HTML in texts, so names are escaped.
"""

from dataclasses import dataclass
from html import escape
from textwrap import wrap

from recbole_genrec.errors import GenRecError
from recbole_genrec.report.breakdowns import HEAD, HISTORIES, POPULARITIES, TAIL
from recbole_genrec.report.statistics import mean_and_deviation

#: Okabe & Ito's colours without black and yellow, which the page's grounds swallow; then others that stand beside them.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6BB1", "#7A7A7A", "#A6761D", "#66A61E")
#: of lines, points and bars, for the rows of the first turn of colours, and of the next ones.
SIGNS = (("solid", "circle", ""), ("dot", "diamond", "/"), ("dash", "square", "."))
#: of what belongs to no model; it shows on a light and on a dark ground.
_GREY = "#8C8C8C"
#: longest line of a row's name at an axis, in characters.
_LABEL = 20
#: training losses that differ by more than this factor are shown on a logarithmic axis.
_WIDE_LOSSES = 10


@dataclass(frozen=True)
class Picture:
    """A figure, its title, and the sentence below; a figure's height leaves out its legend, which the page adds."""

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
        _by_group(analysis, f"{analysis.metric_title} by history length", analysis.history, HISTORIES, _HISTORY_NOTE),
        _by_group(
            analysis, f"{analysis.metric_title} by item popularity", analysis.popularity, POPULARITIES, _POPULARITY_NOTE
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


def row_label(name):
    """A row's name as plotly shows it at an axis: in lines, and nothing in it is a tag."""
    return "<br>".join(map(escape, wrap(name, _LABEL, break_long_words=True))) or " "


def _colours(analysis):
    return {row.name: COLOURS[index % len(COLOURS)] for index, row in enumerate(analysis.rows)}


def _signs(analysis):
    """By name of the row, a dash, a marker and a pattern: rows of one colour differ in them."""
    return {row.name: SIGNS[index // len(COLOURS) % len(SIGNS)] for index, row in enumerate(analysis.rows)}


def _figure(traces, x="", y="", height=320, **layout):
    figure = plotly_objects().Figure(traces)
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 56, "r": 16, "t": 16, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis={"title": {"text": x}, "automargin": True},
        yaxis={"title": {"text": y, "standoff": 8}, "rangemode": "tozero", "automargin": True},
        legend={"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0},
        hoverlabel={"namelength": -1},
    )
    return figure.update_layout(**layout)


def _lying(names, texts):
    """Layout of bars that lie, a row's name at each: the first row on top."""
    return {
        "height": 80 + 34 * len(names),
        "yaxis": {"automargin": True, "autorange": "reversed", "title": {"text": ""}, "ticklabelstandoff": 6},
        "xaxis": {"title": {"text": texts}, "rangemode": "tozero", "nticks": 6},
    }


def _error_bars(pairs):
    """Bars of one sample standard deviation, where there are several seeds."""
    several = any(deviation is not None for _, deviation in pairs)
    return {"type": "data", "array": [deviation or 0 for _, deviation in pairs], "visible": several, "color": _GREY}


def _group_bars(pairs, margins):
    """Error bars of groups: of several seeds as above, of a single one the margins, not below 0."""
    if not any(margins):
        return _error_bars(pairs)
    below = [min(margin or 0, mean or 0) for (mean, _), margin in zip(pairs, margins)]
    above = [margin or 0 for margin in margins]
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": _GREY, "thickness": 1}


def spread_of(row, metric):
    """How far below and above its mean a row's metric reaches, and what that is in words.

    Returns:
        The lower and upper end: one sample standard deviation of several seeds, the 95 % bootstrap interval over users
        of a single one; None where the run holds no interval.
    """
    values = row.values(metric)
    mean, deviation = mean_and_deviation(values.values())
    if deviation is not None:
        return mean - deviation, mean + deviation
    (seed,) = values
    interval = row.runs[seed].result.test_interval.get(metric)
    return tuple(interval) if interval else None


def told(row, seed, metric):
    """A run's figure in a line each: value, interval, seed and file."""
    run = row.runs[seed]
    interval = run.result.test_interval.get(metric)
    lines = [f"{row.name}, seed {seed}: {metric} {row.values(metric)[seed]:.4f}"]
    lines += [f"95 % interval over users: {interval[0]:.4f} to {interval[1]:.4f}"] if interval else []
    return [*lines, str(run.path)]


def _hover(row, seed, metric):
    return "<br>".join(map(escape, told(row, seed, metric)))


def _reach(means, spreads):
    """Error bars from means to the ends of their spreads, both ways."""
    pairs = [
        (mean - low, high - mean) for mean, (low, high) in zip(means, (s or (m, m) for m, s in zip(means, spreads)))
    ]
    below, above = ([max(part, 0) for part in parts] for parts in zip(*pairs))
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": _GREY, "thickness": 1.5}


def _metric_by_model(analysis):
    go, colours, rows = plotly_objects(), _colours(analysis), [r for r in analysis.rows if r.values(analysis.metric)]
    means = [mean_and_deviation(row.values(analysis.metric).values())[0] for row in rows]
    names = [row_label(row.name) for row in rows]
    bars = go.Bar(
        y=names,
        x=means,
        orientation="h",
        error_x=_reach(means, [spread_of(row, analysis.metric) for row in rows]),
        marker_color=[colours[row.name] for row in rows],
        opacity=0.75,
        name="mean",
        hovertemplate="%{x:.4f}<extra></extra>",
    )
    points = [(row, seed, value) for row in rows for seed, value in row.values(analysis.metric).items()]
    dots = go.Scatter(
        y=[row_label(row.name) for row, _, _ in points],
        x=[value for _, _, value in points],
        mode="markers",
        marker={"color": _GREY, "size": 9, "symbol": "circle-open"},
        text=[_hover(row, seed, analysis.metric) for row, seed, _ in points],
        hovertemplate="%{text}<extra></extra>",
        name="a run",
    )
    layout = _lying(names, analysis.metric_title) | {"bargap": 0.4, "showlegend": False}
    note = (
        "Bars: means over seeds; a point is a run. Error bars: the sample standard deviation of several seeds, the "
        "95 % bootstrap interval over users of a single one. Point at a circle for seed, interval and file."
    )
    return Picture(f"{analysis.metric_title} by model", _figure([bars, dots], **layout), note)


def _learning_curves(analysis):
    """Validation above, training loss below, both by epoch."""
    go, colours, signs, traces, losses = plotly_objects(), _colours(analysis), _signs(analysis), [], []
    for row in analysis.rows:
        for seed, run in row.runs.items():
            scored, lost = _validated(run.result), _lost(run.result)
            for points, axis, of in ((scored, "y", "validation"), (lost, "y2", "training loss")):
                if not points:
                    continue
                trace = go.Scatter(
                    x=[epoch for epoch, _ in points],
                    y=[value for _, value in points],
                    yaxis=axis,
                    mode="lines+markers",
                    line={"color": colours[row.name], "width": 1.5, "dash": signs[row.name][0]},
                    marker={"size": 4, "symbol": signs[row.name][1]},
                    name=escape(row.name),
                    legendgroup=escape(row.name),
                    showlegend=all(trace.legendgroup != escape(row.name) for trace in traces),
                    hovertemplate=f"{escape(row.name)}, seed {seed}, epoch %{{x}}, {of}: %{{y:.4f}}<extra></extra>",
                )
                traces.append(trace)
            losses += [value for _, value in lost]
    if not traces:
        return None
    return Picture("Learning curves", _curves_figure(analysis, traces, losses), _CURVES_NOTE)


_CURVES_NOTE = (
    "A line is a run. Above: validation, by the metric that selects the epoch. Below: the mean training loss of each "
    "epoch; losses of different models or loss settings do not compare, their course does."
)


def _curves_figure(analysis, traces, losses):
    axes = {trace.yaxis for trace in traces}
    below = [0, 0.42] if "y" in axes else [0, 1]
    figure = _figure(traces, x="epoch", height=320 if len(axes) == 1 else 520, showlegend=True)
    if "y" in axes:
        title = f"validation {analysis.rows[0].any.result.valid_metric}"
        figure.update_layout(yaxis={"title": {"text": title}, "domain": [0.58, 1] if "y2" in axes else [0, 1]})
    if "y2" in axes:
        wide = min(losses) > 0 and max(losses) > _WIDE_LOSSES * min(losses)
        scale = {"type": "log", "nticks": 6} if wide else {}
        loss = {"title": {"text": "training loss"}, "domain": below, "automargin": True, "anchor": "x"} | scale
        figure.update_layout(yaxis2=loss, xaxis={"anchor": "y2"})
    most = max(max(trace.x) for trace in traces)
    return figure.update_xaxes(nticks=min(12, max(most, 1)))  # no halves of an epoch


def _validated(result):
    """Epoch and score of every validation, by the metric that selects."""
    selected_by = result.valid_metric.lower()
    return [(e.epoch, e.valid_result[selected_by]) for e in result.curve if selected_by in (e.valid_result or {})]


def _lost(result):
    """Epoch and training loss of every epoch that has one."""
    return [(epoch.epoch, epoch.train_loss) for epoch in result.curve if epoch.train_loss is not None]


def _train_seconds(result):
    return result.seconds.train


def _seconds_per_user(result):
    return 1 / result.users_per_second


def _quality_by_cost(analysis, title, axis, cost):
    go, colours, signs, traces = plotly_objects(), _colours(analysis), _signs(analysis), []
    for row in analysis.rows:
        values = row.values(analysis.metric)
        if not values:
            continue
        means = list(values.values())
        intervals = [row.runs[seed].result.test_interval.get(analysis.metric) for seed in values]
        trace = go.Scatter(
            x=[cost(row.runs[seed].result) for seed in values],
            y=means,
            error_y=_reach(means, intervals) | {"visible": any(intervals)},
            mode="markers",
            marker={"color": colours[row.name], "size": 11, "symbol": signs[row.name][1]},
            name=escape(row.name),
            text=[_hover(row, seed, analysis.metric) for seed in values],
            hovertemplate=f"%{{text}}<br>{axis}: %{{x:.4g}}<extra></extra>",
        )
        traces.append(trace)
    figure = _figure(traces, x=axis, y=analysis.metric_title, showlegend=True)
    figure.update_xaxes(type="log", nticks=8, exponentformat="power")
    note = (
        "A point is a run, with its 95 % interval over users; up and left is better. Times compare only on the same "
        "hardware: see the table of runs."
    )
    return Picture(title, figure, note)


def _by_group(analysis, title, of_rows, names, note):
    present = [name for name in names if any(name in groups for groups in of_rows.values())]
    if not present:
        return None
    go, colours, signs, traces = plotly_objects(), _colours(analysis), _signs(analysis), []
    labels = [f"{name}<br>{analysis.counts[name]:,}" for name in present]
    for row, groups in of_rows.items():
        pairs = [groups.get(name, (None, None)) for name in present]
        bars = go.Bar(
            x=labels,
            y=[mean for mean, _ in pairs],
            error_y=_group_bars(pairs, [analysis.margins.get(row, {}).get(name) for name in present]),
            marker={"color": colours[row], "pattern": {"shape": signs[row][2]}},
            name=escape(row),
            hovertemplate="%{y:.4f}",
        )
        traces.append(bars)
    figure = _figure(traces, y=analysis.metric_title, barmode="group", showlegend=True)
    reach = "the sample standard deviation of several seeds, the 95 % interval over rows (normal) of a single one"
    return Picture(title, figure, f"{note} Error bars: {reach}.")


_FIGURES = {"coverage": "coverage", "gini": "Gini index", "full": "valid lists", "novelty": "novelty, bits"}


def _pair(analysis, title, figures, note):
    """Two figures side by side, a bar a model."""
    if not analysis.beyond:
        return None
    go, colours, traces = plotly_objects(), _colours(analysis), []
    names = list(analysis.beyond)
    for axis, figure in zip(("x", "x2"), figures):
        pairs = [analysis.beyond[name][figure] for name in names]
        bars = go.Bar(
            y=[row_label(name) for name in names],
            x=[mean for mean, _ in pairs],
            orientation="h",
            error_x=_error_bars(pairs),
            marker_color=[colours[name] for name in names],
            xaxis=axis,
            hovertemplate="%{x:.4f}<extra></extra>",
        )
        traces.append(bars)
    first, second = (
        {"title": {"text": _FIGURES[figure]}, "rangemode": "tozero", "nticks": 4, "domain": domain}
        for figure, domain in zip(figures, ([0, 0.46], [0.54, 1]))
    )
    layout = _lying(names, "") | {"xaxis": first, "xaxis2": second, "showlegend": False, "bargap": 0.4}
    shown = f" Of the first {analysis.length} items of a list."
    return Picture(title, _figure(traces, **layout), note + shown)
