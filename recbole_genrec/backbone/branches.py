"""Attention of packed sequences whose responses branch off a history, computed only where tokens can see each other.

With a dense mask, attention costs the square of the sequence length. Here the trunk is plainly causal, and branches are
processed in chunks of columns: each attends to the part of the trunk that it can see, and to its branches.

Letters: W windows, T tokens of a sequence, Q queries of a chunk, K keys that it may see.
"""

from dataclasses import dataclass

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

#: name under which ``transformers`` finds :func:`attend`.
KERNEL = "trunk_and_branches"


@dataclass
class BranchChunk:
    """A block of columns ``begin`` to ``stop`` of branch tokens, and the columns that they may see.

    The mask ``[W, Q, K]`` says which columns a token sees: Q are the columns ``begin`` to ``stop``; K are the first
    ``trunk`` columns of the trunk, then the columns ``branch`` to ``stop`` of branches. With a bias it holds numbers
    ``[W, A, Q, K]`` that are added in each head.
    """

    begin: int
    stop: int
    trunk: int
    branch: int
    mask: torch.Tensor


@dataclass
class BranchMask:
    """Attention mask of a packed batch: a causal trunk in the first ``trunk`` columns, then chunks of branches.

    ``bias [W, A, trunk, trunk]`` holds numbers that are added in each head of the trunk, causality among them.
    """

    trunk: int
    chunks: list
    bias: torch.Tensor | None = None


def attend(module, query, key, value, attention_mask, branches, **kwargs):
    """Attention function of ``transformers`` for a :class:`BranchMask`; the other arguments are those of SDPA.

    Keys beyond the queries are those of virtual tokens, before all others: every token sees them.

    Under autocast on a CPU it is computed in float32: torch's backward of bfloat16 takes several times as long there.
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            wide = (states.float() for states in (query, key, value))
            return attend(module, *wide, attention_mask, branches, **kwargs)
    virtual, trunk = key.shape[2] - query.shape[2], branches.trunk
    mask = None if branches.bias is None else branches.bias.to(query.dtype)
    if virtual and mask is None:  # else SDPA's own causal mask
        mask = torch.ones(1, 1, trunk, trunk, dtype=torch.bool, device=query.device).tril()
    mask = None if mask is None else with_virtual(mask, virtual)
    states = query[:, :, :trunk], key[:, :, : virtual + trunk], value[:, :, : virtual + trunk]
    parts = [sdpa_attention_forward(module, *states, mask, **kwargs)[0]]
    for chunk in branches.chunks:
        keys, values = (
            torch.cat([s[:, :, : virtual + chunk.trunk], s[:, :, virtual + chunk.branch : virtual + chunk.stop]], 2)
            for s in (key, value)
        )
        queries = query[:, :, chunk.begin : chunk.stop]
        mask = chunk.mask[:, None] if chunk.mask.dtype == torch.bool else chunk.mask.to(query.dtype)
        mask = with_virtual(mask, virtual)
        parts.append(sdpa_attention_forward(module, queries, keys, values, mask, **kwargs)[0])
    return torch.cat(parts, 1), None


def with_virtual(mask, count):
    """A mask ``[..., K]``, booleans or numbers to add, with ``count`` columns before the others that are seen."""
    seen = mask.new_ones if mask.dtype == torch.bool else mask.new_zeros
    return torch.cat([seen(*mask.shape[:-1], count), mask], -1) if count else mask


AttentionInterface.register(KERNEL, attend)
