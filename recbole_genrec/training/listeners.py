"""Listeners: objects that a trainer notifies of training, validation and ranking.

A listener overrides the events that it needs. Every trainer of a run comes from :func:`trainer_class` and reports to
``trainer.listeners``::

    trainer.listeners += [Clock(saved), Curves()]
    trainer.fit(train_data, valid_data)
    with trainer.listening(lists, rows):  # for these evaluations alone
        trainer.evaluate(test_data)

Letters: B rows of a batch, T targets, R rows of an evaluation. A row is a test interaction, or a user where candidates
are sampled.
"""

from contextlib import contextmanager
from functools import cache
from logging import getLogger
from time import perf_counter

import torch
from recbole.utils import EvaluatorType

from recbole_genrec.training.row_evaluator import RowEvaluator
from recbole_genrec.training.sharing import for_several_processes

#: metrics of labels 0 and 1 that take probabilities.
OF_PROBABILITIES = ("auc", "logloss")
#: RecBole's models whose ``predict`` gives probabilities of such labels, on which they train.
RECBOLE_WITH_PROBABILITIES = ("DIN", "DIEN", "DMF", "FISM", "NAIS", "NeuMF", "NNCF")


class Listener:
    """The events of a training and its evaluations; each does nothing unless overridden."""

    def training_started(self, trainer):
        """``fit`` begins. A trainer that resumes knows its first epoch from the first ``epoch_...`` event on."""

    def epoch_started(self, trainer, epoch, steps, done=0):
        """An epoch, numbered from 1, begins: about ``steps`` optimizer steps, of which a resumed run has ``done``."""

    def step_trained(self, trainer):
        """The optimizer took a step."""

    def epoch_trained(self, trainer, epoch, loss, seconds):
        """An epoch, numbered from 1, was trained; ``loss`` is what RecBole reports of it, parts added up."""

    def epoch_validated(self, trainer, result, seconds):
        """The last trained epoch was validated; ``result`` holds the metrics by name."""

    def training_ended(self, trainer):
        """``fit`` is over, also where it raised."""

    def batch_scored(self, scores, rows, targets):
        """A batch was ranked.

        Args:
            scores: ``[B, n_items]``, -inf for what is no candidate.
            rows: each target's row in the batch ``[T]``.
            targets: item ids ``[T]``.
        """

    def rows_measured(self, values):
        """An evaluation is over; ``values`` holds each top-k metric by name, such as ``ndcg@10``, of every row ``[R]``.

        Where several processes evaluate, the rows are those of all of them.
        """


class ListeningTrainer:
    """Mixin for a trainer: notifies listeners, and can restrict the ranking to some items.

    Where labels are measured, scores of models that give no probabilities pass through a sigmoid, in double precision
    so that no two scores become one: AUC is that of the scores then, LogLoss compares nothing.

    Attributes:
        listeners: :class:`Listener` objects, told in this order.
        ranked_items: ids of the items that are candidates of an evaluation; ``None``: all items.
    """

    def __init__(self, config, model):
        self.listeners, self.ranked_items = [], None
        super().__init__(config, model)
        self.evaluator = RowEvaluator(config)
        self._squashes = self._measures_likes(config) and not self._has_probabilities(config["model"], model)
        if self._squashes:
            getLogger().warning(
                f"{config['model']} gives scores, not the probability that an item is liked: its AUC compares, its "
                "LogLoss, that of the scores' sigmoid, does not."
            )

    @staticmethod
    def _measures_likes(config):
        metrics = [config["metrics"]] if isinstance(config["metrics"], str) else config["metrics"]
        return any(metric.lower() in OF_PROBABILITIES for metric in metrics)

    @staticmethod
    def _has_probabilities(name, model):
        return getattr(model, "gives_probabilities", name in RECBOLE_WITH_PROBABILITIES)

    @contextmanager
    def listening(self, *listeners):
        """Context with additional listeners."""
        before = self.listeners
        self.listeners = [*before, *listeners]
        try:
            yield
        finally:
            self.listeners = before

    @contextmanager
    def ranking_among(self, items):
        """Context in which evaluations rank some items only.

        The model scores every item then, whatever ``decoding`` says: a search finds the best of the whole catalogue.

        Args:
            items: ids of the candidates.
        """
        self.ranked_items = items
        searches = hasattr(self.model, "scores_all_items")
        if searches:
            self.model.scores_all_items = True
        try:
            yield
        finally:
            self.ranked_items = None
            if searches:
                self.model.scores_all_items = False

    def fit(self, *args, **kwargs):
        """The trainer's ``fit``."""
        self._tell("training_started", self)
        try:
            return super().fit(*args, **kwargs)
        finally:
            self._tell("training_ended", self)

    def evaluate(self, eval_data, *args, **kwargs):
        """The trainer's ``evaluate``."""
        result = super().evaluate(eval_data, *args, **kwargs)
        if eval_data:
            self._tell("rows_measured", self.evaluator.rows)
        return result

    def _build_optimizer(self, **kwargs):
        """The trainer's optimizer, whose steps are told."""
        optimizer = super()._build_optimizer(**kwargs)
        if optimizer is not None:
            optimizer.register_step_post_hook(lambda *_: self._tell("step_trained", self))
        return optimizer

    def _train_epoch(self, train_data, epoch_idx, *args, **kwargs):
        # RecBole's trainers take a step a batch and cannot go on within an epoch
        steps = self.steps_of_epoch(train_data) if hasattr(self, "steps_of_epoch") else (len(train_data), 0)
        self._tell("epoch_started", self, epoch_idx + 1, *steps)
        started = perf_counter()
        loss = super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
        seconds = perf_counter() - started
        total = sum(map(float, loss)) if isinstance(loss, tuple) else float(loss)
        self._tell("epoch_trained", self, epoch_idx + 1, total, seconds)
        return loss

    def _valid_epoch(self, *args, **kwargs):
        started = perf_counter()
        score, result = super()._valid_epoch(*args, **kwargs)
        self._tell("epoch_validated", self, result, perf_counter() - started)
        return score, result

    def _full_sort_batch_eval(self, batched_data):
        return self._ranked(*super()._full_sort_batch_eval(batched_data))

    def _neg_sample_batch_eval(self, batched_data):
        scored = super()._neg_sample_batch_eval(batched_data)
        if self.eval_type == EvaluatorType.RANKING:
            return self._ranked(*scored)
        # metrics of values, such as RMSE, have one score a row and no list
        interaction, scores, *rest = scored
        return interaction, scores.cpu().double().sigmoid() if self._squashes else scores, *rest

    def _ranked(self, interaction, scores, rows, targets):
        """A batch as RecBole's collector takes it, ranked among ``ranked_items``; tells the listeners."""
        if self.ranked_items is not None:
            among = torch.full_like(scores, -torch.inf)
            among[:, self.ranked_items] = scores[:, self.ranked_items]
            scores = among
        self._tell("batch_scored", scores, rows, targets)
        return interaction, scores, rows, targets

    def _tell(self, event, *values):
        for listener in self.listeners:
            getattr(listener, event)(*values)


@cache
def trainer_class(kind, processes=1):
    """The trainer class of a run: RecBole's or the plugin's, with listeners.

    Args:
        kind: the trainer class that belongs to the model.
        processes: number of processes that share its work.

    Raises:
        GenRecError: it cannot share its work.
    """
    if processes > 1:
        kind = for_several_processes(kind)
    return type(kind.__name__, (ListeningTrainer, kind), {})
