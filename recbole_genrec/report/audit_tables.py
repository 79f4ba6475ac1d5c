"""The tables of an audit, as Markdown and on the console."""

from recbole_genrec.errors import listed
from recbole_genrec.files import table
from recbole_genrec.report.statistics import LEVEL

#: mark of a difference whose corrected p-value is below ``LEVEL``.
MARK = "†"


def audit_tables(content):
    """Tables of an audit.

    Args:
        content: as the JSON of an audit holds it.

    Yields:
        Title, header and rows of every table, and what is said below it.
    """
    for column, attribute in content["attributes"].items():
        yield _groups(column, attribute, content)
        yield _exposures(column, attribute)
    yield _differences(content)
    if "probe" in content:
        yield _probes(content["probe"])
    for column, named in content.get("named", {}).items():
        yield _named(column, named)


def audit_markdown(content):
    """The whole audit as Markdown."""
    parts = [f"# Audit of {content['model']} on {content['dataset']}, seed {content['seed']}\n\n{_caption(content)}\n"]
    for title, header, rows, note in audit_tables(content):
        shown = f"{table.markdown(header, rows)}" if rows else ""
        parts.append("\n".join(filter(None, (f"## {title}\n", shown, note and f"{note}\n"))))
    return "\n".join(parts)


def print_audit(content):
    """Print the tables of an audit."""
    for title, header, rows, note in audit_tables(content):
        if rows:
            table.print_rows(title, [header, *rows])
        if note:
            print(note if rows else f"{title}: {note}")


def _caption(content):
    return (
        f"{content['users']:,} tested users, lists of {content['topk']}. In brackets: 95 % bootstrap intervals over "
        "users. popularity: mean training interactions of the items recommended. coverage: share of the catalogue in "
        "some list; a small group has fewer lists, and so covers less. gini: 0 where all items are recommended equally "
        "often. A difference is between the two groups that differ most, its interval from users drawn again within "
        "them, its p-value from a permutation of users over the groups, corrected by Holm's method for all attributes "
        f"and metrics. {MARK}: p < {LEVEL}."
    )


def _groups(column, attribute, content):
    """Metrics by group."""
    measured = attribute["groups"]
    names = list(next(iter(measured.values()), {"metrics": {}})["metrics"])
    header = [column, "users", *names, "coverage", "gini"]
    rows = [
        [group, f"{own['users']:,}", *(_interval(name, *own["metrics"][name]) for name in names)]
        + [f"{own[name]:.3f}" for name in ("coverage", "gini")]
        for group, own in measured.items()
    ]
    notes = []
    if attribute["small"]:
        small = listed(f"{name} ({count})" for name, count in attribute["small"].items())
        notes.append(f"Fewer than {content['least']} users, not measured: {small}.")
    if attribute["without_value"]:
        notes.append(f"Without a value: {attribute['without_value']:,} users.")
    if len(measured) < 2:
        notes.append("There are no two groups to compare.")
    return f"Metrics by {column}", header, rows, " ".join(notes)


def _exposures(column, attribute):
    """Shares of exposure by popularity of the item."""
    header = [column, *(f"{at}" for at in range(1, 11)), "unseen"]
    rows = [[group, *(f"{100 * share:.1f}" for share in own["deciles"])] for group, own in attribute["groups"].items()]
    note = "Tenths of the items by training interactions, 1 the most popular; unseen: items without any."
    return f"Exposure by {column}, % of all recommendations", header, rows, note if rows else ""


def _differences(content):
    """The largest differences of all attributes and metrics."""
    header = ["attribute", "metric", "highest", "lowest", "difference", "p", "p corrected"]
    rows = [
        [column, metric, found["highest"], found["lowest"], _interval(metric, found["difference"], *found["interval"])]
        + [_p_value(found["p"]), _p_value(found["p_corrected"]) + f" {MARK}" * (found["p_corrected"] < LEVEL)]
        for column, attribute in content["attributes"].items()
        for metric, found in attribute["differences"].items()
    ]
    return "Largest differences between groups", header, rows, "" if rows else "nothing to compare."


def _probes(probes):
    """What is read off states of users."""
    header = ["attribute", "groups", "users", "AUC", "shuffled", "p"]
    rows = [
        [column, str(len(found["groups"])), f"{found['users']:,}", _interval("auc", found["auc"], *found["interval"])]
        + ["{:.4f} ± {:.4f}".format(*found["shuffled"]), _p_value(found["p_value"])]
        for column, found in probes.items()
        if found
    ]
    notes = ["AUC of a logistic regression for users outside its training folds, one group against the rest."]
    notes += ["shuffled: the same after the groups were shuffled over users, mean ± standard deviation."]
    for column, found in probes.items():
        if not found:
            notes.append(f"{column}: there are no two groups to tell apart.")
        elif found["read_by_model"]:
            notes.append(f"The model reads {column} itself ('user_columns').")
    return "Attributes read off states of users", header, rows, " ".join(notes)


def _named(column, named):
    """Similarity to the neutral list by value that is named."""
    titles = {"jaccard": "Jaccard", "serp": "SERP*", "prag": "PRAG*"}
    rows = [
        [value, *(_interval(name, *own["similarity"][name]) for name in titles)]
        for value, own in named["values"].items()
    ]
    rows += [[kind.upper(), *(f"{named[kind][name]:.4f}" for name in titles)] for kind in ("snsr", "snsv")]
    first = next(iter(named["values"].values()))["sentence"]
    note = (
        f"Each value is named to {named['users']:,} users, such as {first!r}; 1: the list is the neutral one. SNSR: "
        "range over the values, SNSV: standard deviation (Zhang et al. 2023; PRAG* per pair)."
    )
    return f"Similarity to the neutral list where {column} is named", [column, *titles.values()], rows, note


def _interval(metric, mean, low, high):
    digits = 1 if metric.startswith("popularity") else 4
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _p_value(p):
    return "< .001" if p < 0.001 else f"{p:.3f}"
