"""What a report says of a board: the best rows, the tests, and what the users' outcomes tell."""

from dataclasses import replace
from functools import cached_property

from recbole_genrec.config.metrics import METRICS, SMALLER
from recbole_genrec.errors import GenRecError, shown, unknown_name
from recbole_genrec.report.breakdowns import beyond_hits, by_history, by_popularity, margins, over_seeds
from recbole_genrec.report.statistics import PairedRows, UserSums, best_row, compare_rows, is_row_metric

#: items of a list that are kept for the example users.
EXAMPLE_LENGTH = 10


class Analysis:
    """Reads the outcomes of a board's runs, one after the other.

    Args:
        board: :class:`~recbole_genrec.report.stored_runs.Board`.
        metric: of the pictures, such as ``ndcg@10``; None for the one that selected the epochs.
        baseline: name of the row that the others are compared with, or of its model; None for the best row.

    Attributes:
        best: by metric, the row with the best mean.
        references: by metric, the row that the others are compared with.
        comparisons: by metric, a :class:`~recbole_genrec.report.statistics.Comparison` by name of the row.
        against_best: the same for the metric of the pictures alone, against the best row.
        lists: by name of the row, a seed and its :class:`~recbole_genrec.evaluation.outcomes.Outcomes`, the lists cut
            to ``EXAMPLE_LENGTH`` items; of rows with lists, the first seed that has them.
        history, popularity: by name of the row and group, the metric's mean and deviation over the seeds.
        counts: by group, the targets in it, of one run.
        margins: by name of a row with a single run and group, see :func:`~recbole_genrec.report.breakdowns.margins`.
        uncounted: names of rows whose outcomes have neither lists nor counts for the length of the pictures' metric.
        beyond: by name of the row, the figures of :func:`~recbole_genrec.report.breakdowns.beyond_hits`, likewise.

    Raises:
        GenRecError: no run has the metric, or RecBole lacks one that a run has.
    """

    def __init__(self, board, metric=None, baseline=None):
        self.board, self.name, self.rows, self.metrics = board, board.name, board.rows, board.metrics
        if metric is not None and metric.lower() not in self.metrics:
            raise unknown_name("metric", metric, self.metrics)
        self.metric = metric.lower() if metric else board.metric
        self.best = {name: best_row(self.rows, name, _smaller(self.rows, name)) for name in self.metrics}
        named = self.find(baseline)
        self.against = named.name if named else "the best row of its column"
        self.references = {name: named if named and named.values(name) else self.best[name] for name in self.metrics}
        self.history, self.popularity, self.beyond, self.counts = {}, {}, {}, {}
        self.margins, self.lists = {}, {}
        self.uncounted, users = [], {}
        for row in self.rows:
            self._read(row, users)
        paired = PairedRows(users)
        self.comparisons = {name: compare_rows(self.rows, self.references[name], name, paired) for name in self.metrics}
        self.against_best = compare_rows(self.rows, self.best[self.metric], self.metric, paired)

    def find(self, name):
        """The row of this name, or the first of this model, or None."""
        named = [row for row in self.rows if name in (row.name, row.model)]
        return next((row for row in named if row.name == name), named[0] if named else None)

    @property
    def metric_title(self):
        """The pictures' metric as readers know it, such as ``HR@10`` and ``NDCG@10``."""
        return self.metric.upper().replace("HIT", "HR")

    @property
    def best_is_lowest(self):
        """Whether less of the pictures' metric is better."""
        return _smaller(self.rows, self.metric)

    @cached_property
    def length(self):
        """Length of the lists that the pictures are about: that of their metric, else the longest of all."""
        _, _, length = self.metric.partition("@")
        return int(length) if length else self.board.rows[0].any.result.list_length

    def _read(self, row, users):
        histories, popularities, beyond = [], [], []
        for seed, run in row.runs.items():
            outcomes = run.outcomes()
            if outcomes is None:
                continue
            users[row.name, seed] = UserSums(outcomes, self.metrics)
            if outcomes.lists is not None and row.name not in self.lists:
                self.lists[row.name] = seed, replace(outcomes, lists=outcomes.lists[:, :EXAMPLE_LENGTH].copy())
            beyond.append(beyond_hits(outcomes, self.length) or {})
            if is_row_metric(self.metric):
                histories.append(self._counted(by_history(outcomes, self.metric)))
                popularities.append(self._counted(by_popularity(outcomes, self.metric)))
                if len(row.runs) == 1:
                    self.margins[row.name] = margins(outcomes, self.metric)
        if any(beyond):
            self.beyond[row.name] = over_seeds(beyond)
        elif beyond:
            self.uncounted.append(row.name)
        if histories:
            self.history[row.name], self.popularity[row.name] = over_seeds(histories), over_seeds(popularities)

    def _counted(self, groups):
        self.counts |= {name: count for name, (_, count) in groups.items()}
        return {name: mean for name, (mean, _) in groups.items()}


def _smaller(rows, metric):
    """Whether less is better; a metric that RecBole does not have is an error, which names the run's file."""
    name = metric.partition("@")[0]
    if name not in METRICS:
        path = next(row.runs[seed].path for row in rows for seed in row.values(metric))
        raise GenRecError(f"{path}, 'test_result': RecBole has no metric {shown(metric)}.")
    return name in SMALLER
