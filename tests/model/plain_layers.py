"""Layers of a transformer for one history in numpy, position by position: what the models' tensors must equal."""

from math import erf, sqrt

import numpy as np


def weights_of(model):
    """The parameters of a model by name, as float64."""
    return {name: value.detach().double().numpy() for name, value in model.state_dict().items()}


def norm(vector, weight=1.0, bias=0.0, epsilon=1e-12):
    """A layer norm of one vector."""
    return (vector - vector.mean()) / sqrt(vector.var() + epsilon) * weight + bias


def silu(value):
    return value / (1 + np.exp(-value))


def gelu(value):
    return value * 0.5 * (1 + np.vectorize(erf)(value / sqrt(2)))


def named(weights, place):
    """The weight and bias of a module."""
    return weights[f"{place}.weight"], weights[f"{place}.bias"]


def linear(weights, place, vector):
    weight, bias = named(weights, place)
    return weight @ vector + bias


def attention(weights, place, states, n_heads, padded):
    """RecBole's causal attention with residual and norm, for states [L, H]; padding is hidden from all others."""
    size = states.shape[1] // n_heads
    query, key, value = (
        np.stack([linear(weights, f"{place}.{part}", state) for state in states]) for part in ("query", "key", "value")
    )
    result = []
    for i in range(len(states)):
        heads = []
        for head in range(n_heads):
            part = slice(head * size, (head + 1) * size)
            seen = [j for j in range(i + 1) if not padded[j]]
            seen = seen or list(range(len(states)))  # padding alone before it: the mask hides all alike
            logits = np.array([query[i, part] @ key[j, part] / sqrt(size) for j in seen])
            shares = np.exp(logits - logits.max())
            heads.append(sum(share * value[j, part] for share, j in zip(shares / shares.sum(), seen)))
        attended = linear(weights, f"{place}.dense", np.concatenate(heads))
        result.append(norm(states[i] + attended, *named(weights, f"{place}.LayerNorm")))
    return np.stack(result)


def feed_forward(weights, place, state):
    inner = gelu(linear(weights, f"{place}.dense_1", state))
    return norm(state + linear(weights, f"{place}.dense_2", inner), *named(weights, f"{place}.LayerNorm"))
