"""Ratings from a vector of the user and one of the item: their product, or a perceptron over both."""

from itertools import pairwise

import torch
from torch import nn

#: bound of the perceptron's first weights, drawn evenly, and its hidden layers: those of PEPLER's code.
INITIAL, HIDDEN_LAYERS = 0.1, 3


class RatingHead(nn.Module):
    """Predicts the mean rating of training plus what the two vectors say.

    Letters: B pairs, H width of a vector.

    Args:
        ratings: those of training, as numbers.
        width: H.
        hidden_size: of the perceptron's layers, with sigmoids between them; 0: the product of the vectors.
    """

    def __init__(self, ratings, width, hidden_size=0):
        super().__init__()
        ratings = torch.as_tensor(ratings, dtype=torch.float64)
        self.register_buffer("mean", ratings.mean().float())
        self.register_buffer("scale", torch.stack([ratings.min(), ratings.max()]).float())
        self.perceptron = None
        if hidden_size:
            layers = [nn.Linear(*sizes) for sizes in pairwise([2 * width, *[hidden_size] * HIDDEN_LAYERS, 1])]
            for layer in layers:
                nn.init.uniform_(layer.weight, -INITIAL, INITIAL)
                nn.init.zeros_(layer.bias)
            activated = [part for layer in layers for part in (layer, nn.Sigmoid())]
            self.perceptron = nn.Sequential(*activated[:-1])

    def forward(self, user, item):
        """Predicted ratings ``[B]`` of vectors ``[B, H]``; they may leave the scale."""
        if self.perceptron is not None:
            return self.mean + self.perceptron(torch.cat([user, item], -1))[..., 0]
        return self.mean + (user * item).sum(-1)

    def on_scale(self, ratings):
        """Ratings cut off at the lowest and the highest of training."""
        return ratings.clamp(self.scale[0], self.scale[1])
