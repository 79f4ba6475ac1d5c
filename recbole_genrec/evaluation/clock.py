"""What training cost and how it went: seconds, losses and validations of every epoch, whichever trainer it is."""

import json
from pathlib import Path
from time import perf_counter

from recbole_genrec.distributed.world import current
from recbole_genrec.files.plain import plain
from recbole_genrec.files.write import write_text


class Clock:
    """Listens to a trainer.

    Args:
        trainer: RecBole's or the plugin's.
        saved: keep the curve beside the checkpoints, where the trainer has a folder for them: a run that resumes then
            tells of its first epochs too.

    Attributes:
        curve: a dictionary an epoch, with ``epoch`` (from 1), ``train_loss`` and ``train_seconds``, and after a
            validation ``valid_seconds`` and ``valid_result``. A model that is not trained is validated in epoch 0.
    """

    def __init__(self, trainer, saved=False):
        self.curve = []
        self._trainer, self._saved, self._started = trainer, saved, False
        train_epoch, valid_epoch = trainer._train_epoch, trainer._valid_epoch

        def timed_train_epoch(train_data, epoch_idx, *args, **kwargs):
            self._start()
            started = perf_counter()
            loss = train_epoch(train_data, epoch_idx, *args, **kwargs)
            seconds = perf_counter() - started
            total = sum(map(float, loss)) if isinstance(loss, tuple) else float(loss)
            self._add({"epoch": epoch_idx + 1, "train_loss": total, "train_seconds": seconds})
            return loss

        def timed_valid_epoch(*args, **kwargs):
            self._start()
            started = perf_counter()
            score, result = valid_epoch(*args, **kwargs)
            seconds = perf_counter() - started
            last = self.curve.pop() if self.curve else {"epoch": 0}
            self._add(last | {"valid_seconds": seconds, "valid_result": dict(result)})
            return score, result

        trainer._train_epoch, trainer._valid_epoch = timed_train_epoch, timed_valid_epoch

    def finish(self):
        """Say that ``fit`` is over; a run that resumed after its last epoch has called nothing else."""
        self._start()

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

    def _start(self):
        """Take over the epochs before the one that a run resumes with."""
        if self._started:
            return
        self._started = True
        file = self._file()
        if self._trainer.start_epoch > 0 and file and file.is_file():
            stored = json.loads(file.read_text("utf-8"))
            self.curve = [epoch for epoch in stored if epoch["epoch"] <= self._trainer.start_epoch]

    def _add(self, epoch):
        self.curve.append(epoch)
        if self._file() and current().is_first:
            write_text(self._file(), json.dumps(plain(self.curve)) + "\n")

    def _file(self):
        folder = getattr(self._trainer, "run_folder", None)  # RecBole's own trainers cannot resume
        return Path(folder) / "curve.json" if self._saved and folder else None
