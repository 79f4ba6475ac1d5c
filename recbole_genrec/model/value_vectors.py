"""Vectors of numbers that come with an interaction, such as its rating."""

import numpy as np
import torch
from torch import nn

#: values, or ranges of values, that are told apart.
BINS = 64


class ValueVectors(nn.Module):
    """A learned vector for each value of a column, or for each of 64 ranges that are equally frequent in training.

    They start at zero: without training they change nothing.

    Args:
        width: of the vectors, H.
    """

    def __init__(self, width):
        super().__init__()
        self.register_buffer("bounds", torch.full((BINS - 1,), torch.finfo(torch.float64).max, dtype=torch.float64))
        self.table = nn.Embedding(BINS, width)
        nn.init.zeros_(self.table.weight)

    def fit(self, values):
        """Choose the ranges by the values of the training, an array ``[N]``."""
        distinct = np.unique(values).astype(np.float64)
        if len(distinct) > BINS:
            distinct = np.unique(np.quantile(values.astype(np.float64), np.linspace(0, 1, BINS), method="nearest"))
        bounds = (distinct[1:] + distinct[:-1]) / 2
        self.bounds[: len(bounds)] = torch.from_numpy(bounds)

    def forward(self, values):
        """The vectors ``[N, H]`` of values ``[N]``; a value on a bound belongs to the range above it."""
        return self.table(torch.bucketize(values.double(), self.bounds, right=True))
