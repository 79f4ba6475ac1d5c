"""Trainers with stages: pretraining and fine-tuning of GenRec and GenRecSeq2Seq."""

from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.config.arguments import PretrainArguments, Seq2SeqArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.training.resuming import START
from recbole_genrec.training.schedule import WeightAverage
from recbole_genrec.training.trainer import GenRecTrainer


class StagedTrainer(GenRecTrainer):
    """Trains a model in the stages ``pretrain`` and ``finetune``, one of them or one after the other.

    Epochs count through: those of pretraining first. Each stage has an optimizer and a schedule of its own. Validation
    selects among the epochs of fine-tuning; a run that only pretrains keeps the last epoch, which it validates. A
    subclass gives ``_read_stages``.
    """

    def __init__(self, config, model):
        super().__init__(config, model)
        self.stages = self._read_stages(config)
        n_pretrain = 0 if self.stages.train_stage == "finetune" else self.stages.pretrain_epochs
        self._ends = {"pretrain": n_pretrain, "finetune": n_pretrain + self.epochs}
        if self.stages.train_stage == "pretrain":
            self._ends["finetune"] = n_pretrain

    def _read_stages(self, config):
        """What has ``train_stage``, ``pretrain_epochs`` and ``pretrained_checkpoint``."""
        raise NotImplementedError

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """RecBole's ``fit``, stage after stage; see :meth:`GenRecTrainer.fit`."""
        self._saves = saved
        self._resume_if_asked()
        if self._begins(0) and self.stages.pretrained_checkpoint:
            load_checkpoint_into(self.model, self.stages.pretrained_checkpoint)
            self.logger.info(f"Pretrained weights of {self.stages.pretrained_checkpoint}")
            self._renew()
        rest = (verbose, saved, show_progress, callback_fn)
        if self.start_epoch < self._ends["pretrain"]:
            self._enter("pretrain", train_data)
            super().fit(train_data, None, *rest)
            self.start_epoch = self._ends["pretrain"]
        if self.stages.train_stage == "pretrain":
            return self._validate_last(valid_data, saved, show_progress)
        if self._begins(self._ends["pretrain"]):
            self.average.swap_in()
            self._renew()
        self._enter("finetune", train_data)
        return super().fit(train_data, valid_data, *rest)

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        if 0 <= epoch < self._ends["pretrain"] - 1:
            return  # without validation RecBole writes ``best`` after every epoch: of pretraining, the last one is it
        super()._save_checkpoint(epoch, verbose, **kwargs)

    def _begins(self, epoch):
        """Whether training goes on at the beginning of ``epoch``, and not within it."""
        return self.start_epoch == epoch and self._done == START

    def _enter(self, stage, train_data):
        self.epochs = self._ends[stage]
        self.model.stage = stage
        self.stage = "pretrain" if stage == "pretrain" else "train"
        if hasattr(train_data, "set_stage"):
            train_data.set_stage(stage, first_epoch=0 if stage == "pretrain" else self._ends["pretrain"])

    def _renew(self):
        """Start a stage with a new optimizer, schedule and average."""
        self.step = 0
        self.optimizer = self._build_optimizer()
        self.average = WeightAverage(self._trainable(), self.schedule.ema_decay)

    def _validate_last(self, valid_data, saved, show_progress):
        self.average.swap_in()
        if valid_data and self.eval_step > 0:
            self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data, show_progress)
            self.wandblogger.log_metrics({**self.best_valid_result, "valid_step": 0}, head="valid")
            if saved:
                self._save_checkpoint(self._ends["pretrain"] - 1, verbose=False)
        return self.best_valid_score, self.best_valid_result


class GenRecSeq2SeqTrainer(StagedTrainer):
    """Trains GenRecSeq2Seq on masked items, on next items, or on one after the other."""

    def _read_stages(self, config):
        return Seq2SeqArguments.from_config(config)


class PretrainingTrainer(StagedTrainer):
    """Trains GenRec, after pretraining where ``pretrain`` asks for it."""

    def _read_stages(self, config):
        return PretrainArguments.from_config(config)

    def fit(self, train_data, *args, **kwargs):
        """RecBole's ``fit``, stage after stage; see :meth:`GenRecTrainer.fit`.

        Raises:
            GenRecError: the loader has no batches for pretraining.
        """
        if not self._ends["pretrain"]:
            return super(StagedTrainer, self).fit(train_data, *args, **kwargs)
        if not hasattr(train_data, "set_stage"):
            raise GenRecError("'pretrain' needs the model's own loader of windows, not RecBole's.")
        return super().fit(train_data, *args, **kwargs)
