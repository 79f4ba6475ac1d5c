"""The parts of a checkpoint that only training needs: optimizer, running averages and random numbers."""

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recbole_genrec.checkpoint.folder import read_json, read_tensors, write_json, write_tensors
from recbole_genrec.distributed.sharding import gathered, spread_like
from recbole_genrec.errors import GenRecError, listed, shown

#: what Adam remembers of a parameter.
ADAM_STATE = frozenset(("step", "exp_avg", "exp_avg_sq"))


@dataclass(frozen=True)
class TrainingState:
    """The training state that a checkpoint stores.

    Attributes:
        trainer: what the trainer wants back, a dict that JSON can hold.
        optimizer: what :func:`optimizer_state` gives; None stores no optimizer.
        average: running averages of the trainable weights, in their order; an empty one is not stored.
        randoms: :func:`random_states` of every process; None for those of this process alone.
        weights: the model's whole state, where parts of it are spread over processes; None for ``model.state_dict()``.
    """

    trainer: dict
    optimizer: dict | None = None
    average: tuple | list = ()
    randoms: list[dict] | None = None
    weights: dict | None = None


def write_training_state(folder, state):
    """Write a :class:`TrainingState`, but for the weights."""
    write_json(folder / "trainer.json", state.trainer)
    first, *others = state.randoms or [random_states()]
    write_json(folder / "rng.json", first | {"others": others})
    if state.optimizer is not None:
        write_optimizer(folder, state.optimizer)
    if state.average:
        average = {f"{number:06}": tensor for number, tensor in enumerate(state.average)}
        write_tensors(folder / "average.safetensors", average)


def read_average(folder):
    """The running averages of a checkpoint, in order; none where it stores none."""
    path = Path(folder) / "average.safetensors"
    return [tensor for _, tensor in sorted(read_tensors(path).items())] if path.is_file() else []


def optimizer_state(optimizer):
    """The state of an optimizer, ``None`` without one; sharded tensors are gathered."""
    if optimizer is None:
        return None
    state = optimizer.state_dict()
    whole = {
        index: {name: gathered(value) if torch.is_tensor(value) else value for name, value in slots.items()}
        for index, slots in state["state"].items()
    }
    return {"state": whole, "param_groups": state["param_groups"]}


def write_optimizer(folder, state):
    """Write what :func:`optimizer_state` has given."""
    tensors, values = {}, {}
    for index, slots in state["state"].items():
        for name, value in slots.items():
            (tensors if torch.is_tensor(value) else values)[f"{index}.{name}"] = value
    write_tensors(folder / "optimizer.safetensors", tensors)
    write_json(folder / "optimizer.json", {"param_groups": state["param_groups"], "values": values})


def read_optimizer(folder, optimizer):
    """Load the stored state into an optimizer.

    Raises:
        GenRecError: there is none, or it is of other parameters; nothing has been changed then.
    """
    if not (folder / "optimizer.json").is_file():
        raise GenRecError(f"The checkpoint {str(folder)!r} holds no optimizer.json: training cannot go on from it.")
    stored, own = read_json(folder / "optimizer.json"), optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    values = {**read_tensors(folder / "optimizer.safetensors"), **stored["values"]}
    problem = _unfit_value(values, parameters) or _other_groups(stored["param_groups"], own["param_groups"])
    slots = {} if problem else _slots(values)
    if problem := problem or _incomplete(slots, optimizer):
        raise GenRecError(f"The optimizer state in {str(folder)!r} belongs to another model: {problem}.")
    groups = [
        # what an earlier torch did not write, and kernels, which are of this machine, stay the optimizer's own
        own
        | {key: tuple(value) if key == "betas" else value for key, value in group.items()}
        | {key: own[key] for key in ("fused", "foreach") if key in own}
        for group, own in zip(stored["param_groups"], own["param_groups"])
    ]
    for index, parameter in enumerate(parameters):
        for name, value in slots.get(index, {}).items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                slots[index][name] = spread_like(value, parameter)
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _slots(values):
    """Stored values, named ``<parameter>.<name>``, by parameter."""
    slots = {}
    for key, value in values.items():
        index, _, name = key.partition(".")
        slots.setdefault(int(index), {})[name] = value
    return slots


def _unfit_value(values, parameters):
    """Describe the first stored value that belongs to no parameter, or return ``None``."""
    for key, value in values.items():
        index, _, name = key.partition(".")
        if not index.isdecimal() or int(index) >= len(parameters) or not name:
            return f"it has {shown(key)}, which is of no parameter"
        if not torch.is_tensor(value):
            continue
        if not value.is_floating_point():
            return f"{key!r} is of type {value.dtype}"
        if value.ndim and value.shape != parameters[int(index)].shape:
            return f"{key!r} is {list(value.shape)} there and {list(parameters[int(index)].shape)} here"
    return None


def _incomplete(slots, optimizer):
    """Describe what some parameters lack that others, or Adam, have; or return ``None``."""
    kinds = set(map(frozenset, slots.values()))
    if len(kinds) > 1:
        return f"a parameter has {listed(sorted(min(kinds, key=len)))} alone"
    if isinstance(optimizer, torch.optim.Adam) and kinds - {ADAM_STATE}:
        return f"Adam keeps {listed(sorted(ADAM_STATE))} of each parameter, it has {listed(*kinds)}"
    return None


def _other_groups(stored, own):
    """Describe how stored parameter groups differ from the optimizer's own, or return ``None``."""
    if [group["params"] for group in stored] != [group["params"] for group in own]:
        return "its groups of parameters are others"
    for number, (group, expected) in enumerate(zip(stored, own)):
        plain = json.loads(json.dumps(expected))
        for key in plain.keys() & group.keys():
            if not _alike(group[key], plain[key]):
                return f"group {number} has {shown(group[key])} for {key!r}"
    return None


def _alike(value, own):
    """Whether a stored setting has the type of the optimizer's own; a rate may be an integer, a flag may be unset."""
    if isinstance(own, list):
        return isinstance(value, list) and len(value) == len(own) and all(map(_alike, value, own))
    if isinstance(own, bool) or own is None:
        return value is None or isinstance(value, bool)
    return type(value) in (int, float) and math.isfinite(value) if isinstance(own, (int, float)) else True


def random_states():
    """States of Python's, NumPy's and torch's random numbers, in a form that JSON can hold."""
    version, state, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(state), gauss],
        "numpy": [name, keys.tolist(), position, has_gauss, cached],
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
        "cuda": [state.numpy().tobytes().hex() for state in torch.cuda.get_rng_state_all()]
        if torch.cuda.is_available()
        else [],
    }


def restore_random_states(folder, rank=0, step=0):
    """Set the random states to those that were stored at the end of :func:`.checkpoint.save_checkpoint`.

    Args:
        folder: the checkpoint.
        rank: number of this process. One that did not take part in the training so far seeds torch anew.
        step: optimizer steps done.
    """
    first = read_json(Path(folder) / "rng.json")
    every = [first, *first.get("others", [])]
    stored = every[rank] if rank < len(every) else first
    try:
        version, state, gauss = stored["python"]
        random.setstate((version, tuple(state), gauss))
        name, keys, *rest = stored["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
        if rank >= len(every):
            torch.manual_seed((step << 16) + rank)
            return
        torch.set_rng_state(_bytes_tensor(stored["torch"]))
    except (ValueError, TypeError, IndexError, OverflowError, RuntimeError) as error:
        raise GenRecError(
            f"The checkpoint {str(folder)!r} is damaged: rng.json holds no states of random numbers ({error})."
        ) from None
    if torch.cuda.is_available() and len(stored["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_bytes_tensor(state) for state in stored["cuda"]])


def _bytes_tensor(text):
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
