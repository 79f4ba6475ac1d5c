"""BSARec: self-attention beside a filter that keeps the slow changes of a history and rescales the fast ones.

Reference: Yehjin Shin, Jeongwhan Choi, Hyowon Wi and Noseong Park. "An Attentive Inductive Bias for Sequential
Recommendation beyond the Self-Attention", AAAI 2024, arXiv 2312.10325; code: ``yehjin-shin/BSARec`` on GitHub.

A layer is ``X' = FFN(alpha * F(X) + (1 - alpha) * A(X))`` with self-attention A and the filter F, each with dropout, a
residual and a norm::

    low  = X cut to its lowest frequencies       F(X) = norm(X + dropout(low + beta^2 * (X - low)))

``alpha`` is ``frequency_weight``; the paper's ``c`` is ``low_frequencies``: the ``c // 2 + 1`` lowest frequencies of a
real Fourier transform along the window stay. ``beta`` is learned, a number for each dimension.

The transform is over the whole window of L = ``MAX_ITEM_LIST_LENGTH`` items, padded on the left, so that a position
sees those behind it too. The authors take the state of the last position alone, with a training window for each target.
``train_on`` chooses:

- ``last``: the authors' model. A window for each target, padding included in the transform, and positions counted from
  the end of the window. Equal to the published formulas (a test computes them with plain sums).
- ``all``: all positions of a history at once, with positions counted from its beginning. Cutting frequencies is a
  circular convolution with a fixed kernel. At the last position of a window it is a weighted sum over what came before,
  so for all positions together it is a product with one lower triangular matrix, which looks at nothing that comes
  later. In every layer and at every position the filter equals the authors' on the window of that layer's inputs that
  ends there, with zeros for padding. The inputs of the second layer differ from the authors': theirs have been filtered
  over the whole window, these up to their own position. With one layer, no position vectors and zeros for padding, both
  are the same model.

Deviations from the code: training has every target of a history, the code's the last L; the width of the feed-forward
layer is a setting (there 4 times the hidden size).
"""

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.layers import FeedForward, MultiHeadAttention
from torch import nn

from recbole_genrec.config.arguments import BSARecArguments
from recbole_genrec.model.all_positions import AllPositions


class BSARec(AllPositions, SequentialRecommender):
    """See the module's header.

    Raises:
        GenRecError: a setting is not accepted.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.arguments = BSARecArguments.from_config(config)
        width, epsilon = config["hidden_size"], config["layer_norm_eps"]
        self.item_embedding = nn.Embedding(self.n_items, width, padding_idx=0)
        self.position_embedding = nn.Embedding(self.max_seq_length, width)
        self.LayerNorm = nn.LayerNorm(width, eps=epsilon)
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])
        self.layers = nn.ModuleList(
            BSARecLayer(config, self.arguments.frequency_weight) for _ in range(config["n_layers"])
        )
        self.initializer_range = config["initializer_range"]
        self.apply(self._init_weights)
        kernel = low_pass_kernel(self.max_seq_length, self.arguments.low_frequencies)
        self.register_buffer("causal_filter", causal_filter(kernel), persistent=False)
        self._add_knowledge(config, dataset)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(std=self.initializer_range)
        if isinstance(module, nn.Linear):
            module.bias.data.zero_()

    def training_loader(self, config, train_dataset):
        """The loader of whole histories, or ``None`` for RecBole's with a row for each target."""
        return super().training_loader(config, train_dataset) if self.arguments.train_on == "all" else None

    def states(self, interaction, vectors):
        """State at every position; see :meth:`~recbole_genrec.model.all_positions.AllPositions.states`."""
        items = interaction[self.ITEM_SEQ]
        length = items.shape[1]
        triangle = self.causal_filter[:length, :length]
        return self._encode(items, vectors, lambda states: triangle @ states, self.context_of(interaction))

    def last_states(self, interaction, vectors):
        """State after the last item of each history ``[B, H]``."""
        if self.arguments.train_on == "all":
            return super().last_states(interaction, vectors)
        length, width = interaction[self.ITEM_SEQ_LEN], self.max_seq_length
        items = left_padded(interaction[self.ITEM_SEQ], length, width)
        context = self.context_of(interaction).moved(lambda table, fill: left_padded(table, length, width, fill))
        count = self.arguments.low_frequencies
        return self._encode(items, vectors, lambda states: low_pass(states, count), context)[:, -1]

    def calculate_loss(self, interaction):
        """Mean cross-entropy of the next item, over new targets or, with ``train_on: last``, the rows' own ones."""
        if self.arguments.train_on == "all":
            return super().calculate_loss(interaction)
        vectors = self.item_vectors()
        return self.loss_of(self.last_states(interaction, vectors), vectors, interaction[self.POS_ITEM_ID])

    def _encode(self, items, vectors, low_pass, context):
        """States ``[B, L, H]`` of items ``[B, L]``, padded on either side, where ``low_pass`` cuts frequencies."""
        position = torch.arange(items.shape[1], device=items.device)
        embedded = self.context_input(self.embedded(items, vectors) + self.position_embedding(position), context)
        states = self.dropout(self.LayerNorm(embedded))
        mask = self.context_input.mask(self.get_attention_mask(items), context)
        for layer in self.layers:
            states = layer(states, mask, low_pass)
        return states


class BSARecLayer(nn.Module):
    """A layer: the filter and self-attention, weighted, then the feed-forward layer.

    Args:
        config: RecBole's.
        frequency_weight: of the filter; the rest is attention's.
    """

    def __init__(self, config, frequency_weight):
        super().__init__()
        width, dropout, epsilon = config["hidden_size"], config["hidden_dropout_prob"], config["layer_norm_eps"]
        self.frequency_weight = frequency_weight
        self.filter = FrequencyFilter(width, dropout, epsilon)
        self.attention = MultiHeadAttention(config["n_heads"], width, dropout, config["attn_dropout_prob"], epsilon)
        self.feed_forward = FeedForward(width, config["inner_size"], dropout, config["hidden_act"], epsilon)

    def forward(self, states, mask, low_pass):
        """New states ``[B, L, H]`` of ``states [B, L, H]``; attention adds ``mask [B, 1 or A, L, L]``."""
        filtered, attended = self.filter(states, low_pass), self.attention(states, mask)
        return self.feed_forward(self.frequency_weight * filtered + (1 - self.frequency_weight) * attended)


class FrequencyFilter(nn.Module):
    """Low frequencies as they are, high ones rescaled by a learned number for each dimension."""

    def __init__(self, width, dropout, epsilon):
        super().__init__()
        self.beta = nn.Parameter(torch.randn(width))
        self.dropout, self.LayerNorm = nn.Dropout(dropout), nn.LayerNorm(width, eps=epsilon)

    def forward(self, states, low_pass):
        """Filtered states ``[B, L, H]``; ``low_pass`` gives the low frequencies of ``states [B, L, H]``."""
        low = low_pass(states)
        return self.LayerNorm(states + self.dropout(low + self.beta**2 * (states - low)))


def low_pass(states, count):
    """The part of ``states [B, L, H]`` in the ``count // 2 + 1`` lowest frequencies along L."""
    spectrum = torch.fft.rfft(states.float(), dim=1)
    kept = torch.arange(spectrum.shape[1], device=states.device) <= count // 2
    return torch.fft.irfft(spectrum * kept[:, None], n=states.shape[1], dim=1).to(states.dtype)


def low_pass_kernel(length, count):
    """What each position of a window of ``length`` adds to another in :func:`low_pass`, by distance ``[length]``."""
    impulse = torch.zeros(1, length, 1)
    impulse[0, 0] = 1
    return low_pass(impulse, count)[0, :, 0]


def causal_filter(kernel):
    """The lower triangular matrix ``[L, L]`` that weighs position j for position i by ``kernel[i - j]``."""
    position = torch.arange(len(kernel))
    distance = position[:, None] - position
    return torch.where(distance >= 0, kernel[distance.clamp(min=0)], 0.0)


def left_padded(items, length, width, fill=0):
    """Move histories ``[B, L]`` of ``length [B]`` items to the end of a window ``[B, width]``, ``fill`` before them."""
    place = torch.arange(width, device=items.device) - (width - length)[:, None]
    moved = items.gather(1, place.clamp(0, items.shape[1] - 1))
    return moved.masked_fill(place < 0, fill)
