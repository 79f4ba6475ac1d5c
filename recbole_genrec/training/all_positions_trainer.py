"""The trainer of SASRecAll and the other models that train at all positions of a history at once."""

from recbole.trainer import Trainer

from recbole_genrec.config.arguments import ScheduleArguments
from recbole_genrec.training.schedule import WeightAverage, learning_rate_factor


class AllPositionsTrainer(Trainer):
    """RecBole's trainer with the schedule of the generative models: learning rate, and the average of the weights.

    The windows of an epoch follow from its number.
    """

    def __init__(self, config, model):
        super().__init__(config, model)
        self.schedule = ScheduleArguments.from_config(config)
        self.average = WeightAverage(list(model.parameters()), self.schedule.ema_decay)
        self.step = self._total_steps = 0
        # RecBole's epoch has no place between two steps
        self.optimizer.register_step_pre_hook(self._before_step)
        self.optimizer.register_step_post_hook(self._after_step)

    def _before_step(self, optimizer, *_):
        factor = learning_rate_factor(self.step, self._total_steps, self.schedule)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * factor

    def _after_step(self, *_):
        self.step += 1
        self.average.update(self.step)

    def _train_epoch(self, train_data, epoch_idx, *args, **kwargs):
        if hasattr(train_data, "set_epoch"):  # RecBole's own loader has none
            train_data.set_epoch(epoch_idx)
        # the number of batches may differ a little between epochs: the rest of the run is taken to be like this one
        self._total_steps = self.step + (self.epochs - epoch_idx) * len(train_data)
        self.average.swap_out()
        loss = super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
        self.average.swap_in()  # what is validated, kept and tested
        return loss
