"""Cross-entropy over a whole catalogue, a few states at a time.

N states of width H against C items are N * C logits, and autograd keeps them twice. Loss and gradients need each row
only once. So rows are computed in blocks that fit the processor's cache, and each block adds its part of both gradients
before the next one is computed. The three matrix products are the same as with all logits in memory; what is saved is
moving N * C numbers back and forth five times.

Under autocast to bfloat16 on a CPU the products take rounded numbers, as those of a model's layers do: processors that
know bfloat16 are several times faster at them. Softmax, sums and gradients stay in float32.
"""

import torch
from torch.autograd.function import once_differentiable

#: logits in memory at once, by kind of device; a GPU needs more to be busy.
LOGITS_AT_ONCE = {"cpu": 1 << 20}
LOGITS_AT_ONCE_ELSEWHERE = 1 << 25


def catalogue_cross_entropy(states, items, target, weight=None):
    """Weighted sum of ``cross_entropy(states @ items.T, target)``.

    It is computed in float32 under autocast, too, but for the products under autocast to bfloat16 on a CPU.

    Args:
        states: ``[N, H]``.
        items: a vector for each item of the catalogue ``[C, H]``.
        target: the right item for each state ``[N]``.
        weight: of each state ``[N]``; by default 1 / N, which gives the mean.

    Returns:
        A scalar; it can be differentiated once with respect to ``states`` and ``items``.
    """
    if weight is None:
        weight = torch.full((len(states),), 1 / max(len(states), 1), device=states.device)
    product = torch.bfloat16 if _rounds(states.device.type) else torch.float32
    with torch.autocast(states.device.type, enabled=False):
        return _CatalogueCrossEntropy.apply(states.float(), items.float(), target, weight.float(), product)


def _rounds(device):
    """Whether products are to take bfloat16."""
    return device == "cpu" and torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16


class _CatalogueCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, items, target, weight, product):
        needs_states, needs_items, *_ = ctx.needs_input_grad
        states_grad = torch.empty_like(states) if needs_states else None
        items_grad = torch.zeros_like(items) if needs_items else None
        at_once = max(LOGITS_AT_ONCE.get(states.device.type, LOGITS_AT_ONCE_ELSEWHERE) // len(items), 1)
        total, factors = states.new_zeros(()), items.to(product)
        for begin in range(0, len(states), at_once):
            rows = slice(begin, begin + at_once)
            part, label, importance = states[rows], target[rows, None], weight[rows, None]
            logits = (part.to(product) @ factors.T).float()
            total += (_to_residuals(logits, label) * importance).sum()
            residuals = logits.to(product)
            if needs_states:
                torch.mul(residuals @ factors, importance, out=states_grad[rows])
            if needs_items:
                weighted = (part * importance).to(product)
                if product == items_grad.dtype:
                    items_grad.addmm_(residuals.T, weighted)
                else:
                    items_grad += residuals.T @ weighted
        ctx.save_for_backward(states_grad, items_grad)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return *(None if saved is None else saved * grad for saved in ctx.saved_tensors), None, None, None


def _to_residuals(logits, label):
    """Turn logits ``[n, C]`` in place into the gradient of the summed loss; return the loss of each row ``[n, 1]``."""
    right, highest = logits.gather(1, label), logits.amax(1, keepdim=True)
    torch.softmax(logits, 1, out=logits)
    # the largest probability is at least 1 / C, while that of the right item may be too small for a float
    loss = highest - logits.amax(1, keepdim=True).log() - right
    logits.scatter_add_(1, label, torch.full_like(right, -1.0))
    return loss
