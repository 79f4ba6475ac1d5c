"""A learned bias of time in every attention head.

What a token sees of another one is raised or lowered by how long ago that was: logarithmic buckets of the time between
the moment of the query and the moment of the key, as in HSTU (Zhai et al. 2024, arXiv 2402.17152, section 3.2) and, for
distances, in T5 (Raffel et al. 2020). One table serves all layers, a number for each bucket and head. Zero tables leave
attention as it is.

Letters: W rows, Q queries, K keys, A heads.
"""

from dataclasses import dataclass

import torch
from torch import nn

#: stands where a token belongs to no interaction, or its time is not known.
NO_TIME = -1
#: two for each doubling of the time, which is a whole number below 2 ** 63; the first is for no time.
BUCKETS = 128


def time_buckets(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Buckets of the time from keys to queries: 0 where one has no time, 1 where none has passed.

    Args:
        query: int64 ``[W, Q]``.
        key: int64 ``[W, K]``.

    Returns:
        ``[W, Q, K]``.
    """
    query, key = query[:, :, None], key[:, None]
    passed = (query - key).clamp_min(0)
    bucket = 1 + (2 * torch.log2(1 + passed.double())).long()
    return bucket.clamp_max(BUCKETS - 1).masked_fill((query == NO_TIME) | (key == NO_TIME), 0)


@dataclass
class CellTimes:
    """Moments of tokens, int64 ``[W, T]``, :data:`NO_TIME` where there is none.

    Attributes:
        known: of the interaction that the token belongs to; of an answer's tokens, when it is asked for.
        gap: of the newest interaction that is known where the token is a query.
        request_time: when what follows the token is asked for.
    """

    known: torch.Tensor
    gap: torch.Tensor
    request_time: torch.Tensor

    def __getitem__(self, index):
        return CellTimes(self.known[index], self.gap[index], self.request_time[index])


def causal_bias(time_bias, times):
    """The bias of tokens that see themselves and those before them ``[W, A, T, T]``, and what hides the others."""
    width = times.known.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=times.known.device).tril()[None]
    return time_bias.masked(times, times.known, causal)


class TimeBias(nn.Module):
    """The bias.

    Args:
        heads: attention heads, A.
        kinds: which moments of queries count: ``gap``, ``request_time`` or both; see :class:`CellTimes`.
    """

    def __init__(self, heads: int, kinds: tuple[str, ...]) -> None:
        super().__init__()
        self.kinds = kinds
        self.tables = nn.ModuleDict({kind: nn.Embedding(BUCKETS, heads) for kind in kinds})
        for table in self.tables.values():
            nn.init.zeros_(table.weight)

    def forward(self, query: CellTimes, key: torch.Tensor) -> torch.Tensor:
        """The bias ``[W, A, Q, K]`` of queries ``[W, Q]`` for keys that are known since ``key [W, K]``."""
        # indexing, not the module: its gradient of many lookups in few rows takes a tenth of the time on a CPU
        parts = [self.tables[kind].weight[time_buckets(getattr(query, kind), key)] for kind in self.kinds]
        return torch.stack(parts).sum(0).permute(0, 3, 1, 2)

    def masked(self, query: CellTimes, key: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """The bias where a key is ``seen [W, Q, K]`` (or broadcast), and what hides it elsewhere."""
        bias = self(query, key)
        return bias.masked_fill(~seen[:, None], torch.finfo(bias.dtype).min)
