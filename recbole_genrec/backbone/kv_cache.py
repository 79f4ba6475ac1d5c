"""Keys and values for searches: prompts first, then many small forwards, each over some of the prompts.

The cache of ``transformers`` copies its whole content at every forward and computes all rows. Here new columns are
written into preallocated space, and a forward only reads the selected rows.

Letters: R rows, A heads, C columns, T new tokens, D size of a head.
"""

import inspect
from functools import cache
from itertools import chain

import torch
from torch.nn.functional import pad
from transformers import DynamicCache

#: preallocated columns beyond the prompts; doubled when they run out.
SPARE = 64


@cache
def cache_argument(model_class):
    """Name of the argument by which ``forward`` of a class of ``transformers`` takes its cache.

    It is ``past_key_values`` before transformers 5.24 and ``cache`` from then on; the old name warns there, and ends
    with 5.40. Code that comes with a checkpoint may keep the old name, so the class itself is asked.
    """
    return "cache" if "cache" in inspect.signature(model_class.forward).parameters else "past_key_values"


class TreeCache(DynamicCache):
    """Keys and values of all layers, a row for each prompt.

    Where a row has no token for a column, it holds zeros or a padding token; the mask has to hide both.

    Args:
        n_rows: prompts.
        width: columns that :class:`PromptBody` fills, the first ones.
        virtual: keys and values of virtual tokens by layer, which get columns before those: see
            :func:`~recbole_genrec.backbone.virtual_tokens.virtual_states`.
    """

    def __init__(self, n_rows, width, virtual=()):
        super().__init__()
        self.n_rows, self.virtual, self.rows = n_rows, virtual, None
        self.n_virtual = virtual[0][0].shape[2] if virtual else 0
        self.width = self.n_virtual + width
        self._layers = {}

    def layer(self, number):
        """The two :class:`_Columns` of a layer: keys and values."""
        if number not in self._layers:
            first = self.virtual[number] if self.virtual else (None, None)
            self._layers[number] = tuple(_Columns(self.n_rows, self.width, states) for states in first)
        return self._layers[number]

    def select(self, rows):
        """Select the rows ``[R]`` of the next forwards; ``None`` selects all."""
        self.rows = rows

    def rewind(self):
        """Forget all columns but those of the prompts: their last token is in the one after the first ``width``."""
        for columns in chain.from_iterable(self._layers.values()):
            columns.used = self.width + 1

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        """Append ``[R, A, T, D]`` and return the selected rows of all columns; called by the model's attention."""
        keys, values = self.layer(layer_idx)
        return keys.append(key_states, self.rows), values.append(value_states, self.rows)


class _Columns:
    """One tensor ``[R, A, C, D]`` whose first ``used`` columns count. Every row begins with ``first [1, A, V, D]``."""

    def __init__(self, n_rows, used, first=None):
        self.n_rows, self.used, self.first, self.tensor = n_rows, used, first, None

    def append(self, new, rows):
        begin, self.used = self.used, self.used + new.shape[2]
        tensor = self._with_room_for(new)
        if rows is None:
            tensor[:, :, begin : self.used] = new
            return tensor[:, :, : self.used]
        tensor[rows, :, begin : self.used] = new
        return tensor[rows, :, : self.used]

    def put(self, new, rows):
        begin = 0 if self.first is None else self.first.shape[2]
        self._with_room_for(new)[rows, :, begin : begin + new.shape[2]] = new

    def _with_room_for(self, new):
        if self.tensor is None:
            _, heads, _, size = new.shape
            self.tensor = new.new_zeros(self.n_rows, heads, self.used + SPARE, size)
            if self.first is not None:
                self.tensor[:, :, : self.first.shape[2]] = self.first
        elif self.used > self.tensor.shape[2]:
            room = self.used - self.tensor.shape[2] + self.used // 2
            self.tensor = pad(self.tensor, (0, 0, 0, room))
        return self.tensor


class PromptBody(DynamicCache):
    """Puts the keys and values of prompts into the first columns of a :class:`TreeCache`, and stops the forward there.

    Only the state of a prompt's last token is needed. The other tokens are finished as soon as the last layer has their
    keys and values: its attention and its feed-forward block, a good third of a model with two layers, need not run.
    Give this cache to a forward over all tokens but the last, and catch :class:`Filled`.

    Args:
        cache: the :class:`TreeCache`.
        rows: ``[R]``, the rows that the prompts belong to.
        n_layers: layers of the model.
    """

    def __init__(self, cache, rows, n_layers):
        super().__init__()
        self.cache, self.rows, self.last = cache, rows, n_layers - 1

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        """Store a layer's keys and values ``[R, heads, T, d]``; returns them as they are.

        Raises:
            Filled: the layer is the last one.
        """
        keys, values = self.cache.layer(layer_idx)
        keys.put(key_states, self.rows)
        values.put(value_states, self.rows)
        if layer_idx == self.last:
            raise Filled
        return behind(self.cache.virtual, layer_idx, key_states, value_states)


def behind(virtual, layer, *states):
    """Keys and values ``[R, A, T, D]`` of a layer behind those of virtual tokens, if there are any."""
    if not virtual:
        return states
    pairs = zip(virtual[layer], states)
    return tuple(torch.cat([first.to(new.dtype).expand(len(new), -1, -1, -1), new], 2) for first, new in pairs)


class VirtualCache(DynamicCache):
    """Puts virtual tokens before the tokens of one forward, and keeps nothing.

    Args:
        virtual: see :class:`TreeCache`.
    """

    def __init__(self, virtual):
        super().__init__()
        self.virtual = virtual

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        """``[R, A, V + T, D]`` of ``[R, A, T, D]``; called by the model's attention."""
        return behind(self.virtual, layer_idx, key_states, value_states)


class KeptStates(DynamicCache):
    """Takes the keys and values of one forward in ``states``, by layer, and stops it when the last layer has them.

    Args:
        n_layers: layers of the model.
    """

    def __init__(self, n_layers):
        super().__init__()
        self.states, self.last = [], n_layers - 1

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        """Keep a layer's keys and values ``[R, A, T, D]``; returns them as they are.

        Raises:
            Filled: the layer is the last one.
        """
        self.states.append((key_states, value_states))
        if layer_idx == self.last:
            raise Filled
        return key_states, value_states


class Filled(Exception):
    """Raised by :class:`PromptBody` and :class:`KeptStates` once the last layer's keys and values are stored."""
