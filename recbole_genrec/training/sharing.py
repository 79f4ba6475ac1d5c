"""One run on several processes: RecBole's trainers with shared batches and a shared evaluation.

RecBole's own way asks for NCCL, gives each process batches of its own and weighs metrics by the number of batches. Here
the processes share every batch and every evaluation, so that any number of them gives the numbers of one. A single
process takes none of these paths.
"""

import random
from contextlib import nullcontext

import numpy as np
import torch
from recbole.data.dataloader import NegSampleEvalDataLoader
from recbole.evaluator import Collector
from recbole.trainer import Trainer
from recbole.utils import set_color
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from recbole_genrec.compat.tensorboard import no_tensorboard
from recbole_genrec.distributed.sharding import whole
from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError

#: what RecBole's collector keeps of every row of an evaluation.
COLLECTED = ("rec.items", "rec.topk", "rec.meanrank", "rec.score", "data.label")


class SharedCollector(Collector):
    """RecBole's collector, extended to return the rows of all processes."""

    def get_data_struct(self):
        """What was collected, each process's rows after those of the one before; then begin anew."""
        struct, world = self.data_struct, current()
        parts = world.gather({key: struct[key].cpu() for key in COLLECTED if key in struct})
        for key in COLLECTED:
            tensors = [part[key] for part in parts if key in part]
            if tensors:
                struct.set(key, torch.cat(tensors))
        return super().get_data_struct()


class SharedEvaluation:
    """Mixin before RecBole's trainer: each process evaluates some of the rows, and all of them get all results.

    Only the first process writes for TensorBoard.
    """

    def __init__(self, config, model):
        world = current()
        with nullcontext() if world.is_first else no_tensorboard():
            super().__init__(config, model)
        if world.size > 1:
            self.eval_collector = SharedCollector(config)

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """RecBole's ``evaluate``; the metrics are taken over the rows of all processes."""
        world = current()
        if world.size == 1 or not eval_data:
            return super().evaluate(eval_data, load_best_model, model_file, show_progress)
        own = _own_loader(eval_data, world)
        with whole(self.model):
            if own is None:  # RecBole would return nothing, and the others would wait for this process
                result = self.evaluator.evaluate(self.eval_collector.get_data_struct())
            else:
                result = super().evaluate(own, load_best_model, model_file, show_progress)
        if hasattr(self.model, "merge_statistics"):
            self.model.merge_statistics(world.gather(self.model.statistics))
        return result


def _own_loader(loader, world):
    """A loader like RecBole's ``loader``, of this process's rows, or ``None`` where it has none.

    The rows of all processes, in order, are the whole.
    """
    dataset = loader._dataset
    users = dataset.inter_feat[dataset.uid_field]
    # which gives a user's rows together, users in order, where it samples: labelled rows stand as they are
    if isinstance(loader, NegSampleEvalDataLoader) and hasattr(loader, "uid_list"):
        own = torch.from_numpy(loader.uid_list[world.block(len(loader.uid_list))])
        rows = torch.isin(users, own).nonzero().flatten().numpy()
    else:
        rows = world.block(len(users))
    if len(rows) == 0:
        return None
    part = dataset.copy(dataset.inter_feat[rows])
    return type(loader)(loader.config, part, loader._sampler, shuffle=False)


class SharedTraining(SharedEvaluation, Trainer):
    """RecBole's trainer on several processes; see :func:`for_several_processes`."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.world = current()
        self.saved_model_file = self.world.from_first(lambda: self.saved_model_file)  # its name has the time
        self.world.spread(parameter.data for parameter in model.parameters())

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        """RecBole's epoch, in which every process takes its rows of each batch."""
        self.model.train()
        loss_func = loss_func or self.model.calculate_loss
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.enable_scaler)
        # the same batches, with what Python and NumPy draw for them, in every process, but dropout of its own
        python_state, numpy_state = self.world.from_first(lambda: (random.getstate(), np.random.get_state()))
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.manual_seed(self.config["seed"] + (epoch_idx << 16) + self.world.rank)
        description, total = set_color(f"Train {epoch_idx:>5}", "pink"), 0.0
        for interaction in tqdm(train_data, ncols=100, desc=description, disable=not show_progress):
            self.optimizer.zero_grad()
            weight = max(loss_weight(self.model, interaction), 1.0)
            own = rows(interaction, self.world.share(len(interaction))).to(self.device)
            loss = torch.zeros(())
            if len(own):
                own_weight = loss_weight(self.model, own) / weight
                with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
                    parts = loss_func(own)
                loss = (sum(parts) if isinstance(parts, tuple) else parts) * own_weight
                scaler.scale(loss).backward()
            loss = self.world.total([loss.item()])[0]
            self._check_nan(torch.tensor(loss))
            self.world.sum_gradients(self.model.parameters())
            if self.clip_grad_norm:
                clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
            scaler.step(self.optimizer)
            scaler.update()
            total += loss
        return total

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        if self.world.is_first:
            super()._save_checkpoint(epoch, verbose, **kwargs)
        self.world.wait()


def rows(interaction, part):
    """The rows of RecBole's ``interaction`` in a slice, laid out as a loader does."""
    return interaction[torch.arange(len(interaction))[part]]


def loss_weight(model, interaction):
    """Terms that a model's loss is the mean of.

    Rows, unless the model says otherwise in a method ``loss_weight``; BERT4Rec's terms are masked items.
    """
    if hasattr(model, "loss_weight"):
        return float(model.loss_weight(interaction))
    if hasattr(model, "MASK_INDEX") and model.MASK_INDEX in interaction:
        return float((interaction[model.MASK_INDEX] > 0).sum())
    return float(len(interaction))


def for_several_processes(trainer_class):
    """A trainer class for several processes.

    Args:
        trainer_class: RecBole's or the plugin's.

    Raises:
        GenRecError: it has a training loop of its own, which works in one process.
    """
    if issubclass(trainer_class, SharedEvaluation):
        return trainer_class
    if trainer_class is Trainer:
        return SharedTraining
    above = trainer_class.__mro__[: trainer_class.__mro__.index(Trainer)]
    own = [part for part in above if part.__module__.startswith("recbole.")]
    if any({"fit", "_train_epoch", "evaluate"} & vars(part).keys() for part in own):
        raise GenRecError(f"RecBole's {trainer_class.__name__} trains in one process: leave '--nproc' at 1.")
    return type(trainer_class.__name__, (trainer_class, SharedTraining), {})
