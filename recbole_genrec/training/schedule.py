"""Schedules over optimizer steps: the learning rate and the average of the weights."""

import math

import torch

from recbole_genrec.distributed.sharding import is_spread, spread_like
from recbole_genrec.errors import GenRecError


def learning_rate_factor(step, total_steps, schedule):
    """Share of the learning rate at ``step`` (from 0): linear warm-up, steps at the full rate, then decay.

    Args:
        step: optimizer steps done.
        total_steps: optimizer steps of the whole run.
        schedule: :class:`~recbole_genrec.config.arguments.ScheduleArguments`.
    """
    steps = (schedule.warmup_steps, schedule.hold_steps)
    warmup, hold = (round(number * total_steps) if number < 1 else number for number in steps)
    begin = warmup + hold  # of the decay
    if step < warmup:
        return (step + 1) / warmup
    if schedule.lr_scheduler == "constant" or step < begin:
        return 1.0
    if schedule.lr_scheduler == "inverse_sqrt":
        return (max(begin, 1) / (step + 1)) ** 0.5
    progress = min((step - begin) / max(total_steps - begin, 1), 1.0)
    if schedule.lr_scheduler == "linear":
        return 1.0 - progress
    return 0.5 * (1.0 + math.cos(math.pi * progress))


class WeightAverage:
    """Exponential moving average of the weights, used for evaluation and checkpoints.

    The decay grows with the steps, ``min(decay, (1 + step) / (10 + step))``, so that the first steps are forgotten.

    Args:
        parameters: the weights.
        decay: share of the old value in each update; 0: the average is the weights themselves.
    """

    def __init__(self, parameters, decay):
        self.parameters, self.decay = parameters, decay
        self.tensors = [parameter.detach().clone() for parameter in parameters] if decay else []
        # one kernel for many tensors takes no mixture of spread and whole ones
        pairs = list(zip(self.tensors, parameters))
        kinds = [[pair for pair in pairs if is_spread(pair[0]) == spread] for spread in (False, True)]
        self._kinds = [list(map(list, zip(*kind))) for kind in kinds if kind]
        self._swapped = False

    @torch.no_grad()
    def update(self, step):
        """Take in the weights after optimizer step number ``step``."""
        if self.tensors:
            decay = min(self.decay, (1 + step) / (10 + step))
            for tensors, parameters in self._kinds:
                torch._foreach_lerp_(tensors, parameters, 1 - decay)

    def swap_in(self):
        """Put the average into the model and keep the weights."""
        if not self._swapped:
            self._swap()

    def swap_out(self):
        """Put the weights back into the model."""
        if self._swapped:
            self._swap()

    @torch.no_grad()
    def _swap(self):
        self._swapped = not self._swapped
        for parameter, tensor in zip(self.parameters, self.tensors):
            kept = parameter.clone()
            parameter.copy_(tensor)
            tensor.copy_(kept)

    @torch.no_grad()
    def resume(self, weights):
        """Resume while the average is in the model; ``weights`` are the averaged ones, empty without an average."""
        for own, stored in zip(self.tensors, weights):
            own.copy_(stored)
        self._swapped = bool(weights)

    @torch.no_grad()
    def load(self, tensors):
        """Resume from stored averages, if there are any.

        Raises:
            GenRecError: they are of other weights.
        """
        shapes = [[tensor.shape for tensor in several] for several in (self.tensors, tensors)]
        if all(shapes) and shapes[0] != shapes[1]:
            raise GenRecError("average.safetensors of the checkpoint holds averages of other weights.")
        for own, stored in zip(self.tensors, tensors):
            own.copy_(spread_like(stored, own))
