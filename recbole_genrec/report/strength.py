"""How strong the rows of a board are against what others have published, and whether their training was long enough."""

from recbole_genrec.config.yaml_settings import read_yaml
from recbole_genrec.files.properties import properties_folder
from recbole_genrec.report.statistics import mean_and_deviation

#: the share of its epochs after which a best epoch counts as late.
LATE = 0.9


def published(board):
    """Published figures for a board's dataset: the whole catalogue ranked, users' last interactions tested.

    Returns:
        Entries of ``properties/report/published.yaml``; none where the board's protocol is another.
    """
    protocol = board.rows[0].any.result.config["eval_args"]
    modes = protocol["mode"].values() if isinstance(protocol["mode"], dict) else [protocol["mode"]]
    if set(modes) != {"full"} or "LS" not in protocol["split"]:
        return []
    return read_yaml(properties_folder() / "report" / "published.yaml").get(board.dataset, [])


def seen_items(settings):
    """``kept`` or ``left out`` of the ranking, of a published entry or a run's configuration; ``?`` where unknown."""
    return {True: "kept", False: "left out"}.get(settings.get("repeatable"), "?")


def shortfalls(board):
    """What the page says of every row's strength, in sentences."""
    entries = published(board)
    said = [sentence for row in board.rows for sentence in _against_published(row, entries)]
    named = ", ".join(entry["setting"] for entry in entries)
    if not entries:
        said.append(
            f"No published figures for {board.name} are known here: how far the baselines are from their best is open."
        )
    elif not said:
        said.append(f"Published figures are known for {named}, which this board does not have.")
    return said + [sentence for row in board.rows for sentence in _unfinished(row)]


def _against_published(row, entries):
    here_seen = seen_items({"repeatable": True} | row.any.result.config)
    for entry in entries:
        if row.model not in entry["models"]:
            continue
        there_seen = seen_items(entry)
        other = f"; another test: items seen before are {there_seen} there and {here_seen} here"
        for metric in ("hit@10", "ndcg@10"):
            values = row.values(metric).values()
            if not values or metric not in entry:
                continue
            here, there = mean_and_deviation(values)[0], entry[metric]
            distance = f"misses by {1 - here / there:.0%}" if here < there else f"exceeds by {here / there - 1:.0%}"
            whose = f"{entry['setting']}; {entry['source']}{other if there_seen not in (here_seen, '?') else ''}"
            yield f"{row.name}: {metric} {here:.4f} {distance} the published {there:.4f} ({whose})."


def _unfinished(row):
    late = [seed for seed, run in row.runs.items() if _is_late(run.result)]
    if late:
        budget = max(run.result.config["epochs"] for run in row.runs.values())
        yield (
            f"{row.name}: with seed {', '.join(map(str, late))} the best epoch is among the last of the {budget} "
            "allowed, so more epochs may give more."
        )


def best_epoch(result):
    """The epoch that was selected, from 1, or None where validation did not select."""
    scores = [(epoch.epoch, epoch.valid_result) for epoch in result.curve if epoch.valid_result is not None]
    return next((epoch for epoch, scored in scores if scored == result.best_valid_result), None)


def _is_late(result):
    best = best_epoch(result)
    allowed = result.config["epochs"]
    return bool(best) and result.epochs >= allowed and best > LATE * allowed
