"""HSTU: attention without a softmax, gated, with learned biases of distance in positions and in time.

Reference: Jiaqi Zhai et al. "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
Recommendations", ICML 2024, arXiv 2402.17152, section 3; the research code ``meta-recsys/generative-recommenders`` on
GitHub (``research/modeling/sequential/hstu.py``), whose choices hold where the paper is silent.

The input is ``sqrt(H) * item + position``, with dropout. A layer, with N = ``MAX_ITEM_LIST_LENGTH``::

    U, V, Q, K = split(silu(norm(X) W))
    A[i, j] = silu(Q[i] K[j] + p[i - j] + t[bucket(time(i) - time of j)]) / N,   j <= i, else 0
    X' = X + dropout(norm(A V) * U) O

by heads, but for p and t, which the heads of a layer share. Norms have no weights; attention has no dropout. A bucket
is ``floor(log(seconds, at least 1) / 0.301)``, at most 128. ``time_bias`` says what ``time(i)`` is:

- ``request_time``: the next item's time, at the last position the target's: the authors' choice. The model then knows
  the moment it is asked at, as in production, where it is now. Its rows of a table are not comparable with those of
  models that do not know it.
- ``gap``: the time of item i itself, the last one known.
- ``none``: no t; time is not read at all.

Deviations: the loss is the cross-entropy over the whole catalogue, for every model of this kind (authors: sampled
softmax with 128 or 512 negatives). ``similarity: dot`` compares the normed state with item vectors as they are, one of
the authors' output norms; ``cosine`` with ``temperature: 0.05`` is what they report. Q, K, U and V are as wide as the
states, as in their large configurations. ``context`` adds vectors of values, such as ratings, to the input.
"""

import torch
import torch.nn.functional as F
from recbole.model.abstract_recommender import SequentialRecommender
from torch import nn

from recbole_genrec.config.arguments import ContextArguments, HSTUArguments
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.context_columns import EXACT_TIME
from recbole_genrec.model.all_positions import AllPositions

#: the bucket of the longest times; the first is 0.
LAST_BUCKET = 128
#: width of a bucket, in the natural logarithm of seconds.
BUCKET_WIDTH = 0.301


class HSTU(AllPositions, SequentialRecommender):
    """See the module's header.

    Raises:
        GenRecError: a setting is not accepted.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.arguments = HSTUArguments.from_config(config)
        self.width, self.epsilon = config["hidden_size"], config["layer_norm_eps"]
        self.item_embedding = nn.Embedding(self.n_items, self.width, padding_idx=0)
        self.position_embedding = nn.Embedding(self.max_seq_length, self.width)
        for embedding, std in ((self.item_embedding, config["initializer_range"]), (self.position_embedding, None)):
            std = self.width**-0.5 if std is None else std
            nn.init.trunc_normal_(embedding.weight, std=std, a=-2 * std, b=2 * std)
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])
        timed = self.arguments.time_bias != "none"
        self.layers = nn.ModuleList(HSTULayer(config, timed) for _ in range(config["n_layers"]))
        self._add_knowledge(config, dataset)

    @classmethod
    def check_settings(cls, config):
        """See the base class; also refuses ``context`` for times."""
        super().check_settings(config)
        if kinds := ContextArguments.from_config(config).kinds:
            raise GenRecError(f"HSTU knows time by 'time_bias: {kinds[-1]}': its 'context' takes columns of values.")

    @classmethod
    def context_columns(cls, config):
        """Exact times, unless the model knows of none, and columns of values."""
        timed = HSTUArguments.from_config(config).time_bias != "none"
        return super().context_columns(config) | ({EXACT_TIME: "time_bias"} if timed else {})

    def states(self, interaction, vectors):
        """State at every position; see :meth:`~recbole_genrec.model.all_positions.AllPositions.states`."""
        items = interaction[self.ITEM_SEQ]
        position = torch.arange(items.shape[1], device=items.device)
        states = self.embedded(items, vectors) * self.width**0.5 + self.position_embedding(position)
        states = self.context_input(states, self.context_of(interaction))
        states = self.dropout(states) * (items != 0)[:, :, None]
        distance = position[:, None] - position  # [L, L]
        buckets = self._time_buckets(interaction)
        for layer in self.layers:
            states = layer(states, distance, buckets)
        return states

    def _time_buckets(self, interaction):
        """Bucket of the time between the moment of each position and each item ``[B, L, L]``, or ``None``."""
        if self.arguments.time_bias == "none":
            return None
        times = interaction[EXACT_TIME + self.list_suffix]
        asked = self.next_of(interaction, EXACT_TIME) if self.arguments.time_bias == "request_time" else times
        return time_buckets(asked[:, :, None] - times[:, None])

    def compared(self, states, vectors):
        """States and item vectors as ``similarity`` compares them."""
        if self.arguments.similarity == "cosine":
            return F.normalize(states, dim=-1) / self.arguments.temperature, F.normalize(vectors, dim=-1)
        return F.layer_norm(states, (self.width,), eps=self.epsilon), vectors


class HSTULayer(nn.Module):
    """A layer; see the module's header.

    Args:
        config: RecBole's.
        timed: whether attention has a bias of time.
    """

    def __init__(self, config, timed):
        super().__init__()
        width, std = config["hidden_size"], config["initializer_range"]
        self.n_heads, self.epsilon = config["n_heads"], config["layer_norm_eps"]
        self.longest = config["MAX_ITEM_LIST_LENGTH"]
        self.inputs = nn.Linear(width, 4 * width, bias=False)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])
        self.position_bias = nn.Parameter(torch.empty(self.longest).normal_(std=std))
        self.time_bias = nn.Parameter(torch.empty(LAST_BUCKET + 1).normal_(std=std)) if timed else None
        self.inputs.weight.data.normal_(std=std)
        nn.init.xavier_uniform_(self.output.weight)

    def forward(self, states, distance, buckets):
        """New states.

        Args:
            states: ``[B, L, H]``.
            distance: of each position to each other, in positions, negative to later ones ``[L, L]``.
            buckets: of the time between them ``[B, L, L]``, or ``None``.

        Returns:
            ``[B, L, H]``.
        """
        gate, *heads = F.silu(self.inputs(self._norm(states))).chunk(4, -1)
        # [B, L, H] -> [B, heads, L, H / heads]
        value, query, key = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in heads)
        bias = self.position_bias[distance.clamp(min=0)]
        if buckets is not None:
            bias = (bias + self.time_bias[buckets])[:, None]
        weights = F.silu(query @ key.mT + bias) / self.longest * (distance >= 0)  # [B, heads, L, L]
        attended = (weights @ value).transpose(1, 2).flatten(2)
        return states + self.output(self.dropout(self._norm(attended) * gate))

    def _norm(self, states):
        return F.layer_norm(states, states.shape[-1:], eps=self.epsilon)


def time_buckets(seconds):
    """Bucket of each of some times, whole numbers, regardless of the sign; the same shape."""
    return (seconds.abs().clamp(min=1).log() / BUCKET_WIDTH).long().clamp(max=LAST_BUCKET)
