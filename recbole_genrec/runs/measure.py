"""The test of a trained model, as a run makes it and as it is made again."""

from dataclasses import dataclass
from time import perf_counter

from recbole_genrec.distributed.world import current
from recbole_genrec.evaluation.cold_test import evaluate_cold, row_users
from recbole_genrec.evaluation.confidence import RowMetrics, bootstrap_intervals
from recbole_genrec.evaluation.outcomes import Outcomes, RankedLists
from recbole_genrec.files.plain import plain
from recbole_genrec.runs.result import Users, result_file


@dataclass(frozen=True)
class Measured:
    """What a test gave.

    Attributes:
        metrics: RecBole's, by name.
        intervals: of the metrics' means, by name.
        users: how many were tested, validated, and are there.
        outcomes: of every row; ``None`` where no list was ranked.
        generation: what the model counted while it ranked; empty for RecBole's models.
        identifiers: what the indexing made of the catalogue; empty for RecBole's models.
        seconds: of the evaluation.
    """

    metrics: dict
    intervals: dict
    users: Users
    outcomes: Outcomes | None
    generation: dict
    identifiers: dict
    seconds: float

    def write_outcomes(self, folder, config):
        """Write the outcomes, where there are any, beside the run's JSON: ``<model>-<dataset>-<seed>.npz``."""
        if self.outcomes is not None and current().is_first:
            self.outcomes.write(result_file(folder, config["model"], config, "npz"))

    def fields(self):
        """The fields of a :class:`~recbole_genrec.runs.result.RunResult` that a test gives."""
        return {
            "test_result": self.metrics,
            "test_interval": self.intervals,
            "users": self.users,
            "outcomes": self.outcomes is not None,
            "generation": self.generation,
            "identifiers": self.identifiers,
        }


def measure_test(trainer, data, loader, saved=True, checkpoint=None):
    """Test a trainer's model.

    Args:
        trainer: holds the model; a :class:`~recbole_genrec.training.listeners.ListeningTrainer`.
        data: :class:`~recbole_genrec.interactions.split.SplitData`.
        loader: of the test.
        saved: test the best epoch; else the model as it is.
        checkpoint: of the best epoch, where it is not the trainer's own.

    Returns:
        :class:`Measured`.
    """
    config, model = trainer.config, trainer.model
    lists, rows, started = RankedLists(max(config["topk"])), RowMetrics(), perf_counter()
    with trainer.listening(lists, rows):
        result = trainer.evaluate(loader, saved, checkpoint, config["show_progress"])
    seconds, users = perf_counter() - started, row_users(loader)
    generative = hasattr(model, "generation_statistics")
    return Measured(
        metrics=plain(result),
        intervals=plain(bootstrap_intervals(rows.values, users, config["seed"])),
        users=Users(**data.users),
        outcomes=lists.outcomes(users, data.parts[0]),
        generation=plain(model.generation_statistics()) if generative else {},
        identifiers=plain(model.identifier_statistics()) if generative else {},
        seconds=seconds,
    )


def measure_cold(trainer, data):
    """Test a trainer's model, as it is, on the rows that ask for cold items; empty where none are held out.

    Args:
        trainer, data: see :func:`measure_test`.
    """
    if data.cold is None:
        return {}
    config = trainer.config
    measured = evaluate_cold(config, data.dataset, lambda: data.cold_loader(config), trainer)
    return {"rows": len(data.cold), **plain(measured)}


def selected_by_validation(config, score, result, metric=None):
    """The fields of a :class:`~recbole_genrec.runs.result.RunResult` that validation gives.

    Args:
        config: of the run. score: of the best epoch, ``None`` without validation. result: its metrics, likewise.
        metric: what selected it, of which lower is better; ``None``: the configuration's ``valid_metric``.
    """
    return {
        "best_valid_score": plain(score),
        "best_valid_result": plain(result),
        "valid_metric": metric or config["valid_metric"],
        "valid_score_bigger": metric is None and config["valid_metric_bigger"],
    }
