"""RecBole's trainer for language models: gradient accumulation, schedule, mixed precision, several processes."""

import math
import signal
from itertools import islice
from pathlib import Path
from time import perf_counter

import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import set_color
from tqdm import tqdm

from recbole_genrec.checkpoint.checkpoint import load_checkpoint_into
from recbole_genrec.checkpoint.training_state import restore_random_states
from recbole_genrec.config.arguments import ScheduleArguments, TrainerArguments
from recbole_genrec.distributed.sharding import clip_gradients, is_spread, spread_modules
from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError, Interrupted
from recbole_genrec.training.resuming import START, Resuming, run_name
from recbole_genrec.training.schedule import WeightAverage, learning_rate_factor
from recbole_genrec.training.sharing import SharedEvaluation, rows
from recbole_genrec.training.stopping import StopRequest

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class GenRecTrainer(Resuming, SharedEvaluation, Trainer):
    """Trains a generative recommender.

    Several processes share every batch and add their gradients up, so that each step is that of a single process.

    Three checkpoints stand in ``<checkpoint_dir>/<model>-<dataset>-<seed>-<hash of the settings>``: ``best`` on
    validation; ``last``, the end of the last epoch or a step within one, from which ``resume: auto`` goes on with the
    same batches and random numbers as if it had never stopped; and ``previous``, the ``last`` before it. SIGTERM and
    Ctrl-C write ``last`` and end the training with :class:`~recbole_genrec.errors.Interrupted`.

    Args:
        config: RecBole's ``Config``.
        model: a generative recommender.
    """

    #: it writes loss and learning rate of every step to TensorBoard, under this name; see :mod:`.curves`.
    writes_steps, stage = True, "train"

    def __init__(self, config, model):
        self.world = current()
        self.arguments, self.schedule = TrainerArguments.from_config(config), ScheduleArguments.from_config(config)
        super().__init__(config, model)
        self.run_folder = Path(self.checkpoint_dir) / run_name(config)
        self.saved_model_file = str(self.run_folder / "best")
        precision = self.arguments.precision
        if self.enable_amp and precision == "fp32":  # RecBole's own key
            precision = "fp16" if self.device.type == "cuda" else "bf16"
        self.autocast_dtype = AUTOCAST.get(precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self._is_spread = bool(spread_modules(model))
        if self.scaler.is_enabled() and self._is_spread:
            raise GenRecError("'distributed: fsdp' takes 'precision: bf16' or 'fp32', not 'fp16'.")
        self.world.spread(parameter.data for parameter in self._trainable() if not is_spread(parameter))
        self.average = WeightAverage(self._trainable(), self.schedule.ema_decay)
        self.step = 0
        self.valid_result = None
        self._resume_from = self.arguments.resume
        self._saves = self._validates = False
        self._stop = StopRequest()
        self._epoch, self._done = 0, START
        self._random_states = None
        self._last_batch, self._common_signal = None, 0

    def _build_optimizer(self, **kwargs):
        """The optimizer that ``learner`` names, over the trainable parameters.

        Adam and AdamW spare norms and biases the weight decay.

        Raises:
            GenRecError: nothing is trainable.
        """
        trainable = self._trainable()
        if not trainable:
            raise GenRecError("The model has no trainable parameters.")
        if self.learner.lower() not in ("adam", "adamw"):
            if any(map(is_spread, trainable)):
                raise GenRecError(f"'distributed: fsdp' takes 'learner: adam' or 'adamw', not {self.learner!r}.")
            return super()._build_optimizer(params=trainable, **kwargs)
        groups = [
            {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": self.arguments.weight_decay},
            {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        ]
        # one kernel for all tensors takes no mixture of spread and whole ones
        kernels = {"fused": all(p.device.type in ("cpu", "cuda") for p in trainable)}
        if any(map(is_spread, trainable)):
            kernels = {"fused": False, "foreach": False}
        optimizer = torch.optim.Adam if self.learner.lower() == "adam" else torch.optim.AdamW
        return optimizer(
            [group for group in groups if group["params"]],
            lr=self.learning_rate,
            betas=self.arguments.adam_betas,
            **kernels,
        )

    def _trainable(self):
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """RecBole's ``fit``, resumed where ``resume`` asks for it, with ``last`` written after every epoch."""
        self._saves, self._validates = saved, bool(valid_data) and self.eval_step > 0
        if self.world.rank:  # the same batches, but dropout of its own
            torch.manual_seed(self.config["seed"] + self.world.rank)
        self._resume_if_asked()

        def end_of_epoch(epoch, valid_score):  # early stopping has counted the epoch, ``best`` is written by now
            self.average.swap_out()
            self._end_epoch(epoch)
            if callback_fn:
                callback_fn(epoch, valid_score)

        with self._stop.listening():
            result = super().fit(train_data, valid_data, verbose, saved, show_progress, end_of_epoch)
        if number := max(self.world.gather(self._stop.signal)):  # it came when nothing was left to do
            self._interrupt(number)
        self.average.swap_in()
        return result

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        """Train one epoch.

        Returns:
            The loss, averaged over what the model averages over.
        """
        self.average.swap_out()
        self.model.train()
        if hasattr(train_data, "own_rows"):
            train_data.own_rows = self.world.share
        loss_func = loss_func or self.model.calculate_loss
        if hasattr(train_data, "set_epoch"):
            train_data.set_epoch(epoch_idx)
        else:  # RecBole's loader: its order would else depend on how many epochs this process has seen
            train_data.generator.manual_seed(self.config["seed"] + epoch_idx)
        accumulated = self.arguments.gradient_accumulation_steps
        self._epoch = epoch_idx
        steps, loss_sum, weight_sum = self._done  # not 0 where the epoch goes on from a checkpoint
        # The number of batches may differ a little between epochs: the rest of the run is taken to be like this one.
        total_steps = self.step - steps + (self.epochs - epoch_idx) * math.ceil(len(train_data) / accumulated)
        description = set_color(f"Train {epoch_idx:>5}", "pink")
        bar = tqdm(total=len(train_data), ncols=100, desc=description, disable=not show_progress)
        n_tokens, start = 0, perf_counter()
        with bar:
            for batches in self._remaining(_in_groups(train_data, accumulated), steps):
                loss, weight, tokens = self._optimizer_step(list(map(self._packed, batches)), loss_func, total_steps)
                loss_sum, weight_sum = loss_sum + loss * weight, weight_sum + weight
                self._write_step(loss)
                n_tokens += tokens
                speed = n_tokens / (perf_counter() - start)
                bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)
                bar.update(len(batches))
                steps += 1
                self._done = steps, loss_sum, weight_sum
                if self.arguments.save_steps and self.step % self.arguments.save_steps == 0:
                    self._save_last(epoch_idx - 1)
                self._stop_if_asked()
        if not self._validates or (epoch_idx + 1) % self.eval_step:
            self._end_epoch(epoch_idx)
            if not self._validates:  # RecBole writes ``best`` next
                self.average.swap_in()
        return loss_sum / max(weight_sum, 1)

    def steps_of_epoch(self, train_data):
        """Optimizer steps of an epoch, and how many of the next one a resumed run has done."""
        return math.ceil(len(train_data) / self.arguments.gradient_accumulation_steps), self._done[0]

    def _remaining(self, groups, steps):
        """Yield the batch groups that remain after ``steps``; random numbers continue from the checkpoint."""
        for _ in islice(groups, steps):
            pass
        if self._random_states:
            restore_random_states(self._random_states, self.world.rank, self.step)
            self._random_states = None
        yield from groups

    def _packed(self, batch):
        """This process's rows of a batch, ready for the loss; ``None`` where there are fewer rows than processes."""
        if not isinstance(batch, Interaction):
            return batch
        own = rows(batch, self.world.share(len(batch)))
        return self.model.pack_interaction(own) if len(own) else None

    def _stop_if_asked(self):
        """Write ``last`` in the middle of the epoch and stop, if a signal asked for it.

        Raises:
            Interrupted: one has.
        """
        number = self._stop.signal if self.world.size == 1 else self._common_signal
        if number:
            self.average.swap_out()
            self._save_last(self._epoch - 1)
            self._interrupt(number)

    def _stop_between_batches(self):
        """As :meth:`_stop_if_asked`, between the batches of an evaluation, where several processes do not meet."""
        if self.world.size == 1:
            self._stop_if_asked()

    def _interrupt(self, number):
        self._stop.signal = 0
        kept = "nothing is saved, as 'saved' is false"
        if self._saves:
            kept = f"{str(self.run_folder / 'last')!r} is saved, and --resume=auto goes on from it"
        moment = f"epoch {self._epoch}, step {self._done[0]}" if self._done[0] else f"the end of epoch {self._epoch}"
        raise Interrupted(number, f"by {signal.Signals(number).name} at {moment}; {kept}.")

    def _optimizer_step(self, batches, loss_func, total_steps):
        """One step on the mean loss over all of ``batches``, as if they were one batch.

        Args:
            batches: this process's rows of each, or ``None``.

        Returns:
            The loss over all processes, the number of terms it is the mean of, and the number of tokens.
        """
        self.optimizer.zero_grad()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * learning_rate_factor(self.step, total_steps, self.schedule)
        weight, n_tokens = self._sum_over_processes(batches)
        total_loss = 0.0
        for batch in batches:
            if batch is None:
                self._compute_along()
                continue
            with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
                loss = loss_func(batch.to(self.device)) * (batch.n_decisions / weight)
            self.scaler.scale(loss).backward()
            total_loss = total_loss + loss.detach()
        total_loss = self.world.total([float(total_loss)])[0]
        if not math.isfinite(total_loss):
            raise GenRecError(
                f"The training loss is {total_loss} at step {self.step}. Lower 'learning_rate', set 'clip_grad_norm', "
                "or use 'precision: bf16' or 'fp32'."
            )
        trainable = self._trainable()
        self.world.sum_gradients([parameter for parameter in trainable if not is_spread(parameter)])
        if self.clip_grad_norm:
            self.scaler.unscale_(self.optimizer)
            clip_gradients(trainable, **self.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.average.update(self.step)
        return total_loss, weight, n_tokens

    def _write_step(self, loss):
        self.tensorboard.add_scalar(f"{self.stage}/loss", loss, self.step)
        self.tensorboard.add_scalar(f"{self.stage}/learning_rate", self.optimizer.param_groups[0]["lr"], self.step)

    def _sum_over_processes(self, batches):
        """Terms of the loss, at least one, and tokens of a step, over all processes.

        A signal that any process received goes along, so that all of them stop after the same step.
        """
        own = [batch for batch in batches if batch is not None]
        mine = [sum(batch.n_decisions for batch in own), sum(batch.n_tokens for batch in own)]
        signals = [self._stop.signal * (rank == self.world.rank) for rank in range(self.world.size)]
        weight, n_tokens, *signals = map(int, self.world.total([*mine, *signals]))
        self._common_signal = max(signals)
        if own and self._is_spread:
            self._last_batch = own[-1]
        return max(weight, 1), n_tokens

    def _compute_along(self):
        """Run a forward and backward pass with a zero loss, so that processes with rows can gather sharded layers."""
        if not self._is_spread:
            return
        if self._last_batch is None:
            raise GenRecError("'distributed: fsdp': the first batch has fewer rows than processes; make it larger.")
        (self.model.calculate_loss(self._last_batch.to(self.device)) * 0.0).backward()

    def _full_sort_batch_eval(self, *args):
        self._stop_between_batches()
        return super()._full_sort_batch_eval(*args)

    def _neg_sample_batch_eval(self, *args):
        self._stop_between_batches()
        return super()._neg_sample_batch_eval(*args)

    def _spilt_predict(self, interaction, batch_size):
        """RecBole's, for more candidates than ``eval_batch_size``; a model that ranks lists gets a user's together."""
        if getattr(self.model, "ranks_lists", False):
            return self.model.predict(interaction.to(self.device))
        return super()._spilt_predict(interaction, batch_size)

    def _valid_epoch(self, valid_data, show_progress=False):
        self.average.swap_in()
        valid_score, self.valid_result = super()._valid_epoch(valid_data, show_progress)
        return valid_score, self.valid_result

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """RecBole's ``evaluate``; the best weights come from a checkpoint folder."""
        if load_best_model and eval_data:
            folder = model_file or self.saved_model_file
            load_checkpoint_into(self.model, folder)
            self.logger.debug(f"Weights of {folder}")
        self.model.reset_statistics()
        return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)


def _in_groups(batches, size):
    """Lists of up to ``size`` consecutive batches."""
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group
