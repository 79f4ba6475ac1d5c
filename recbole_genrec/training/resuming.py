"""The checkpoints ``best`` and ``last`` of a training: when they are written, what they hold, how a run resumes.

RecBole's ``fit`` chooses the best epoch, by validation, and has it written.
"""

import hashlib
import json
import math
from functools import cached_property
from pathlib import Path

from recbole.utils import set_color

from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into, plain_settings, save_checkpoint
from recbole_genrec.checkpoint.folder import is_checkpoint, verify
from recbole_genrec.checkpoint.shared_files import SharedFiles
from recbole_genrec.checkpoint.training_state import TrainingState, optimizer_state, random_states, read_average
from recbole_genrec.config.keys import PLACE_KEYS
from recbole_genrec.distributed.sharding import gathered, whole_state
from recbole_genrec.errors import GenRecError, listed, shown
from recbole_genrec.files.write import settle

#: what is done of an epoch at its start: optimizer steps, the sum of their weighted losses, the sum of the weights.
START = (0, 0.0, 0)


class Resuming:
    """Mixin for RecBole's trainer: checkpoints in a folder of the run.

    The trainer that it is mixed into has ``world``, ``run_folder``, ``average``, ``scaler``, ``step``,
    ``valid_result``, ``_resume_from``, ``_saves``, ``_done`` and ``_random_states``. Of several processes the first one
    writes and all of them read.
    """

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        """Write ``best``. RecBole calls this when validation improves, and with epoch -1 where no epoch is left."""
        if epoch < 0 and self.best_valid_result is not None:
            return  # resumed after the last epoch: the best checkpoint stands
        self.average.swap_in()
        folder = kwargs.pop("saved_model_file", self.saved_model_file)
        self._write(folder, max(epoch, self.start_epoch - 1), self.valid_result)
        if verbose:
            self.logger.info(set_color("Saving current", "blue") + f": {folder}")

    def _end_epoch(self, epoch):
        self._done = START
        self._save_last(epoch)

    def _save_last(self, epoch):
        """Write ``last``: after ``epoch``, -1 where none is finished, and what is done of the next one."""
        if self._saves:
            previous = self.run_folder / "previous"
            self._write(
                self.run_folder / "last", epoch, self.best_valid_result, self._done, self.average.tensors, previous
            )

    def _write(self, folder, epoch, best_valid_result, done=START, average=(), previous=None):
        trainer = {
            "epoch": epoch,
            "done": list(done),
            "step": self.step,
            "cur_step": self.cur_step,
            # some of RecBole's metrics are NumPy's numbers, which JSON cannot hold
            "best_valid_score": float(self.best_valid_score) if math.isfinite(self.best_valid_score) else None,
            "best_valid_result": best_valid_result and {name: float(v) for name, v in best_valid_result.items()},
            "scaler": self.scaler.state_dict(),
        }
        optimizer, average = optimizer_state(self.optimizer), [gathered(tensor) for tensor in average]
        randoms = self.world.gather(random_states())
        weights = whole_state(self.model, kept=self.world.is_first)
        if self.world.is_first:
            state = TrainingState(trainer, optimizer, average, randoms, weights)
            save_checkpoint(folder, self.model, self.config, state, previous, self._shared_files)
        self.world.wait()

    @cached_property
    def _shared_files(self):
        """Files that ``best``, ``last`` and ``previous`` have in common."""
        return SharedFiles()

    def _resume_if_asked(self):
        """Resume where the setting asks for it, once."""
        resume, self._resume_from = self._resume_from, ""
        if resume:
            folder = self.world.from_first(lambda: self._folder_to_resume(resume))
            if folder is not None:
                self.resume_checkpoint(folder)
            else:
                self.logger.warning(nothing_to_resume(self.config, Path(self.checkpoint_dir)))

    def _folder_to_resume(self, resume):
        """The folder to resume from, or ``None`` to start anew."""
        if resume == "previous":
            return self.run_folder / "previous"
        if resume == "auto":
            return self._find_newest()
        folder = Path(resume)
        settle(folder / "last")
        return folder / "last" if is_checkpoint(folder / "last") else folder

    def _find_newest(self):
        """``last``, or ``previous`` where a crash has left no other; ``None`` without either."""
        last, previous = self.run_folder / "last", self.run_folder / "previous"
        for folder in (last, previous):
            settle(folder)
        if is_checkpoint(last) and is_checkpoint(previous):
            try:
                verify(last)
            except GenRecError as error:
                raise GenRecError(f"{error} The one before it is there: --resume=previous goes on from that.") from None
        return next((folder for folder in (last, previous) if is_checkpoint(folder)), None)

    def resume_checkpoint(self, resume_file):
        """Resume after the epoch of a checkpoint folder; new checkpoints are written beside it.

        Raises:
            GenRecError: the checkpoint is damaged or does not fit, or the run's ``best`` is missing.
        """
        folder = Path(resume_file)
        best = folder.parent / "best"
        with self.world.in_turn():  # what a crash has left there, the first process mends
            settle(folder)
            settle(best)
        state = load_checkpoint_into(self.model, folder, self.optimizer)
        if state["best_valid_score"] is not None and not is_checkpoint(best):
            raise GenRecError(
                f"Cannot resume from {str(folder)!r}: the best checkpoint of its run, {best}, is missing."
            )
        self.run_folder, self.saved_model_file = folder.parent, str(best)
        self.start_epoch, self.step, self.cur_step = state["epoch"] + 1, state["step"], state["cur_step"]
        if state["best_valid_score"] is not None:
            self.best_valid_score, self.best_valid_result = state["best_valid_score"], state["best_valid_result"]
        self.average.load(read_average(folder))
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self._done = tuple(state.get("done", START))
        self._random_states = folder
        if self.cur_step > self.stopping_step:  # it had stopped early
            self.start_epoch = max(self.start_epoch, self.epochs)
        within = f", step {self._done[0]}" if self._done[0] else ""
        self.logger.info(f"Checkpoint {folder} loaded. Resume training from epoch {self.start_epoch}{within}")


def nothing_to_resume(config, folder):
    """The message of a run that finds no checkpoint to resume: it names the nearest stored run and the difference.

    Args:
        config: of the run. folder: of the runs' folders.
    """
    own, nearest = _run_settings(plain_settings(config)), None
    for path in sorted(folder.glob(f"{config['model']}-{config['dataset']}-*/*/config.json")):
        try:
            stored = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):  # a damaged run is no candidate
            continue
        if isinstance(stored, dict):
            stored = _run_settings(stored)
            different = sorted(key for key in own.keys() | stored.keys() if own.get(key) != stored.get(key))
            if nearest is None or len(different) < len(nearest[1]):
                nearest = path.parent.parent, different, stored
    text = f"'resume: auto' finds no run of these settings in {str(folder)!r}: training starts anew."
    if nearest is None:
        return text
    run, different, stored = nearest
    there = listed(f"{key}: {shown(stored.get(key))} there, {shown(own.get(key))} here" for key in different)
    return f"{text} The nearest, {str(run)!r}, differs in {there}."


def _run_settings(settings):
    return {key: value for key, value in settings.items() if key not in PLACE_KEYS}


def run_name(config):
    """Name of a run's folder: two runs share it only if all settings that matter are the same."""
    settings = _run_settings(plain_settings(config))
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return f"{config['model']}-{config['dataset']}-{config['seed']}-{digest[:8]}"
