"""The curves of a training in TensorBoard, under the same names for every model.

================================ ==================== ==========================================================
tag                              axis                 value
================================ ==================== ==========================================================
``train/loss``                   optimizer step       loss of the step; of RecBole's own trainers, which do not
                                                      tell it, the epoch's mean over its batches
``train/learning_rate``          optimizer step       of the first group of parameters
``pretrain/...``                 optimizer step       the same in the first stage of GenRecSeq2Seq
``valid/<metric>``               epoch, from 1        each metric of a validation
================================ ==================== ==========================================================

RecBole's ``Loss/Train`` and ``Vaild_score``, by epoch from 0, stay: a sum over batches with its own models.
"""

from torch.optim.optimizer import register_optimizer_step_post_hook

from recbole_genrec.training.listeners import Listener


class Curves(Listener):
    """Write curves to the TensorBoard of a trainer, and close it after training.

    A trainer of the plugin says by its ``writes_steps`` that it writes losses itself.
    """

    def __init__(self):
        self._board = self._hook = None
        self._own_steps = False
        self._step = self._written = self._epoch = 0

    def training_started(self, trainer):
        """Count the steps of optimizers from now on: RecBole's epoch has no event for a step."""
        self._board, self._own_steps = trainer.tensorboard, getattr(trainer, "writes_steps", False)
        self._hook = register_optimizer_step_post_hook(self._count)

    def training_ended(self, trainer):
        """Stop counting, and close the board.

        RecBole leaves its thread writing, below whichever folder is the working one.
        """
        self._hook.remove()
        self._board.close()

    def epoch_trained(self, trainer, epoch, loss, seconds):
        """Write the mean loss over the epoch's steps, where the trainer does not write those of its steps."""
        self._epoch, steps = epoch, self._step - self._written
        if steps:
            self._board.add_scalar("train/loss", loss / steps, self._step)
            self._written = self._step

    def epoch_validated(self, trainer, result, seconds):
        """Write the metrics; in epoch 0 those of a model that is not trained."""
        epoch = self._epoch or trainer.start_epoch
        for metric, value in result.items():
            self._board.add_scalar(f"valid/{metric}", float(value), epoch)

    def _count(self, optimizer, *_):
        if not self._own_steps:
            self._step += 1
            self._board.add_scalar("train/learning_rate", optimizer.param_groups[0]["lr"], self._step)
