"""PEPLER: a vector of the user and one of the item are the prompt of a language model that explains one to the other.

Reference: Lei Li, Yongfeng Zhang, Li Chen. "Personalized Prompt Learning for Explainable Recommendation", ACM TOIS
2023, arXiv 2202.07371.
Reference code: https://github.com/lileipisces/PEPLER

Both of the paper's ways to join untrained vectors with a pretrained model are here, and may be combined: sequential
tuning (``prompt_epochs``, the vectors alone first) and recommendation as regularisation (``rating_loss``, with
``rating_model: mf`` or ``mlp``).

Deviations from the paper and its code:

* The discrete prompts (PEPLER-D: features of user and item as words) are not here; ``explain_about`` puts one feature
  behind the two vectors, which is closer to PETER+.
* The explanation is the first sentence of the review, as of P5 here: the paper picks sentences with a tool that is not
  public.
* The mean rating of training is added to the predicted one, so that a product of small vectors starts at it.
* The loss of a batch's tokens is divided by its rows and by the mean length of a training text, which is constant;
  the code divides by the batch's tokens.
* Validation weighs the rating term as training does; the code does not. The second stage keeps the best loss of the
  first to compare with; the code forgets it.
* Unknown users and items have the mean of the trained vectors. A backbone may be any causal language model, or a small
  one from scratch; ``adapter: none`` trains all of it, as the paper does.
* Items can be ranked, by predicted rating, so that it stands in a table beside rankers; the paper does not.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.explanation_rows import (
    N_VECTORS,
    ExplanationBatch,
    ExplanationLoader,
    ExplanationWriter,
    Row,
)
from recbole_genrec.batches.tasks import TaskData
from recbole_genrec.batches.tokens import MIDDLE
from recbole_genrec.config.arguments import ExplanationArguments, P5Arguments, PEPLERArguments
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.unseen import SEEN
from recbole_genrec.model.abstract_recommender import GenerativeRecommender
from recbole_genrec.model.explaining import Explaining
from recbole_genrec.model.greedy_text import greedy_texts
from recbole_genrec.model.rating_head import RatingHead
from recbole_genrec.model.text_metrics import text_task_metrics
from recbole_genrec.model.without_identifiers import WithoutIdentifiers

#: bound of the first vectors of users and items, drawn evenly: the code's.
INITIAL = 0.1


class PEPLER(Explaining, WithoutIdentifiers, GenerativeRecommender):
    """PEPLER; see the module's header and :class:`GenerativeRecommender`.

    Letters: B rows, T cells, H hidden size, D predicted tokens.

    Attributes:
        settings: :class:`~recbole_genrec.config.arguments.PEPLERArguments`.
        data: :class:`~recbole_genrec.batches.tasks.TaskData`, the interactions with their ratings and reviews.
        writer: :class:`~recbole_genrec.batches.explanation_rows.ExplanationWriter`.
        user_vectors, item_vectors: the prompt, ``[n_users, H]`` and ``[n_items, H]``.
        trained_users, trained_items: whether training has them, booleans ``[n_users]`` and ``[n_items]``.
        rating_head: :class:`~recbole_genrec.model.rating_head.RatingHead`; ``None`` with ``rating_loss: 0``.
    """

    #: lists come from predicted ratings, which the language model has no part in.
    ranks_with_backbone = False
    not_exported = "PEPLER's prompt is a vector of a user and one of an item: it has no history to export."

    def __init__(self, config, dataset):
        self.settings, texts = PEPLERArguments.from_config(config), P5Arguments.from_config(config)
        self.longest_text = texts.max_target_tokens
        self.data = TaskData(dataset, self._columns(config), 1, 1, config["seed"])
        self._check_data(config, texts.review_field)
        self._read_features(config, dataset)
        super().__init__(config, dataset)
        self._add_vectors(dataset.user_num)
        # by name: spreading a model over processes replaces its parameters
        self._language_model = frozenset(n for n, p in self.backbone.named_parameters() if p.requires_grad)

    # ---- what the base class asks for ----

    @classmethod
    def _columns(cls, config):
        """The columns of interactions that it reads: reviews, ratings where they are learned, and features."""
        columns = {"review": P5Arguments.from_config(config).review_field}
        if PEPLERArguments.from_config(config).rating_loss:
            columns["rating"] = config["RATING_FIELD"] or "rating"
        if features := ExplanationArguments.from_config(config).feature_field:
            columns["features"] = features
        return columns

    @classmethod
    def text_columns(cls, config):
        """See the base class; also ratings, reviews and features."""
        return super().text_columns(config)._replace(interactions=tuple(cls._columns(config).values()))

    def _check_data(self, config, review_field):
        """Refuse a training part without texts, or without the ratings that a loss asks for."""
        missing = [f for f in self._columns(config) if f in ("review", "rating") and not self._has(f)]
        if "review" in missing:
            raise GenRecError(
                f"PEPLER learns to explain from reviews, but the training interactions of {config['dataset']!r} have "
                f"no text in the column {review_field!r}. Name the column of reviews in 'review_field'."
            )
        if "rating" in missing:
            raise GenRecError(
                f"'rating_loss' ({self.settings.rating_loss:g}) needs ratings, but the training interactions of "
                f"{config['dataset']!r} have none in the column {self._columns(config)['rating']!r}. Name the column "
                "in 'RATING_FIELD', or set 'rating_loss: 0'."
            )

    def _has(self, field):
        return field in self.data.texts and bool((self.data.texts[field][self.data.seen] != "").any())

    def _load_prompts(self, stored=None):
        """It reads no template."""

    def prompt_settings(self):
        """What stands before a text, as it is kept in a checkpoint."""
        return {"prompt": ["user", "item", "feature"], "explain_about": self.about.explain_about}

    def _fixed_texts(self):
        return self.data.texts["explanation"][self.data.seen].tolist()

    def _encode_pieces(self, backbone, texts, follows):
        return backbone.encode_many(texts if follows else [f" {text}" for text in texts], MIDDLE)

    def _lay_out(self):
        longest = self.arguments["prompt"].max_prompt_tokens
        self.writer = ExplanationWriter(self.backbone, longest, self.longest_text)
        self.trie = build_trie(self.catalogue.identifiers, self.backbone.eos_id)  # titles: for the statistics alone
        _, texts = self.writer.tokens([row for row in self._rows(self.data.seen) if row.text])
        #: tokens of a training text, on average
        self.mean_length = sum(map(len, texts)) / len(texts)

    def _add_vectors(self, n_users):
        width, seen = self.backbone.hidden_size, self.data.seen
        for name, count, ids in (
            ("user", n_users, self.data.store.users[seen]),
            ("item", self.n_items, self.data.items[seen]),
        ):
            vectors = nn.Embedding(count, width)
            nn.init.uniform_(vectors.weight, -INITIAL, INITIAL)
            self.add_module(f"{name}_vectors", vectors)
            known = torch.zeros(count, dtype=torch.bool)
            known[torch.from_numpy(ids)] = True
            self.register_buffer(f"trained_{name}s", known)
        self.rating_head = None
        if self.ranks:
            ratings = [float(text) for text in self.data.texts["rating"][seen] if text]
            perceptron = self.settings.rating_hidden_size if self.settings.rating_model == "mlp" else 0
            self.rating_head = RatingHead(ratings, width, perceptron)

    @property
    def ranks(self):
        """Whether ratings are predicted, by which items are ranked."""
        return self.settings.rating_loss > 0

    # ---- training ----

    def freeze_language_model(self, frozen):
        """Train the vectors (and the ratings' perceptron) alone, or everything that is trainable."""
        for name, parameter in self.backbone.named_parameters():
            if name in self._language_model:
                parameter.requires_grad_(not frozen)

    def _rows(self, places):
        """The :class:`~recbole_genrec.batches.explanation_rows.Row` of interactions, by their places in the store."""
        texts, nothing = self.data.texts, [""] * len(places)
        columns = [texts[f][places] if f in texts else nothing for f in ("feature", "explanation", "rating")]
        users, items = self.data.store.users[places].tolist(), self.data.items[places].tolist()
        return list(map(Row, users, items, *columns))

    def training_loader(self, config, train_dataset):
        """The loader of all training interactions that have a text, or a rating that is learned."""
        rows = [row for row in self._rows(self.data.seen) if row.text or row.rating]
        settings = EpochSettings(config["seed"], config["train_batch_size"], shuffle=config["shuffle"] is not False)
        return ExplanationLoader(self.writer, rows, train_dataset, settings)

    def pack_interaction(self, interaction):
        """Write RecBole's rows; of a pair with several interactions in training, the last one.

        Raises:
            GenRecError: training does not have a pair.
        """
        seen = self.data.seen
        place = dict(zip(zip(self.data.store.users[seen].tolist(), self.data.items[seen].tolist()), seen.tolist()))
        pairs = list(zip(interaction[self.USER_ID].tolist(), interaction[self.ITEM_ID].tolist()))
        if unknown := [pair for pair in pairs if pair not in place]:
            raise GenRecError(f"PEPLER: user {unknown[0][0]} and item {unknown[0][1]} have no training interaction.")
        return self.writer.write(self._rows([place[pair] for pair in pairs])).to(self.compute_device)

    def _vectors(self, kind, ids):
        """Vectors ``[B, H]`` of users or items; the mean of those that training has for those that it has not."""
        table, known = (getattr(self, name) for name in (f"{kind}_vectors", f"trained_{kind}s"))
        found, known_ids = table(ids), known[ids]
        if known_ids.all():
            return found
        return torch.where(known_ids[:, None], found, table.weight[known].mean(0))

    def embed_rows(self, batch):
        """Input embeddings ``[B, T, H]``: the two vectors, then tokens."""
        user, item = self._vectors("user", batch.users), self._vectors("item", batch.items)
        tokens = self.backbone.embed(batch.input_ids[:, N_VECTORS:])
        return torch.cat([torch.stack([user, item], 1).to(tokens.dtype), tokens], 1)

    def forward(self, users, items):
        """Predicted ratings ``[B]``, which may leave the scale.

        Args:
            users, items: ids ``[B]``.

        Raises:
            GenRecError: ``rating_loss`` is 0.
        """
        self._check_ranks()
        return self.rating_head(self._vectors("user", users), self._vectors("item", items))

    def _check_ranks(self):
        if not self.ranks:
            raise GenRecError("PEPLER with 'rating_loss: 0' predicts no ratings, by which it would rank items.")

    def calculate_loss(self, batch):
        """Mean over rows of a text's negative log-likelihood, over its mean length in training, and of squared errors.

        The errors are those of predicted ratings, times ``rating_loss``.

        Args:
            batch: :class:`~recbole_genrec.batches.explanation_rows.ExplanationBatch`, or RecBole's interaction.

        Returns:
            A scalar.
        """
        if not isinstance(batch, ExplanationBatch):
            batch = self.pack_interaction(batch)
        text, rating = self._losses(batch)
        return (text + self.settings.rating_loss * rating) / len(batch.users)

    def _losses(self, batch):
        """Sums over rows: of negative log-likelihoods over the mean length of texts, of squared errors of ratings."""
        hidden = self.backbone(self.embed_rows(batch)).flatten(0, 1)[batch.cell]
        text = cross_entropy(self.backbone.logits(hidden), batch.label, reduction="sum") / self.mean_length
        if not self.ranks:
            return text, 0.0
        error = (self(batch.users, batch.items) - batch.rating).square()
        return text, (error * batch.rated).sum()

    @torch.no_grad()
    def validation_loss(self, places, batch_size):
        """The loss of interactions, by their places in the store, without dropout; every process does its share."""
        self.eval()
        total = 0.0
        rows = [row for row in self._rows(places) if row.text or row.rating]
        own = [rows[number] for number in current().block(len(rows))]
        for start in range(0, len(own), batch_size):
            batch = self.writer.write(own[start : start + batch_size]).to(self.compute_device)
            total += float(self.calculate_loss(batch)) * len(batch.users)
        total, count = current().total([total, len(own)])
        if not count:
            raise GenRecError("No interaction to validate on has a review or a rating: 'eval_step: 0' does without.")
        return total / count

    # ---- ratings ----

    @torch.no_grad()
    def predict(self, interaction):
        """Predicted rating of each row's user and item ``[B]``; it may leave the scale."""
        ratings = self(interaction[self.USER_ID], interaction[self.ITEM_ID])
        _check_finite(ratings)
        return ratings

    @torch.no_grad()
    def full_sort_predict(self, interaction):
        """Predicted ratings of the whole catalogue ``[B, n_items]``, -inf for what is left out."""
        self._check_ranks()
        users = self._vectors("user", interaction[self.USER_ID])
        items = self._vectors("item", torch.arange(self.n_items, device=users.device))
        scores = torch.stack([self.rating_head(user.expand_as(items), items) for user in users])
        _check_finite(scores)
        scores[:, 0] = -torch.inf
        if SEEN in interaction:
            scores = scores.scatter(1, interaction[SEEN].to(scores.device), -torch.inf)
        self._count(scores[:, 1:].topk(self.k).indices + 1)
        return scores

    # ---- texts ----

    @torch.no_grad()
    def evaluate_tasks(self, dataset, config, ranked, evaluate_ranking):
        """Test predicted ratings and explanations on the rows and under the names that P5 has.

        Args:
            dataset: the part of the split to test on. config: RecBole's configuration.
            ranked, evaluate_ranking: see :meth:`~recbole_genrec.model.task_tests.TaskTests.evaluate_tasks`; not needed.

        Returns:
            By family, ``rating`` and ``explanation``, and ``seen``, its metrics.
        """
        self.eval()
        found, places = {}, dataset.inter_feat.place
        size = config["eval_batch_size"]
        for family, predict in (("rating", self._rate), ("explanation", self._explain)):
            if family not in self.data.texts:
                continue
            truth = self.data.texts[family]
            tested = [place for place in places.tolist() if truth[place]]
            kind, result = "seen", {"examples": 0}
            if tested:
                rows = self._rows(tested)
                batches = [rows[start : start + size] for start in range(0, len(rows), size)]
                predicted = [answer for batch in current().map(predict, batches) for answer in batch]
                result = text_task_metrics(family, predicted, [truth[place] for place in tested], config)
            if family == "explanation":
                kind = self.explanation_kind(kind)
                result |= self.measure_explanations(predicted, tested) if tested else {}
            found[family] = {kind: result}
        return found

    @torch.no_grad()
    def _rate(self, rows):
        pairs = torch.tensor([(row.user, row.item) for row in rows], device=self.compute_device)
        return self.rating_head.on_scale(self(*pairs.T)).cpu().numpy()

    def _explain(self, rows):
        return self.generate([row._replace(text="") for row in rows])

    def write_explanations(self, users, items, abouts):
        """See the base class."""
        return self.generate([Row(*asked, text="", rating="") for asked in zip(users, items, abouts, strict=True)])

    @torch.no_grad()
    def generate(self, rows):
        """Explanations of rows, token by token the likeliest; a list of texts.

        Raises:
            GenRecError: a logit is not finite.
        """
        batch = self.writer.write(rows).to(self.compute_device)
        return greedy_texts(self.backbone, self.embed_rows(batch), batch.lengths, self.longest_text)


def _check_finite(ratings):
    """Refuse predicted ratings that are no numbers."""
    if not torch.isfinite(ratings).all():
        raise GenRecError(
            f"PEPLER predicts a rating of {ratings[~torch.isfinite(ratings)][0].item()}: a vector of a user or an item "
            "is not finite. Nothing is ranked by it."
        )
