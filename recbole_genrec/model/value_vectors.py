"""Vectors of numbers that come with an interaction, such as its rating."""

import numpy as np
import torch
from torch import nn

#: values, or ranges of values, that are told apart.
BINS = 64


class ColumnVectors(nn.ModuleDict):
    """Modules by column, whatever a column is called: torch takes no names with dots, and none of its attributes."""

    def __init__(self):
        super().__init__()
        self._names = {}

    def __setitem__(self, column, module):
        plain = column and "." not in column and not hasattr(nn.ModuleDict(), column)
        self._names[column] = column if plain else f"column {column.encode().hex()}"
        super().__setitem__(self._names[column], module)

    def __getitem__(self, column):
        return super().__getitem__(self._names[column])

    def items(self):
        """Columns and their modules."""
        return [(column, self[column]) for column in self._names]


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
        """Choose the ranges by the values of the training, an array ``[N]``; NaN counts for nothing."""
        values = values[~np.isnan(values)]
        distinct = np.unique(values).astype(np.float64)
        if len(distinct) > BINS:
            distinct = np.unique(np.quantile(values.astype(np.float64), np.linspace(0, 1, BINS), method="nearest"))
        bounds = (distinct[1:] + distinct[:-1]) / 2
        self.bounds[: len(bounds)] = torch.from_numpy(bounds)

    def forward(self, values):
        """The vectors ``[..., H]`` of values ``[...]``; a value on a bound belongs to the range above it.

        A value that is missing, NaN, has the vector zero.
        """
        missing = values.isnan()
        vectors = self.table(torch.bucketize(values.double().masked_fill(missing, 0), self.bounds, right=True))
        return vectors.masked_fill(missing[..., None], 0)


class CategoryVectors(nn.Module):
    """A learned vector for each of some categories, which are numbered from 0; they start at zero.

    Args:
        count: of the categories.
        width: of the vectors, H.
    """

    def __init__(self, count, width):
        super().__init__()
        self.table = nn.Embedding(max(count, 1), width)
        nn.init.zeros_(self.table.weight)

    def forward(self, numbers):
        """The vectors ``[..., H]`` of numbers ``[...]``; NaN, an unknown category, has the vector zero."""
        missing = numbers.isnan()
        return self.table(numbers.masked_fill(missing, 0).long()).masked_fill(missing[..., None], 0)
