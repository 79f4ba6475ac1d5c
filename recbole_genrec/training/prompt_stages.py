"""The trainer of PEPLER: first the vectors in the prompt, then everything ("sequential tuning").

Reference: Lei Li, Yongfeng Zhang, Li Chen. "Personalized Prompt Learning for Explainable Recommendation", ACM TOIS
2023, arXiv 2202.07371, section 3.4.
"""

from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.checkpoint.folder import read_json, verify
from recbole_genrec.config.arguments import PEPLERArguments
from recbole_genrec.distributed.sharding import whole
from recbole_genrec.training.resuming import START
from recbole_genrec.training.schedule import WeightAverage
from recbole_genrec.training.trainer import GenRecTrainer


class PromptStagesTrainer(GenRecTrainer):
    """Trains ``prompt_epochs`` with the language model frozen, then ``epochs`` with all that is trainable.

    Each stage has an optimizer and a schedule of its own, and stops early, after ``stopping_step`` validations without
    a lower loss; the second starts from the best epoch of the first. Epochs count through: the second stage begins
    with number ``prompt_epochs``, also where the first stopped early. The model's ``validation_loss`` selects the best
    epoch of both stages, whatever ``valid_metric`` says.
    """

    #: what selects an epoch, for results.
    selects_by = "loss"

    def __init__(self, config, model):
        super().__init__(config, model)
        self.valid_metric_bigger, self.best_valid_score = False, float("inf")
        n_first = PEPLERArguments.from_config(config).prompt_epochs
        self._ends = {"prompt": n_first, "all": n_first + self.epochs}
        self.epochs = self._ends["all"]

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """RecBole's ``fit``, stage after stage; see :meth:`GenRecTrainer.fit`."""
        self._saves = saved
        self._resume_if_asked()
        first, rest = self._ends["prompt"], (valid_data, verbose, saved, show_progress, callback_fn)
        if self.start_epoch < first:
            self._enter("prompt")
            super().fit(train_data, *rest)
            self.start_epoch = first
        if first and self.start_epoch == first and self._done == START:
            self._begin_second(selected=saved and self._validates)
        self._enter("all")
        return super().fit(train_data, *rest)

    def _enter(self, stage):
        self.epochs = self._ends[stage]
        self.stage = "prompt" if stage == "prompt" else "train"
        self.model.freeze_language_model(stage == "prompt")

    def _begin_second(self, selected):
        """Go on from the best epoch of the first stage, with nothing of its optimizer, schedule and patience left."""
        self.average.swap_in()
        self.model.freeze_language_model(False)
        if selected:
            load_checkpoint_into(self.model, self.saved_model_file)
        self.step = self.cur_step = 0
        self.optimizer = self._build_optimizer()
        self.average = WeightAverage(self._trainable(), self.schedule.ema_decay)

    def resume_checkpoint(self, resume_file):
        """See the base class; a first stage that had stopped early is over, the second is not."""
        with self.world.in_turn():
            epoch = read_json(verify(resume_file) / "trainer.json")["epoch"]
        in_first = epoch < self._ends["prompt"]
        self.epochs = self._ends["prompt" if in_first else "all"]
        super().resume_checkpoint(resume_file)

    def _valid_epoch(self, valid_data, show_progress=False):
        self.average.swap_in()
        ranked = self.evaluate(valid_data, load_best_model=False, show_progress=show_progress)
        self.valid_result = {**ranked, **self.measure_beside(valid_data)}
        return self.valid_result[self.selects_by], self.valid_result

    def measure_beside(self, valid_data):
        """The loss of a validation, by its name in results, rounded as RecBole rounds the metrics beside it."""
        places = valid_data._dataset.inter_feat.place
        with whole(self.model):  # the processes may have different numbers of batches
            loss = self.model.validation_loss(places, self.config["eval_batch_size"])
        return {self.selects_by: round(loss, self.config["metric_decimal_place"])}

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """RecBole's ``evaluate``; a model that predicts no ratings ranks nothing and has no metrics of lists."""
        if self.model.ranks:
            return super().evaluate(eval_data, load_best_model, model_file, show_progress)
        if load_best_model and eval_data:
            load_checkpoint_into(self.model, model_file or self.saved_model_file)
        return {}
