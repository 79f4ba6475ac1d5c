"""RecBole's trainer with what language models need: accumulation, schedule, mixed precision, resumable checkpoints."""

import hashlib
import json
import math
import signal
from itertools import islice
from pathlib import Path
from time import perf_counter

import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import set_color
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from recbole_genrec.arguments import Seq2SeqArguments, TrainerArguments
from recbole_genrec.checkpoint import (
    is_checkpoint,
    load_checkpoint_into,
    plain_settings,
    read_average,
    restore_random_states,
    save_checkpoint,
    settle,
    verify,
)
from recbole_genrec.errors import GenRecError, Interrupted
from recbole_genrec.schedule import WeightAverage, learning_rate_factor
from recbole_genrec.stopping import StopRequest

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
#: settings that say where and how a run is carried out, not which run it is.
PLACE_KEYS = frozenset(
    ("resume", "checkpoint_dir", "results_dir", "show_progress", "state", "log_wandb", "wandb_project", "gpu_id")
    + ("use_gpu", "worker", "tune_malloc", "lazy_windows", "config_files", "save_steps")
)
#: what is done of an epoch at its start: optimizer steps, the sum of their weighted losses, the sum of the weights.
_START = (0, 0.0, 0)


class GenRecTrainer(Trainer):
    """Trains a generative recommender in one process.

    Three checkpoints stand in ``<checkpoint_dir>/<model>-<dataset>-<seed>-<hash of the settings>``: ``best`` on
    validation; ``last``, the end of the last epoch or a place within one, from which ``resume: auto`` goes on with the
    same batches and random numbers as if it had never stopped; and ``previous``, the ``last`` before it. SIGTERM and
    Ctrl-C write ``last`` and end the training with :class:`~recbole_genrec.errors.Interrupted`.

    Args:
        config: RecBole's ``Config``.
        model: a generative recommender.
    """

    def __init__(self, config, model):
        if not config["single_spec"]:
            raise GenRecError(f"{config['model']} trains in one process: leave 'nproc' and 'world_size' at 1.")
        self.arguments = TrainerArguments.from_config(config)
        super().__init__(config, model)
        self.run_folder = Path(self.checkpoint_dir) / run_name(config)
        self.saved_model_file = str(self.run_folder / "best")
        precision = self.arguments.precision
        if self.enable_amp and precision == "fp32":  # RecBole's own key
            precision = "fp16" if self.device.type == "cuda" else "bf16"
        self.autocast_dtype = AUTOCAST.get(precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.average = WeightAverage(self._trainable(), self.arguments.ema_decay)
        self.step = 0
        self.valid_result = None
        self._resume_from = self.arguments.resume
        self._saves = self._validates = False
        self._stop = StopRequest()
        self._epoch, self._done = 0, _START
        self._random_states = None

    def _build_optimizer(self, **kwargs):
        """AdamW over the trainable parameters, without weight decay on norms and biases.

        Raises:
            GenRecError: nothing is trainable.
        """
        trainable = self._trainable()
        if not trainable:
            raise GenRecError("The model has no trainable parameters.")
        if self.learner.lower() not in ("adam", "adamw"):
            return super()._build_optimizer(params=trainable, **kwargs)
        groups = [
            {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": self.arguments.weight_decay},
            {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        ]
        fused = all(p.device.type in ("cpu", "cuda") for p in trainable)
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=self.learning_rate,
            betas=self.arguments.adam_betas,
            fused=fused,
        )

    def _trainable(self):
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """RecBole's ``fit``, resumed where ``resume`` asks for it, with ``last`` written after every epoch."""
        self._saves, self._validates = saved, bool(valid_data) and self.eval_step > 0
        self._go_on()

        def end_of_epoch(epoch, valid_score):  # early stopping has counted the epoch, ``best`` is written by now
            self.average.swap_out()
            self._end_epoch(epoch)
            if callback_fn:
                callback_fn(epoch, valid_score)

        with self._stop.heard():
            result = super().fit(train_data, valid_data, verbose, saved, show_progress, end_of_epoch)
        if self._stop.signal:  # it came when nothing was left to do
            self._interrupt()
        self.average.swap_in()
        return result

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        """Train one epoch.

        Returns:
            The loss, averaged over what the model averages over.
        """
        self.average.swap_out()
        self.model.train()
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
            for batches in self._rest(_in_groups(train_data, accumulated), steps):
                batches = [self.model.pack_interaction(b) if isinstance(b, Interaction) else b for b in batches]
                loss, weight = self._optimizer_step(batches, loss_func, total_steps)
                loss_sum, weight_sum = loss_sum + loss * weight, weight_sum + weight
                n_tokens += sum(batch.n_tokens for batch in batches)
                speed = n_tokens / (perf_counter() - start)
                bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)
                bar.update(len(batches))
                steps += 1
                self._done = steps, loss_sum, weight_sum
                if self.arguments.save_steps and self.step % self.arguments.save_steps == 0:
                    self._save_last(epoch_idx - 1)
                self._heed()
        if not self._validates or (epoch_idx + 1) % self.eval_step:
            self._end_epoch(epoch_idx)
            if not self._validates:  # RecBole writes ``best`` next
                self.average.swap_in()
        return loss_sum / max(weight_sum, 1)

    def _rest(self, groups, steps):
        """What an epoch still has to train on after so many steps; random numbers go on from the checkpoint."""
        for _ in islice(groups, steps):
            pass
        if self._random_states:
            restore_random_states(self._random_states)
            self._random_states = None
        yield from groups

    def _heed(self):
        """Stop where a signal has asked for it, with ``last`` written in the middle of the epoch.

        Raises:
            Interrupted: one has.
        """
        if self._stop.signal:
            self.average.swap_out()
            self._save_last(self._epoch - 1)
            self._interrupt()

    def _interrupt(self):
        number, self._stop.signal = self._stop.signal, 0
        kept = "nothing is saved, as 'saved' is false"
        if self._saves:
            kept = f"{str(self.run_folder / 'last')!r} is saved, and --resume=auto goes on from it"
        place = f"epoch {self._epoch}, step {self._done[0]}" if self._done[0] else f"the end of epoch {self._epoch}"
        raise Interrupted(number, f"by {signal.Signals(number).name} at {place}; {kept}.")

    def _optimizer_step(self, batches, loss_func, total_steps):
        """One step on the mean loss over all of ``batches``, as if they were one batch.

        Returns:
            The loss, and the number of terms it is the mean of.
        """
        self.optimizer.zero_grad()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * learning_rate_factor(self.step, total_steps, self.arguments)
        weights = [batch.n_decisions for batch in batches]
        total, total_loss = max(sum(weights), 1), 0.0
        for batch, weight in zip(batches, weights, strict=True):
            with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None):
                loss = loss_func(batch.to(self.device)) * (weight / total)
            self.scaler.scale(loss).backward()
            total_loss = total_loss + loss.detach()
        total_loss = float(total_loss)
        if not math.isfinite(total_loss):
            raise GenRecError(
                f"The training loss is {total_loss} at step {self.step}. Lower 'learning_rate', set 'clip_grad_norm', "
                "or use 'precision: bf16' or 'fp32'."
            )
        if self.clip_grad_norm:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self._trainable(), **self.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.average.update(self.step)
        return total_loss, total

    def _full_sort_batch_eval(self, *args):
        self._heed()
        return super()._full_sort_batch_eval(*args)

    def _neg_sample_batch_eval(self, *args):
        self._heed()
        return super()._neg_sample_batch_eval(*args)

    def _valid_epoch(self, valid_data, show_progress=False):
        self.average.swap_in()
        valid_score, self.valid_result = super()._valid_epoch(valid_data, show_progress)
        return valid_score, self.valid_result

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """RecBole's ``evaluate``; the best weights come from a checkpoint folder."""
        if load_best_model and eval_data:
            folder = model_file or self.saved_model_file
            load_checkpoint_into(self.model, folder)
            self.logger.info(f"Loading model structure and parameters from {folder}")
        self.model.reset_statistics()
        return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)

    # ---- checkpoints ----

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
        self._done = _START
        self._save_last(epoch)

    def _save_last(self, epoch):
        """Write ``last``: after ``epoch``, -1 where none is finished, and what is done of the next one."""
        if self._saves:
            previous = self.run_folder / "previous"
            self._write(
                self.run_folder / "last", epoch, self.best_valid_result, self._done, self.average.tensors, previous
            )

    def _write(self, folder, epoch, best_valid_result, done=_START, average=(), previous=None):
        state = {
            "epoch": epoch,
            "done": list(done),
            "step": self.step,
            "cur_step": self.cur_step,
            "best_valid_score": self.best_valid_score if math.isfinite(self.best_valid_score) else None,
            "best_valid_result": best_valid_result,
            "scaler": self.scaler.state_dict(),
        }
        save_checkpoint(folder, self.model, self.config, state, self.optimizer, average, previous)

    def _go_on(self):
        """Resume where the setting asks for it, once."""
        resume, self._resume_from = self._resume_from, ""
        if resume:
            self._resume(resume)

    def _resume(self, resume):
        if resume == "previous":
            self.resume_checkpoint(self.run_folder / "previous")
        elif resume != "auto":
            folder = Path(resume)
            settle(folder / "last")
            self.resume_checkpoint(folder / "last" if is_checkpoint(folder / "last") else folder)
        else:
            self._resume_newest()

    def _resume_newest(self):
        """Go on from ``last``, or from ``previous`` where a crash has left no other; start anew without either."""
        last, previous = self.run_folder / "last", self.run_folder / "previous"
        for folder in (last, previous):
            settle(folder)
        if is_checkpoint(last) and is_checkpoint(previous):
            try:
                verify(last)
            except GenRecError as error:
                raise GenRecError(f"{error} The one before it is there: --resume=previous goes on from that.") from None
        for folder in (last, previous):
            if is_checkpoint(folder):
                self.resume_checkpoint(folder)
                return

    def resume_checkpoint(self, resume_file):
        """Go on after the epoch of a checkpoint folder; new checkpoints are written beside it.

        Raises:
            GenRecError: the checkpoint is damaged or does not fit, or the run's ``best`` is missing.
        """
        folder = Path(resume_file)
        best = folder.parent / "best"
        state = load_checkpoint_into(self.model, folder, self.optimizer)
        settle(best)
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
        self._done = tuple(state.get("done", _START))
        self._random_states = folder
        if self.cur_step > self.stopping_step:  # it had stopped early
            self.start_epoch = max(self.start_epoch, self.epochs)
        within = f", step {self._done[0]}" if self._done[0] else ""
        self.logger.info(f"Checkpoint {folder} loaded. Resume training from epoch {self.start_epoch}{within}")


class SASRecAllTrainer(Trainer):
    """RecBole's trainer; the windows of an epoch follow from its number."""

    def _train_epoch(self, train_data, epoch_idx, *args, **kwargs):
        if hasattr(train_data, "set_epoch"):  # RecBole's own loader has none
            train_data.set_epoch(epoch_idx)
        return super()._train_epoch(train_data, epoch_idx, *args, **kwargs)


class PromptLLMTrainer(GenRecTrainer):
    """Validates a model that is not trained, once, whatever ``epochs`` says; there are no checkpoints."""

    def __init__(self, config, model):
        super().__init__(config, model)
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


class GenRecSeq2SeqTrainer(GenRecTrainer):
    """Trains GenRecSeq2Seq on masked items, on next items, or on one after the other.

    Epochs count through: those of pretraining first. Each stage has an optimizer and a schedule of its own. Validation
    selects among the epochs of fine-tuning; a run that only pretrains keeps the last epoch, which it validates.
    """

    def __init__(self, config, model):
        super().__init__(config, model)
        self.stages = Seq2SeqArguments.from_config(config)
        n_pretrain = 0 if self.stages.train_stage == "finetune" else self.stages.pretrain_epochs
        self._ends = {"pretrain": n_pretrain, "finetune": n_pretrain + self.epochs}
        if self.stages.train_stage == "pretrain":
            self._ends["finetune"] = n_pretrain

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """RecBole's ``fit``, stage after stage; see :meth:`GenRecTrainer.fit`."""
        self._saves = saved
        self._go_on()
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
        return self.start_epoch == epoch and self._done == _START

    def _enter(self, stage, train_data):
        self.epochs = self._ends[stage]
        self.model.stage = stage
        if hasattr(train_data, "set_stage"):
            train_data.set_stage(stage, first_epoch=0 if stage == "pretrain" else self._ends["pretrain"])

    def _renew(self):
        """Start a stage: what the optimizer, the schedule and the average have seen belongs to the one before."""
        self.step = 0
        self.optimizer = self._build_optimizer()
        self.average = WeightAverage(self._trainable(), self.arguments.ema_decay)

    def _validate_last(self, valid_data, saved, show_progress):
        self.average.swap_in()
        if valid_data and self.eval_step > 0:
            self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data, show_progress)
            self.wandblogger.log_metrics({**self.best_valid_result, "valid_step": 0}, head="valid")
            if saved:
                self._save_checkpoint(self._ends["pretrain"] - 1, verbose=False)
        return self.best_valid_score, self.best_valid_result


def run_name(config):
    """Name of a run's folder: two runs share it only if all settings that matter are the same."""
    settings = {key: value for key, value in plain_settings(config).items() if key not in PLACE_KEYS}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return f"{config['model']}-{config['dataset']}-{config['seed']}-{digest[:8]}"


def _in_groups(batches, size):
    """Lists of up to ``size`` consecutive batches."""
    iterator = iter(batches)
    while group := list(islice(iterator, size)):
        yield group
