"""The trainer of SASRecAll and the other models that train at all positions of a history at once."""

import torch
from recbole.trainer import Trainer

from recbole_genrec.config.arguments import PretrainArguments, ScheduleArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.training.schedule import WeightAverage, learning_rate_factor


class AllPositionsTrainer(Trainer):
    """RecBole's trainer with the learning-rate schedule and weight average of the generative models.

    The windows of an epoch follow from its number.

    With ``pretrain`` there are two stages, each with an optimizer and a schedule of its own. Epochs count through:
    those of pretraining first, which nothing validates. Its checkpoint is that of the last epoch, until fine-tuning
    writes the best one in its place. :meth:`resume_checkpoint` goes on within either stage.
    """

    def __init__(self, config, model):
        super().__init__(config, model)
        self.schedule = ScheduleArguments.from_config(config)
        self.average = WeightAverage(list(model.parameters()), self.schedule.ema_decay)
        self.step = self._total_steps = 0
        pretraining = PretrainArguments.from_config(config)
        self.n_pretrain = 0 if pretraining.pretrain == "none" else pretraining.pretrain_epochs
        self._n_finetune = self.epochs
        if self.n_pretrain:
            model.training_state, model.other_parameter_name = {}, ["training_state"]  # RecBole's checkpoints keep it

    def _build_optimizer(self, **kwargs):
        """RecBole's optimizer with hooks before and after each step, as RecBole's epoch loop has none."""
        optimizer = super()._build_optimizer(**kwargs)
        optimizer.register_step_pre_hook(self._before_step)
        optimizer.register_step_post_hook(self._after_step)
        return optimizer

    def _before_step(self, optimizer, *_):
        factor = learning_rate_factor(self.step, self._total_steps, self.schedule)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * factor

    def _after_step(self, *_):
        self.step += 1
        self.average.update(self.step)

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """RecBole's ``fit``, after pretraining where the settings ask for it.

        Raises:
            GenRecError: the loader has no batches for pretraining.
        """
        rest = (verbose, saved, show_progress, callback_fn)
        if not self.n_pretrain:
            return super().fit(train_data, valid_data, *rest)
        if not hasattr(train_data, "set_stage"):
            raise GenRecError("'pretrain' needs the model's own loader of windows, not RecBole's.")
        if self.start_epoch < self.n_pretrain:
            self._enter("pretrain", train_data)
            super().fit(train_data, None, *rest)
            self.start_epoch = self.n_pretrain
        if self.start_epoch == self.n_pretrain:
            self._renew()
        self._enter("finetune", train_data)
        return super().fit(train_data, valid_data, *rest)

    def _enter(self, stage, train_data):
        pretrains = stage == "pretrain"
        self.model.stage = stage
        self.epochs = self.n_pretrain + (0 if pretrains else self._n_finetune)
        train_data.set_stage(stage, first_epoch=0 if pretrains else self.n_pretrain)

    def _renew(self):
        """Start fine-tuning with a new optimizer, schedule and average."""
        self.step = 0
        self.optimizer = self._build_optimizer()
        self.average = WeightAverage(list(self.model.parameters()), self.schedule.ema_decay)

    def _train_epoch(self, train_data, epoch_idx, *args, **kwargs):
        if hasattr(train_data, "set_epoch"):  # RecBole's own loader has none
            train_data.set_epoch(epoch_idx)
        # the number of batches may differ a little between epochs: the rest of the run is taken to be like this one
        self._total_steps = self.step + (self.epochs - epoch_idx) * len(train_data)
        self.average.swap_out()
        loss = super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
        self.average.swap_in()  # what is validated, kept and tested
        return loss

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        if self.n_pretrain:
            self.model.training_state = {
                "stage": self.model.stage,
                "step": self.step,
                "weights": [tensor.clone() for tensor in self.average.tensors],  # the average has their place
                "random": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            }
        super()._save_checkpoint(epoch, verbose, **kwargs)

    def resume_checkpoint(self, resume_file):
        """RecBole's; with ``pretrain`` also the stage, its steps, the average and the random numbers.

        Raises:
            GenRecError: the checkpoint is of another stage than its epoch has with these settings.
        """
        super().resume_checkpoint(resume_file)
        if not self.n_pretrain:
            return
        stored, stage = self.model.training_state, "pretrain" if self.start_epoch <= self.n_pretrain else "finetune"
        there = stored.get("stage", "finetune")
        if there != stage:
            raise GenRecError(
                f"Cannot resume from {str(resume_file)!r}: epoch {self.start_epoch} is of the stage {there!r} there, "
                f"and of {stage!r} with 'pretrain_epochs: {self.n_pretrain}'."
            )
        self.step = stored["step"]
        self.average.resume(stored["weights"])
        torch.set_rng_state(stored["random"].cpu())
        if stored["cuda"] and len(stored["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in stored["cuda"]])
