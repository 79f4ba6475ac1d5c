"""The trainer of PromptLLM, which only validates and tests."""

from recbole_genrec.errors import GenRecError
from recbole_genrec.training.trainer import GenRecTrainer


class PromptLLMTrainer(GenRecTrainer):
    """Validate an untrained model once, whatever ``epochs`` says; it writes no checkpoints."""

    def __init__(self, config, model):
        super().__init__(config, model)
        if self.world.size > 1 and model.chat is not None:
            raise GenRecError("PromptLLM's chat asks many questions at once in one process: leave '--nproc' at 1.")
        self.saved_model_file = None

    def _build_optimizer(self, **kwargs):
        return None

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """Validate, unless ``eval_step`` is 0: there is nothing to select, and a server may want money.

        Returns:
            The validation score and result, both ``None`` where there is no validation.
        """
        if not valid_data or self.config["eval_step"] <= 0:
            return None, None
        score, result = self._valid_epoch(valid_data, show_progress)
        self.wandblogger.log_metrics({**result, "valid_step": 0}, head="valid")
        return score, result

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """RecBole's ``evaluate`` of the model as it is."""
        result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
        if self.model.chat is not None:
            grounding, usage = self.model.generation_statistics()["grounding"], self.model.usage()
            self.logger.info(f"Grounding: {_listed(grounding)}. Usage: {_listed(usage)}.")
        return result

    def _spilt_predict(self, interaction, batch_size):
        if self.model.chat is None:
            return super()._spilt_predict(interaction, batch_size)
        return self.model.predict(interaction.to(self.device))  # a user's candidates stay together


def _listed(counts):
    return ", ".join(f"{name} {count}" for name, count in counts.items())
