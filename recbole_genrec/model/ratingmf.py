"""RatingMF: ratings predicted by matrix factorisation with biases, or by a perceptron.

Reference: Yehuda Koren, Robert Bell, Chris Volinsky. "Matrix Factorization Techniques for Recommender Systems", IEEE
Computer 42(8), 2009, equations 4 and 5. P5 (arXiv 2203.13366) and the study of ChatGPT (arXiv 2304.10149) compare their
predicted ratings with such a model (MF) and with a perceptron over the same vectors (MLP).

A rating is ``mu + b_u + b_i + q_i . p_u``, with ``mu`` the mean of the training ratings; with ``rating_model: mlp`` it
is ``mu + MLP([p_u, q_i])``. The loss of a rating is its squared error plus ``reg_weight`` times the squares of what the
prediction is made of.

Deviations from the paper: Adam over batches instead of stochastic gradient descent over single ratings, and
predictions are cut off at the lowest and the highest rating of training.
"""

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.layers import MLPLayers
from recbole.utils import InputType
from torch import nn

from recbole_genrec.interactions.text_columns import TextColumns


class RatingMF(GeneralRecommender):
    """RatingMF; see the module's header. It ranks nothing: its test gives RMSE and MAE.

    Letters: B rows of a batch, H the width of the vectors.
    """

    input_type = InputType.POINTWISE
    #: the runner evaluates it with ``mode: labeled``, on the interactions that have a rating.
    predicts_ratings = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.rating, width = config["RATING_FIELD"], config["embedding_size"]
        self.reg_weight = config["reg_weight"]
        self.user_vectors = nn.Embedding(self.n_users, width)
        self.item_vectors = nn.Embedding(self.n_items, width)
        for vectors in (self.user_vectors, self.item_vectors):
            nn.init.normal_(vectors.weight, std=0.1)
        self.perceptron = None
        if config["rating_model"] == "mlp":
            sizes = [2 * width, *config["mlp_hidden_size"]]
            self.perceptron = nn.Sequential(MLPLayers(sizes, config["dropout_prob"]), nn.Linear(sizes[-1], 1))
        else:
            self.user_bias = nn.Parameter(torch.zeros(self.n_users))
            self.item_bias = nn.Parameter(torch.zeros(self.n_items))
        ratings = dataset.inter_feat[self.rating].double()
        self.register_buffer("mean", ratings.mean().float())
        self.register_buffer("scale", torch.stack([ratings.min(), ratings.max()]).float())

    @classmethod
    def context_columns(cls, config):
        """The column of ratings, as the file has it."""
        return {config["RATING_FIELD"]: "RATING_FIELD"}

    @classmethod
    def text_columns(cls, config):
        """The same as texts, which tell where a rating is missing."""
        return TextColumns(interactions=(config["RATING_FIELD"],))

    def forward(self, users, items):
        """Predicted ratings ``[B]``, which may leave the scale.

        Args:
            users: user ids ``[B]``. items: item ids ``[B]``.
        """
        user, item = self.user_vectors(users), self.item_vectors(items)  # [B, H]
        if self.perceptron is not None:
            return self.mean + self.perceptron(torch.cat([user, item], -1))[:, 0]
        return self.mean + self.user_bias[users] + self.item_bias[items] + (user * item).sum(-1)

    def calculate_loss(self, interaction):
        """Mean over the ratings of a batch of their squared error with its penalty; a scalar."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        error = (interaction[self.rating] - self(users, items)).square()
        size = self.user_vectors(users).square().sum(-1) + self.item_vectors(items).square().sum(-1)
        if self.perceptron is None:
            size = size + self.user_bias[users].square() + self.item_bias[items].square()
        return (error + self.reg_weight * size).mean()

    def predict(self, interaction):
        """Predicted ratings ``[B]``, between the lowest and the highest of training."""
        rating = self(interaction[self.USER_ID], interaction[self.ITEM_ID])
        return rating.clamp(self.scale[0], self.scale[1])
