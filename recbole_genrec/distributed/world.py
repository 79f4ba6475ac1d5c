"""The processes of a run: the rank of this one, and their collective operations.

Every process reads the same data, makes the same batches and takes its share of each; gradients, counts and results
are put together, so that a run gives the numbers of a single process. ``torchrun`` says in the environment who is who.

Letters: P processes.
"""

import ctypes
import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from recbole_genrec.errors import GenRecError, PeerLost

#: elements of the gradients that travel together.
BUCKET = 1 << 24


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from one of them. With a single process no operation communicates.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self):
        """Whether this process writes files and logs for all."""
        return self.rank == 0

    def share(self, count):
        """This process's share of ``count`` rows of a batch, like the others': a slice."""
        return slice(self.rank, count, self.size)

    def block(self, count):
        """This process's share of ``count`` rows as one stretch, so that all of them in order give the whole."""
        return np.array_split(np.arange(count), self.size)[self.rank]

    def total(self, numbers):
        """Sum numbers over the processes, one by one; a list."""
        if self.size == 1:
            return list(numbers)
        summed = torch.tensor(numbers, dtype=torch.float64)
        with _together():
            dist.all_reduce(summed)
        return summed.tolist()

    def gather(self, value):
        """The ``value`` of every process, by rank."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        with _together():
            dist.all_gather_object(values, value)
        return values

    def from_first(self, make):
        """The result of ``make()`` in the first process; the others do not call it."""
        if self.size == 1:
            return make()
        box = [make() if self.is_first else None]
        with _together():
            dist.broadcast_object_list(box)
        return box[0]

    def map(self, function, values):
        """``[function(value) for value in values]``, each process doing its share."""
        own = [function(values[place]) for place in self.block(len(values))]
        return [result for share in self.gather(own) for result in share]

    def wait(self):
        """Wait until all processes have reached this call."""
        self.total([0])

    @contextmanager
    def in_turn(self):
        """Context that the first process runs before the others: it writes files that they read."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def sum_gradients(self, parameters):
        """Sum gradients over the processes. A parameter without a gradient in any process keeps none.

        One message a step for many tensors: what is trained here is small beside what is computed, so that hooks which
        send each gradient as soon as it is there would gain little.
        """
        if self.size == 1:
            return
        for bucket in _buckets([p for p in parameters if p.requires_grad]):
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
            known = flat.new_tensor([p.grad is not None for p in bucket])
            flat = torch.cat([flat, known])
            with _together():
                dist.all_reduce(flat)
            sizes = [p.numel() for p in bucket]
            *parts, known = flat.split([*sizes, len(bucket)])
            for parameter, part, holders in zip(bucket, parts, known.tolist(), strict=True):
                if holders:
                    parameter.grad = part.view_as(parameter).clone()

    def spread(self, tensors):
        """Copy the tensors of the first process to all others."""
        if self.size > 1:
            with _together():
                for tensor in tensors:
                    dist.broadcast(tensor, 0)


def _buckets(parameters):
    """Lists of parameters of one kind and about :data:`BUCKET` elements."""
    buckets, open_ones = [], {}
    for parameter in parameters:
        kind = parameter.dtype, parameter.device
        bucket, size = open_ones.get(kind, (None, BUCKET))
        if size >= BUCKET:
            bucket, size = [], 0
            buckets.append(bucket)
        bucket.append(parameter)
        open_ones[kind] = bucket, size + parameter.numel()
    return buckets


@contextmanager
def _together():
    """Run a collective operation.

    Raises:
        PeerLost: one of them is gone.
    """
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(f"Another process of the run is gone ({str(error).splitlines()[0]}).") from error


def current():
    """The :class:`World` that the environment names.

    Raises:
        GenRecError: what it names is no world.
    """
    rank, size = (_number(key, default) for key, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    if not 0 <= rank < size:
        raise GenRecError(f"environment: RANK is {rank} and WORLD_SIZE {size}; start several processes with torchrun.")
    return World(rank, size)


def _number(key, default):
    text = os.environ.get(key, str(default))
    if not text.isdecimal():
        raise GenRecError(f"environment: {key} is {text!r}, not a whole number.")
    return int(text)


@contextmanager
def joined():
    """Context in which the processes are connected: by NCCL between GPUs, by gloo between CPUs.

    Raises:
        GenRecError: the environment does not say where they meet.
    """
    world = current()
    if world.size == 1 or dist.is_initialized():
        yield world
        return
    missing = [key for key in ("MASTER_ADDR", "MASTER_PORT") if key not in os.environ]
    if missing:
        raise GenRecError(f"environment: WORLD_SIZE is {world.size}, but {missing[0]} is missing; start with torchrun.")
    _die_with_the_agent()
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    yield world
    dist.destroy_process_group()  # not after an error: it would wait for processes that have gone


def _die_with_the_agent():
    """End this process together with the agent that started it, which would otherwise leave it running.

    What is trained is safe, as it is whenever a process is killed.
    """
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        pr_set_pdeathsig = 1  # prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


_gpu = None


def own_gpu(visible=None):
    """The GPU of this process as a value of ``CUDA_VISIBLE_DEVICES``; every call returns the same one.

    Args:
        visible: the GPUs that the processes of this machine may use, with commas between them; ``""`` for none,
            ``None`` for all that there are.

    Raises:
        GenRecError: they are fewer than the processes.
    """
    global _gpu
    if _gpu is None:
        place, count = _number("LOCAL_RANK", 0), _number("LOCAL_WORLD_SIZE", 1)
        ids = list(map(str, range(count))) if visible is None else [name.strip() for name in visible.split(",")]
        if visible == "" or not torch.cuda.is_available():  # a name may still be left over in the environment
            ids = [""] * count
        if len(ids) < count:
            raise GenRecError(f"'gpu_id' names {len(ids)} GPUs ({visible}) for {count} processes of this machine.")
        _gpu = ids[place]
    return _gpu
