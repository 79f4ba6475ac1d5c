"""The log of a training: one line per epoch, the remaining time, and a heartbeat."""

from logging import getLogger
from time import perf_counter

from recbole_genrec.training.listeners import Listener

#: seconds of training after which the remaining time is estimated for the first time.
FIRST_ESTIMATE = 10.0
#: seconds without a line after which a heartbeat says where the training is.
SILENCE = 60.0


class Progress(Listener):
    """Log a line for every epoch, an estimate of the remaining time, and a heartbeat in long silences.

    Remaining times are upper bounds: they assume that no early stopping ends the training.

    Args:
        eval_step: epochs from one validation to the next; 0 without validation.
        now: seconds on a clock that only runs forward.
    """

    def __init__(self, eval_step, now=perf_counter):
        self._now, self._eval_step = now, eval_step
        self._trained = None  # the epoch whose line waits for its validation: number, loss, seconds
        self._best = None  # score and epoch, of those that this process has validated
        self._epoch = self._steps = self._n_steps = self._rows = self._timed_steps = 0
        self._seconds_a_step = self._validation = 0.0
        self._started = self._last_line = self._first_step = now()
        self._estimated = False

    def training_started(self, trainer):
        """Start the clocks."""
        self._started = self._last_line = self._now()

    def epoch_started(self, trainer, epoch, steps, done=0):
        """Log the line of the previous epoch, if it was not validated."""
        self._flush(trainer)
        self._epoch, self._n_steps, self._steps, self._timed_steps = epoch, steps, done, 0

    def step_trained(self, trainer):
        """Count the step; log the estimate, or a heartbeat after a long silence."""
        self._steps += 1
        now = self._now()
        if self._timed_steps:
            self._seconds_a_step = (now - self._first_step) / self._timed_steps
        else:
            self._first_step = now  # it is slower than the others
        self._timed_steps += 1
        if not self._estimated and self._timed_steps > 2 and now - self._started >= FIRST_ESTIMATE:
            self._estimated = True
            self._say(f"About {_duration(self._to_go(trainer))} to go if all {trainer.epochs} epochs are trained.")
        elif now - self._last_line >= SILENCE:
            self._say(
                f"epoch {self._epoch} of {trainer.epochs}: step {self._steps:,} of {self._n_steps:,}, at most "
                f"{_duration(self._to_go(trainer))} to go"
            )

    def epoch_trained(self, trainer, epoch, loss, seconds):
        """Keep the line until the epoch is validated, or until it is known that it will not be."""
        self._trained, self._rows = (epoch, loss, seconds), 0
        self._seconds_a_step = seconds / max(self._n_steps, 1)

    def batch_scored(self, scores, rows, targets):
        """Log a heartbeat during a long evaluation."""
        self._rows += len(targets)
        if self._now() - self._last_line >= SILENCE:
            self._say(f"{self._rows:,} rows ranked so far")

    def epoch_validated(self, trainer, result, seconds):
        """Log the epoch with its validation."""
        metric = _selecting(trainer)
        score, self._validation, self._rows = result[metric], seconds, 0
        # what RecBole is about to do with the score: a tie counts as better
        best, sign = trainer.best_valid_score, 1 if trainer.valid_metric_bigger else -1
        is_best = best is None or sign * score >= sign * best
        epoch = self._trained[0] if self._trained else 0
        if is_best:
            self._best = (score, epoch)
        self._flush(trainer, f"  valid {metric} {score:.4f}{' (best)' if is_best else ''}  {seconds:.1f} s")

    def training_ended(self, trainer):
        """Log the last epoch and which one was best."""
        epoch = self._trained[0] if self._trained else self._epoch
        self._flush(trainer)
        if self._best and self._best[1]:
            early = " by early stopping" if epoch < trainer.epochs else ""
            self._say(
                f"Training ended after epoch {epoch}{early}; epoch {self._best[1]} is the best, with "
                f"{_selecting(trainer)} {self._best[0]:.4f} in validation."
            )

    def _flush(self, trainer, validation=""):
        if self._trained is None:
            if validation:
                self._say(validation.strip())
            return
        epoch, loss, seconds = self._trained
        self._trained, self._estimated = None, True
        width = len(str(trainer.epochs))
        left = self._to_go(trainer, within=False)
        rest = f"  at most {_duration(left)} to go" if left else ""
        self._say(f"epoch {epoch:>{width}} of {trainer.epochs}  loss {loss:.4f}  {seconds:.1f} s{validation}{rest}")

    def _to_go(self, trainer, within=True):
        """Seconds of training and validation that remain at most."""
        epochs = trainer.epochs - self._epoch
        steps = epochs * self._n_steps + (self._n_steps - self._steps if within else 0)
        validations = 0
        if self._eval_step > 0:
            validations = trainer.epochs // self._eval_step - (self._epoch - within) // self._eval_step
        return max(steps * self._seconds_a_step + validations * self._validation, 0.0)

    def _say(self, text):
        self._last_line = self._now()
        getLogger().info(text)


def _selecting(trainer):
    """Name of the metric that selects the epoch: RecBole's ``valid_metric``, unless the trainer has one of its own."""
    return getattr(trainer, "selects_by", trainer.valid_metric).lower()


def _duration(seconds):
    """``40 seconds``, ``12 minutes``, ``3.5 hours``."""
    if seconds < 90:
        whole = max(round(seconds), 1)
        return f"{whole} second{'s' * (whole > 1)}"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
