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


class Curves:
    """Listens to a trainer and writes to its TensorBoard. Use it as a context around ``fit``.

    Args:
        trainer: RecBole's or the plugin's; the latter's own ``writes_steps`` says that it writes losses itself.
    """

    def __init__(self, trainer):
        self._trainer, self._board = trainer, trainer.tensorboard
        self._step = self._epoch = 0
        self._own_steps = getattr(trainer, "writes_steps", False)
        train_epoch, valid_epoch = trainer._train_epoch, trainer._valid_epoch

        def written_train_epoch(train_data, epoch_idx, *args, **kwargs):
            before = self._step
            loss = train_epoch(train_data, epoch_idx, *args, **kwargs)
            self._epoch = epoch_idx + 1
            if self._step > before:
                total = sum(map(float, loss)) if isinstance(loss, tuple) else float(loss)
                self._board.add_scalar("train/loss", total / (self._step - before), self._step)
            return loss

        def written_valid_epoch(*args, **kwargs):
            score, result = valid_epoch(*args, **kwargs)
            epoch = self._epoch or trainer.start_epoch  # 0: a model that is not trained
            for metric, value in result.items():
                self._board.add_scalar(f"valid/{metric}", float(value), epoch)
            return score, result

        trainer._train_epoch, trainer._valid_epoch = written_train_epoch, written_valid_epoch

    def __enter__(self):
        self._hook = register_optimizer_step_post_hook(self._count)
        return self

    def __exit__(self, *error):
        self._hook.remove()
        self._board.close()  # RecBole leaves its thread writing, below whichever folder is the working one

    def _count(self, optimizer, *_):
        if not self._own_steps:
            self._step += 1
            self._board.add_scalar("train/learning_rate", optimizer.param_groups[0]["lr"], self._step)
