"""A few users with what the models recommend to them, side by side.

Letters: M rows of the board with lists, U users that all of them tested, K items of a list.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_genrec.catalogue.item_text import item_text
from recbole_genrec.checkpoint.folder import is_checkpoint
from recbole_genrec.checkpoint.folder import read_items as read_checkpoint_items
from recbole_genrec.errors import GenRecError
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.item_table import read_items
from recbole_genrec.report.statistics import mean_and_deviation

#: rows whose lists are shown, the best ones by the pictures' metric.
MOST_ROWS = 6
#: users that are shown.
EXAMPLES = 3


@dataclass(frozen=True)
class ShownList:
    """A row's list for a user: tokens of the items, best first, None for a gap, and which of them are targets."""

    row: str
    seed: int
    items: list[str | None]
    hits: list[bool]


@dataclass(frozen=True)
class Example:
    """A user of the test.

    Attributes:
        user: its token.
        reason: why it is shown, and how many users are like it.
        interactions: in training.
        targets: token and training interactions of each target.
        lists: of the rows, the best one first.
    """

    user: str
    reason: str
    interactions: int
    targets: list[tuple[str, int]]
    lists: list[ShownList]


@dataclass(frozen=True)
class Examples:
    """The examples of a board.

    Attributes:
        users: what is shown; empty where no row has lists.
        without_lists: rows whose outcomes are not there, or are kept without lists.
        other_users: rows that tested other users or targets than the best row with lists.
        left_out: rows beyond the ``MOST_ROWS`` best.
        titles: text of an item by its token, as far as known.
    """

    users: list[Example]
    without_lists: list[str]
    other_users: list[str]
    left_out: list[str]
    titles: dict[str, str]


def example_users(analysis):
    """Choose users that show what parts the models.

    The kinds: a user whose target the best row has in its list and the most others miss; one whose target the best row
    misses and the most others have; one whose target nobody has. Of equal ones, the first by token. Where no user is of
    a kind, another takes its place.

    Args:
        analysis: :class:`~recbole_genrec.report.analysis.Analysis`.
    """
    sign = -1 if analysis.best_is_lowest else 1
    means = {
        row.name: sign * mean_and_deviation(row.values(analysis.metric).values())[0]
        for row in analysis.rows
        if row.name in analysis.lists and row.values(analysis.metric)
    }
    names = sorted(means, key=means.get, reverse=True)
    without = [row.name for row in analysis.rows if row.name not in analysis.lists]
    if not names:
        return Examples([], without, [], [], {})
    tests = {name: _Test(analysis.lists[name][1]) for name in names}
    same = [name for name in names if tests[name].same_as(tests[names[0]])]
    used, left_out = same[:MOST_ROWS], same[MOST_ROWS:]
    users = _chosen(used, tests, {name: analysis.lists[name][0] for name in used})
    shown = {item for each in users for item, _ in each.targets}
    shown |= {item for each in users for listed in each.lists for item in listed.items if item is not None}
    others = [name for name in names if name not in same]
    return Examples(users, without, others, left_out, item_titles(analysis.rows, shown))


class _Test:
    """Users of a run's outcomes by token, each with its first row.

    Attributes:
        users: tokens, sorted ``[U]``.
        hit: whether a target is in the list ``[U]``.
    """

    def __init__(self, outcomes):
        self._outcomes, length = outcomes, outcomes.lists.shape[1]
        self.users, self._row = np.unique(outcomes.users, return_index=True)
        found = outcomes.rows[(outcomes.places > 0) & (outcomes.places <= length)]
        hit = np.zeros(len(outcomes.users), bool)
        hit[found] = True
        self.hit = hit[self._row]
        asked = np.stack([outcomes.users[outcomes.rows], outcomes.items[outcomes.targets]])
        self._asked = asked[:, np.lexsort(asked)]

    def same_as(self, other):
        """Whether another run tested the same users on the same targets."""
        return np.array_equal(self.users, other.users) and np.array_equal(self._asked, other._asked)

    def targets(self, at):
        """Tokens of a user's targets, and their training interactions."""
        outcomes = self._outcomes
        targets = outcomes.targets[outcomes.rows == self._row[at]]
        return [(str(outcomes.items[item]), int(outcomes.item_counts[item])) for item in targets]

    def interactions(self, at):
        """A user's training interactions."""
        return int(self._outcomes.user_counts[self._row[at]])

    def listed(self, at):
        """Tokens of a user's list; None where the model gave no item."""
        numbers = self._outcomes.lists[self._row[at]]
        return [str(self._outcomes.items[item]) if item else None for item in numbers]


def _chosen(names, tests, seeds):
    best, first = tests[names[0]], names[0]
    hits = np.stack([tests[name].hit for name in names])  # [M, U]
    n_hits = hits.sum(0)
    kinds = {
        f"{first} has the target in its list": (hits[0], -n_hits),
        f"{first} misses the target, another row has it": (~hits[0] & (n_hits > 0), n_hits),
        "No list has the target": (n_hits == 0, -n_hits),
    }
    taken = {}
    while len(taken) < min(EXAMPLES, len(best.users)):
        for reason, (of_kind, score) in kinds.items():
            free = np.setdiff1d(np.flatnonzero(of_kind), list(taken))
            if free.size and len(taken) < EXAMPLES:
                taken[int(free[np.argmax(score[free])])] = f"{reason}, as for {of_kind.mean():.1%} of the users"
    ordered = sorted(taken.items(), key=lambda pair: [pair[1].startswith(kind) for kind in kinds], reverse=True)
    return [_example(at, reason, names, tests, seeds) for at, reason in ordered]


def _example(at, reason, names, tests, seeds):
    best = tests[names[0]]
    targets = best.targets(at)
    wanted, lists = {item for item, _ in targets}, []
    for name in names:
        items = tests[name].listed(at)
        lists.append(ShownList(name, seeds[name], items, [item in wanted for item in items]))
    return Example(str(best.users[at]), reason, best.interactions(at), targets, lists)


def item_titles(rows, tokens):
    """Texts of items, from the first checkpoint or ``.item`` file of the rows' runs that is found from here.

    Args:
        rows: of a board.
        tokens: of the items that are asked for.

    Returns:
        By token; without items that have no text, and empty where neither is found or can be read.
    """
    for read in (_checkpoint_texts, _file_texts):
        for row in rows:
            for run in row.runs.values():
                try:
                    texts = read(run.result)
                except GenRecError:  # an example without titles says so; the report does not depend on them
                    continue
                if texts:
                    return {token: texts[token] for token in tokens if texts.get(token)}
    return {}


def _checkpoint_texts(result):
    if result.checkpoint is None or not is_checkpoint(result.checkpoint):
        return {}
    stored = read_checkpoint_items(result.checkpoint)
    return dict(zip(stored["tokens"], stored.get("item_texts", stored["texts"])))


def _file_texts(result):
    settings = {"field_separator": "\t", "encoding": None, "ITEM_ID_FIELD": "item_id", **result.config}
    if not isinstance(settings.get("data_path"), str):
        return {}
    file = AtomicFile.of(Path(settings["data_path"]) / f"{result.dataset}.item", settings)
    if not file.path.is_file():
        return {}
    return item_text(read_items(file, settings["ITEM_ID_FIELD"])).texts
