"""Sharded weights (FSDP): each process holds a part of every layer, which is gathered while the layer computes.

Only the layers of the language model are spread, which hold nearly all of a large one: embeddings, the output layer and
the package's own vectors are read row by row by the trie's softmax, and stay whole in every process.
"""

import warnings
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor, distribute_tensor

from recbole_genrec.errors import GenRecError


def spread_layers(module, device):
    """Shard the layers of a language model. Layers move to ``device`` one by one: the whole need not fit there.

    Args:
        module: of ``transformers``, perhaps with a LoRA adapter; its ``_no_split_modules`` say what a layer is.
        device: of this process.

    Raises:
        GenRecError: torch or the model cannot.
    """
    try:
        from torch.distributed.fsdp import FSDPModule, fully_shard
    except ImportError:
        FSDPModule = fully_shard = None
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise GenRecError("'distributed: fsdp' needs torch 2.8 or later.")
    names = {name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    layers = [part for part in module.modules() if type(part).__name__ in names]
    if not layers:
        raise GenRecError("'distributed: fsdp': this backbone does not say which of its modules are layers.")
    # T5's blocks hand a view of their position biases on, and nothing is ever added to it in place
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    mesh = dist.init_device_mesh(torch.device(device).type, (dist.get_world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
        # gradients are summed, as everywhere else here: each process has divided by the terms of all
        layer.set_gradient_divide_factor(1.0)
        layer.set_force_sum_reduction_for_comms(True)


def is_spread(tensor):
    """Whether a tensor is sharded over the processes."""
    return isinstance(tensor, DTensor)


def spread_modules(module):
    """The modules whose weights are sharded."""
    return [part for part in module.modules() if hasattr(part, "set_reshard_after_forward")]


@contextmanager
def whole(module):
    """Context with all weights gathered, so that the processes may compute different things.

    Changes of the weights within the block are lost. A block within a block changes nothing.
    """
    layers = [layer for layer in spread_modules(module) if is_spread(next(layer.parameters()))]
    for layer in layers:
        layer.unshard()
        layer.set_reshard_after_forward(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.set_reshard_after_forward(True)
            layer.reshard()


def whole_state(module, kept=True):
    """``module.state_dict()`` with sharded weights gathered on the CPU. All processes must call it.

    Args:
        module: any.
        kept: false for a process that only helps to gather: it gets an empty dictionary.
    """
    state = {}
    for name, tensor in module.state_dict().items():
        if is_spread(tensor):
            tensor = gathered(tensor).cpu()
        if kept:
            state[name] = tensor
    return state


def gathered(tensor):
    """The whole tensor, gathered if it is sharded. All processes must call it."""
    return tensor.full_tensor().clone() if is_spread(tensor) else tensor


def spread_like(value, target):
    """Shard a whole tensor in the way ``target`` is sharded."""
    if not is_spread(target):
        return value
    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)


def clip_gradients(parameters, max_norm, norm_type=2):
    """``torch.nn.utils.clip_grad_norm_`` for gradients of which some are sharded.

    Raises:
        GenRecError: the norm is not the Euclidean one.
    """
    if not any(is_spread(parameter) for parameter in parameters):
        torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
        return
    if norm_type != 2:
        raise GenRecError(f"'distributed: fsdp' clips gradients by their norm of type 2, not {norm_type!r}.")
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    spread = [gradient.to_local().float().square().sum() for gradient in gradients if is_spread(gradient)]
    square = torch.stack(spread).sum()
    dist.all_reduce(square)
    square += sum(gradient.float().square().sum() for gradient in gradients if not is_spread(gradient))
    factor = (max_norm / (square.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        (gradient.to_local() if is_spread(gradient) else gradient).mul_(factor)
