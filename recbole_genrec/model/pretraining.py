"""Pretraining on users' histories by self-supervision, before a model is fine-tuned on next items.

Reference: Chuhan Wu, Fangzhao Wu, Tao Qi, Jianxun Lian, Yongfeng Huang and Xing Xie. "PTUM: Pre-training User Model
from Unlabeled User Behaviors via Self-supervision", Findings of EMNLP 2020.

A sample is a window of a user's training interactions. The two tasks of the paper:

- masked behaviour prediction (``masked``): a learned vector, the mask, stands for one item of the history. The state
  after the last item, which sees all of it, predicts the masked item. Context of the item, such as its rating, stays. A
  history of one item has no term.
- next K behaviours prediction (``next_k``): the state after a prefix predicts each of the next K items. The loss of a
  window is the mean over its pairs of a state and an item. With K = 1 these are the terms of fine-tuning.

``both`` adds the losses, that of ``next_k`` times ``pretrain_next_weight``, the paper's lambda. A batch's loss is the
mean over its windows.

Deviations from the paper:

- The softmax is over the whole catalogue; the paper samples negative items.
- Items are compared with states as in fine-tuning; the paper has a predictor for each task.
- Every prefix of a window predicts with ``next_k``; the paper takes one cut of each history.
- Fine-tuning learns next items of the same interactions; the paper's tasks have labels of other data.

Letters: N targets, P pairs of a state and a target, H width of the states.
"""

import torch


def mask_vector(width, std):
    """What stands for a masked item ``[1, H]``, drawn with standard deviation ``std``."""
    return torch.nn.Parameter(torch.empty(1, width).normal_(std=std))


def ahead_weight(settings):
    """Weight of the loss of ``next_k``.

    ``settings`` are :class:`~recbole_genrec.config.arguments.PretrainArguments`.
    """
    return settings.pretrain_next_weight if settings.masks else 1.0


def pairs_ahead(place, count):
    """Pairs of a state and one of its next items.

    Args:
        place: of each target in its window, from 0 ``[N]``: the place of the state right before it.
        count: next items of a state, the paper's K.

    Returns:
        Numbers of the targets, and the place of a state for each, both ``[P]``. The states of a target are the
        ``count`` before it, as far as its window has them.
    """
    before = place[:, None] - torch.arange(count, device=place.device)  # [N, count]
    number, offset = (before >= 0).nonzero(as_tuple=True)
    return number, before[number, offset]


def row_weights(row, n_rows):
    """Weights ``[P]`` with which a sum over pairs is the mean over ``n_rows`` windows of each one's mean.

    ``row`` is the window of each pair ``[P]``.
    """
    return 1.0 / (torch.bincount(row, minlength=n_rows)[row] * n_rows)
