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

    Under autocast on a CPU it is computed in float32: torch's backward of bfloat16 takes several times as long there.
    """
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            wide = (states.float() for states in (query, key, value))
            return attend(module, *wide, attention_mask, branches, **kwargs)
    trunk = (states[:, :, : branches.trunk] for states in (query, key, value))
    bias = None if branches.bias is None else branches.bias.to(query.dtype)
    parts = [sdpa_attention_forward(module, *trunk, bias, **kwargs)[0]]
    for chunk in branches.chunks:
        keys, values = (
            torch.cat([states[:, :, : chunk.trunk], states[:, :, chunk.branch : chunk.stop]], 2)
            for states in (key, value)
        )
        queries = query[:, :, chunk.begin : chunk.stop]
        mask = chunk.mask[:, None] if chunk.mask.dtype == torch.bool else chunk.mask.to(query.dtype)
        parts.append(sdpa_attention_forward(module, queries, keys, values, mask, **kwargs)[0])
    return torch.cat(parts, 1), None


AttentionInterface.register(KERNEL, attend)
