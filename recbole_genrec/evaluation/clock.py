"""Time, loss and validation of every epoch, for any trainer."""

import json
from pathlib import Path

from recbole_genrec.distributed.world import current
from recbole_genrec.files.plain import plain
from recbole_genrec.files.write import write_text
from recbole_genrec.training.listeners import Listener


class Clock(Listener):
    """Record the curve of a training.

    Args:
        saved: keep the curve beside the checkpoints, where the trainer has a folder for them: a run that resumes then
            has its first epochs, too.

    Attributes:
        curve: a dictionary an epoch, with ``epoch`` (from 1), ``train_loss`` and ``train_seconds``, and after a
            validation ``valid_seconds`` and ``valid_result``. A model that is not trained is validated in epoch 0.
    """

    def __init__(self, saved=False):
        self.curve = []
        self._saved, self._started = saved, False

    def epoch_trained(self, trainer, epoch, loss, seconds):
        """Add an epoch."""
        self._read(trainer)
        self._add(trainer, {"epoch": epoch, "train_loss": loss, "train_seconds": seconds})

    def epoch_validated(self, trainer, result, seconds):
        """Add a validation to the last epoch."""
        self._read(trainer)
        last = self.curve.pop() if self.curve else {"epoch": 0}
        self._add(trainer, last | {"valid_seconds": seconds, "valid_result": dict(result)})

    def training_ended(self, trainer):
        """Read the curve of a run that resumed after its last epoch, for which no other event comes."""
        self._read(trainer)

    @property
    def epochs(self):
        """Epochs trained."""
        return sum("train_seconds" in epoch for epoch in self.curve)

    @property
    def validations(self):
        """Validations made."""
        return sum("valid_seconds" in epoch for epoch in self.curve)

    @property
    def training(self):
        """Seconds of training."""
        return sum(epoch.get("train_seconds", 0.0) for epoch in self.curve)

    @property
    def validation(self):
        """Seconds of validation."""
        return sum(epoch.get("valid_seconds", 0.0) for epoch in self.curve)

    def _read(self, trainer):
        """Read the epochs before the one that a run resumes with, once."""
        if self._started:
            return
        self._started = True
        file = self._file(trainer)
        if trainer.start_epoch > 0 and file and file.is_file():
            stored = json.loads(file.read_text("utf-8"))
            self.curve = [epoch for epoch in stored if epoch["epoch"] <= trainer.start_epoch]

    def _add(self, trainer, epoch):
        self.curve.append(epoch)
        file = self._file(trainer)
        if file and current().is_first:
            write_text(file, json.dumps(plain(self.curve)) + "\n")

    def _file(self, trainer):
        folder = getattr(trainer, "run_folder", None)  # RecBole's own trainers cannot resume
        return Path(folder) / "curve.json" if self._saved and folder else None
