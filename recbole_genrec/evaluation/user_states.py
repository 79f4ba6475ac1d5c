"""User states: the vector that a sequential model computes from a history and ranks by.

Letters: U users, B users of a batch, L history length, H hidden size.
"""

import inspect

import numpy as np
import torch

from recbole_genrec.errors import GenRecError

#: arguments of a model's ``forward`` by name, and the attribute of the model that names RecBole's field for it.
_FIELDS = {"item_seq": "ITEM_SEQ", "seq_item": "ITEM_SEQ", "item_seq_len": "ITEM_SEQ_LEN"}
_FIELDS |= {"seq_item_len": "ITEM_SEQ_LEN", "user": "USER_ID"}
#: arguments with a value of their own: S3Rec looks both ways in pretraining alone.
_VALUES = {"bidirectional": False}


@torch.no_grad()
def user_states(model, part, batch_size):
    """States of users after the history of their last row.

    Args:
        model: a sequential model with ``forward(item_seq, item_seq_len)``, or with arguments of these and similar
            names, as most of RecBole's have; or one of this package that takes RecBole's ``interaction``.
        part: of a split, such as the test.
        batch_size: users at once.

    Returns:
        RecBole's user ids ``[U]``, ascending, and states ``[U, H]``, float64.

    Raises:
        GenRecError: the model's ``forward`` gives no such states.
    """
    check_states(model)
    users = part.inter_feat[part.uid_field].numpy()
    found, last = np.unique(users[::-1], return_index=True)
    rows, states = len(users) - 1 - last, []
    for begin in range(0, len(rows), batch_size):
        batch = part.inter_feat[torch.from_numpy(rows[begin : begin + batch_size])]
        batch = batch.gather() if hasattr(batch, "gather") else batch
        states.append(_states(model, batch.to(_device(model))).double().cpu().numpy())
    return found, np.concatenate(states)


def check_states(model):
    """Refuse a model whose ``forward`` does not take a history.

    Raises:
        GenRecError: it is one.
    """
    unknown = [name for name in _needed(model) if name not in {*_FIELDS, *_VALUES, "interaction"}]
    if unknown or getattr(model, "chat", None) is not None:
        needs = f"it needs {', '.join(unknown)}" if unknown else "a server has the language model"
        raise GenRecError(
            f"--probe: {type(model).__name__} has no state of a user by 'forward(item_seq, item_seq_len)': {needs}."
        )


def _needed(model):
    """Names of the arguments that ``forward`` is called with."""
    arguments = inspect.signature(model.forward).parameters.values()
    return [one.name for one in arguments if one.default is one.empty or one.name in {*_FIELDS, *_VALUES}]


def _device(model):
    return getattr(model, "compute_device", None) or next(model.parameters()).device


def _states(model, batch):
    """States ``[B, H]`` of a batch."""
    lengths, needed = batch[model.ITEM_SEQ_LEN], _needed(model)
    given = {name: batch[getattr(model, _FIELDS[name])] for name in needed if name in _FIELDS}
    given |= {name: _VALUES[name] for name in needed if name in _VALUES} | {"interaction": batch}
    if hasattr(model, "reconstruct_test_data"):  # BERT4Rec asks by a mask at the end
        given["item_seq"] = model.reconstruct_test_data(given["item_seq"], lengths)
    given = {name: given[name] for name in needed}
    if hasattr(model, "history_context") and "context" in inspect.signature(model.forward).parameters:
        given["context"] = model.history_context(batch)
    states = model(**given)
    states = states[0] if isinstance(states, tuple) else states
    if states.dim() == 3:  # every position's [B, L, H]
        states = states[torch.arange(len(states), device=states.device), lengths - 1]
    if states.dim() != 2 or len(states) != len(lengths):
        raise GenRecError(f"--probe: the forward of {type(model).__name__} gives no vector for each user.")
    return states
