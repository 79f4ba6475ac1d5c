"""What a board says in a few sentences: who leads, by how much, and whether that is more than chance."""

from typing import NamedTuple

from recbole_genrec.report.statistics import LEVEL, mean_and_deviation


class Verdict(NamedTuple):
    """Whether two rows differ.

    Attributes:
        differs: True, False, or None where nothing was tested.
        significance: over what the difference is significant, and over what it is not.
        reason: the tests, in words.
    """

    differs: bool | None
    significance: str
    reason: str


def headline(analysis):
    """Sentences on the metric of the pictures: the leader first, then who is level with it, then the other metrics.

    Args:
        analysis: :class:`~recbole_genrec.report.analysis.Analysis`.
    """
    best = analysis.best[analysis.metric]
    mean, _ = mean_and_deviation(best.values(analysis.metric).values())
    ranked = _ranked(analysis)
    if len(ranked) == 1:
        return [f"{best.name} has {analysis.metric_title} {mean:.4f}, {_basis(best)}. No other row to compare it with."]
    said = _against(analysis, best, ranked[1], "")
    other = next((row for row in ranked[1:] if row.model != best.model), None)
    if other is not None and other is not ranked[1]:
        said += _against(analysis, best, other, " of another model")
    level = [
        row.name for row in ranked[2:] if row is not other and verdict(analysis.against_best[row.name]).differs is False
    ]
    if level:
        said.append(f"Also without a significant difference from {best.name}: {', '.join(level)}.")
    leaders = {}
    for metric in analysis.metrics:
        if metric != analysis.metric:
            leaders.setdefault(analysis.best[metric].name, []).append(metric)
    named = "; ".join(f"{name} ({', '.join(metrics)})" for name, metrics in leaders.items())
    return said + ([f"Best by the other metrics: {named}."] if named else [])


def _ranked(analysis):
    """Rows that have the metric, the best first; of equal ones the row that the table marks as best."""
    best = analysis.best[analysis.metric]
    means = {row.name: mean_and_deviation(row.values(analysis.metric).values())[0] for row in _tested(analysis)}
    return sorted(_tested(analysis), key=lambda row: (abs(means[row.name] - means[best.name]), row is not best))


def _tested(analysis):
    return [row for row in analysis.rows if row.values(analysis.metric)]


def _against(analysis, best, other, whose):
    """Two sentences on the leader and another row: the figures, and the tests behind them."""
    mean, there = (mean_and_deviation(row.values(analysis.metric).values())[0] for row in (best, other))
    title, found = analysis.metric_title, verdict(analysis.against_best[other.name])
    distance = f"{abs(mean - there):.4f}" + (f" ({abs(mean / there - 1):.1%})" if there else "")
    way = "ahead of" if mean >= there else "below"  # of some metrics, less is better
    next_best = f"{other.name}, the next best row{whose} ({there:.4f})"
    if found.differs is False:
        text = f"{best.name} ({mean:.4f}) is level on {title} with {next_best}: no significant difference"
    elif found.differs:
        text = f"{best.name} leads on {title} with {mean:.4f}, {distance} {way} {next_best}: {found.significance}"
    else:
        text = f"{best.name} has the best {title}, {mean:.4f}, {distance} {way} {next_best}; not tested for chance"
    return [f"{text}.", f"{found.reason}; {_basis(best, other)}."]


def verdict(comparison):
    """What the two tests say of a row that is compared with the leader.

    Args:
        comparison: :class:`~recbole_genrec.report.statistics.Comparison`, against the leader.
    """
    done = {"users": comparison.p_users, "seeds": comparison.p_seeds}
    done = {over: p for over, p in done.items() if p is not None}
    if not done:
        return Verdict(None, "not tested", "No test, for want of the users' outcomes (.npz) or of common seeds")
    said = {over: f"{'significant' if p < LEVEL else 'not significant'} over {over}" for over, p in done.items()}
    reason = f"The difference is {' and '.join(f'{text} ({p_text(done[over])})' for over, text in said.items())}"
    if comparison.interval is not None:  # the leader minus the other row
        low, high = comparison.interval
        reason += f", 95 % interval over users {_signed(-high)} to {_signed(-low)}"
    return Verdict(any(p < LEVEL for p in done.values()), ", ".join(said.values()), reason)


def _signed(value):
    """A number with its sign, or 0 where four digits show nothing else."""
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}") if abs(value) >= 5e-5 else "0"


def p_text(p):
    """A p-value as papers have it."""
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def _basis(*rows):
    """On how many seeds and users figures stand."""
    seeds = sorted(set.intersection(*(set(row.runs) for row in rows)))
    counted = "no common seed" if not seeds else "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    users = [run.result.users for row in rows for run in row.runs.values() if run.result.users]
    whose = f", {users[0].evaluated:,} users" if users else ""
    if users and users[0].evaluated < users[0].of:
        whose += f" of {users[0].of:,}"
    return f"{counted}{whose}"
