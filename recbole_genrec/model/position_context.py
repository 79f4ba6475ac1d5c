"""What a model at all positions of a history knows of it beside items: times and values, as GenRec has them.

Values have learned vectors, which are added to the input at the item they belong to. Times are a bias in every
attention head (:mod:`recbole_genrec.backbone.time_bias`). Both begin at zero: without training they change nothing.

Letters: B rows, L positions of a history, H width, A heads.
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from recbole_genrec.backbone.time_bias import NO_TIME, CellTimes, TimeBias
from recbole_genrec.model.user_values import key_of, vectors_of
from recbole_genrec.model.value_vectors import ColumnVectors, ValueVectors


@dataclass
class PositionContext:
    """The context of a batch of histories.

    Attributes:
        values: numbers by column ``[B, L]``, NaN at padding.
        times: moments of the positions ``[B, L]``, :data:`~recbole_genrec.backbone.time_bias.NO_TIME` at padding;
            ``None``: time plays no part.
    """

    values: dict = field(default_factory=dict)
    times: CellTimes | None = None

    def moved(self, function):
        """The same with every table ``[B, L]`` given to a function of it and of what stands at padding."""
        values = {column: function(table, torch.nan) for column, table in self.values.items()}
        if self.times is None:
            return PositionContext(values)
        times = (self.times.known, self.times.gap, self.times.request_time)
        return PositionContext(values, CellTimes(*(function(table, NO_TIME) for table in times)))


class ContextInput(nn.Module):
    """What a context adds to a network of self-attention.

    Args:
        settings: :class:`~recbole_genrec.config.arguments.ContextArguments`.
        width: of the states, H.
        heads: attention heads, A.
        users: :class:`~recbole_genrec.model.user_values.UserValues`.
    """

    def __init__(self, settings, width, heads, users):
        super().__init__()
        self.value_vectors = ColumnVectors()
        for column in settings.columns:
            self.value_vectors[column] = ValueVectors(width)
        for name, column in users.columns.items():
            self.value_vectors[key_of(name)] = vectors_of(column, width)
        self.time_bias = TimeBias(heads, settings.kinds) if settings.kinds else None

    def forward(self, embedded, context):
        """Items' vectors ``[B, L, H]`` with those of their values added."""
        for column, vectors in self.value_vectors.items():
            embedded = embedded + vectors(context.values[column])
        return embedded

    def mask(self, mask, context):
        """What is added to attention's logits ``[B, 1, L, L]``, with the bias of time ``[B, A, L, L]`` where it is."""
        if self.time_bias is None:
            return mask
        return mask + self.time_bias(context.times, context.times.known)
