"""UniTRec: a BART reads a history item by item, then as a whole, and scores each candidate's text in two ways.

Reference: Zhiming Mao et al. "UniTRec: A Unified Text-to-Text Transformer and Joint Contrastive Learning Framework for
Text-based Recommendation", ACL 2023, arXiv 2305.15756.
Reference code: https://github.com/Veason-silverbullet/UniTRec

In the encoder's first ``local_layers`` layers a token sees its own item alone, in the others the whole history. The
decoder is fed a candidate's text. Its state at the end token gives the discriminative score; the mean log-likelihood
of the text's tokens, the negative logarithm of its perplexity, gives the other, times a learned temperature. Both are
trained by the cross-entropy of the target among the candidates; a list is ranked by the mean of both ranks.

As in the code: histories are written newest item first, each item closed by an end token, and tokens have learned
vectors of their places in their items, which begin at zero, beside BART's own of their places in the history.

Deviations from the paper and its code:

* There are no impressions: negatives are drawn from the items that the user has not interacted with in training.
* The likelihood of a text is that of all its tokens, the end included. The code leaves out the end and stop words.
* ``rank_by: mean_rank`` is the code's ``ordinal``. ``sum`` is its ``normalized``, except that the likelihood keeps the
  temperature of training.
* An old item that does not fit as a whole is dropped; the code cuts it.
* T5's family works, too; its relative places come on top of those in the items.
* ``targets_per_user`` draws next items of a user in each epoch; 0 takes all.
"""

from logging import getLogger

import numpy as np
import torch
from recbole.utils import EvaluatorType
from torch.nn.functional import cross_entropy

from recbole_genrec.backbone.loading import read_seq2seq
from recbole_genrec.backbone.seq2seq import LocalAttention
from recbole_genrec.batches.candidates import CandidateBatch, CandidateLoader, CandidateWriter, UnseenItems
from recbole_genrec.batches.epoch_loader import epoch_settings
from recbole_genrec.batches.layout import moved
from recbole_genrec.batches.sequence_loader import SequenceDraws
from recbole_genrec.config.arguments import UniTRecArguments
from recbole_genrec.decoding.after_items import score_and_read_catalogue, score_and_read_pairs
from recbole_genrec.decoding.finite import check_scores
from recbole_genrec.decoding.mean_rank import places_by_mean_rank
from recbole_genrec.decoding.ragged import rank_within
from recbole_genrec.decoding.tree import prompt_tree
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.interactions.unseen import SEEN
from recbole_genrec.model.sequence_recommender import SequenceRecommender
from recbole_genrec.model.without_identifiers import WithoutIdentifiers

#: items above which a ranking of the whole catalogue is warned about.
MANY_ITEMS = 5_000
#: standard deviation of the discriminative head's weights at first, and bounds of the temperature, as in the code.
_HEAD_STD, _LEAST, _MOST = 0.02, 0.01, 100.0


class UniTRec(WithoutIdentifiers, SequenceRecommender):
    """UniTRec; see the module's header and :class:`SequenceRecommender`.

    Attributes:
        settings: :class:`~recbole_genrec.config.arguments.UniTRecArguments`.
        writer: :class:`~recbole_genrec.batches.candidates.CandidateWriter`.
        head: the discriminative score of a state.
        temperature: factor of the mean log-likelihood.
        places: one vector for each place of a token in its item.
        ranks_lists: whether :meth:`predict` ranks the candidates of a user, which it then has to get together.
    """

    scores_are_log_probabilities = False
    not_exported = "UniTRec ranks by a head beside the language model: its prompts cannot be exported."
    own_engine = {"packing": False, "train_batch_tokens": 0}

    def __init__(self, config, dataset):
        self.settings = UniTRecArguments.from_config(config)
        self.ranks_lists = self.settings.rank_by == "mean_rank"
        if self.ranks_lists and config["eval_type"] == EvaluatorType.VALUE:
            raise GenRecError(
                "'rank_by: mean_rank' compares the candidates of a list, and 'mode: labeled' has none: use 'rank_by: "
                "sum', or one score alone."
            )
        super().__init__(config, dataset)
        self.rows_at_once = config["eval_batch_size"]
        self.head = torch.nn.Linear(self.backbone.hidden_size, 1, bias=False)
        torch.nn.init.normal_(self.head.weight, std=_HEAD_STD)
        self.temperature = torch.nn.Parameter(torch.ones(()))
        self.places = torch.nn.Embedding(int(self.writer.length.max()), self.backbone.hidden_size)
        torch.nn.init.zeros_(self.places.weight)
        if "full" in config["eval_args"]["mode"].values() and self.n_items > MANY_ITEMS:
            getLogger().warning(
                f"UniTRec reads each of {self.n_items - 1} items for every user: 'mode: full' will take long. "
                "'eval_args: {mode: uni100}' reads 100 sampled candidates and the target."
            )

    # ---- what the base class asks for ----

    def prompt_settings(self):
        """The form of a history, for people to read: no setting changes it."""
        return {"sequence": "<s> {newest item} </s> {item before it} </s> ..."}

    def _fixed_texts(self):
        return []

    def _read_backbone(self, corpus, checkpoint=None):
        settings, local = self.arguments["backbone"], self.settings.local_layers
        if local and settings.attn_implementation == "flash_attention_2":
            raise GenRecError("'local_layers' needs a mask, which 'flash_attention_2' does not take. Use 'sdpa'.")
        backbone = read_seq2seq(settings, corpus, "bart", checkpoint)
        if local > backbone.n_encoder_layers:
            raise GenRecError(
                f"'local_layers' ({local}) is above the number of layers of the encoder, {backbone.n_encoder_layers}."
            )
        return backbone

    def _item_texts(self, items, item_tokens):
        """See the base class.

        Raises:
            GenRecError: no item has a text.
        """
        texts = super()._item_texts(items, item_tokens)
        if not any(texts):
            raise GenRecError(f"UniTRec reads texts, but no item of {items.path} that users interacted with has one.")
        return texts

    def _lay_out(self):
        self.trie = build_trie(self.catalogue.identifiers, self.backbone.eos_id)
        longest = self.arguments["prompt"].max_prompt_tokens
        self.writer = CandidateWriter(self.backbone, self.trie, longest, self.catalogue.index.texts)

    # ---- training ----

    def training_loader(self, config, train_dataset):
        """The loader of targets and what they are compared with, drawn anew in each epoch."""
        sequences = train_sequences(train_dataset)
        users, items, offsets = sequences
        names = train_dataset.field2id_token[train_dataset.uid_field][users]
        unseen = UnseenItems(items, offsets, self._comparable(), self.settings.train_negatives, names)
        draws = SequenceDraws(None, self.targets_per_user, self.longest)
        return CandidateLoader(
            self.writer, train_dataset, sequences, draws, epoch_settings(config, self.engine), unseen
        )

    def _comparable(self):
        """Ids of the items that a target may be compared with: those that training knows ``[K]``."""
        return np.arange(1, self.n_items) if self.known_items is None else self.known_items.cpu().numpy()

    def pack_interaction(self, interaction):
        """Write RecBole's rows, a target each, compared with items that are not in the row; torch's seed draws them."""
        sequences = self._training_sequences(interaction)
        row = np.arange(len(sequences))
        offsets = np.append(0, sequences.count.cumsum())
        unseen = UnseenItems(sequences.item, offsets, self._comparable(), self.settings.train_negatives, row)
        generator = np.random.default_rng(int(torch.randint(2**31, ())))
        return self.writer.write(unseen.beside(sequences, row, generator)).to(self.compute_device)

    def encode_prompts(self, prompts):
        """Histories as the encoder is fed them.

        Args:
            prompts: :class:`~recbole_genrec.batches.candidates.HistoryPrompts`.

        Returns:
            Input embeddings ``[B, P, H]`` with the places in items, lengths ``[B]``, and the
            :class:`~recbole_genrec.backbone.seq2seq.LocalAttention`.
        """
        embeds = self.backbone.embed(prompts.input_ids)
        embeds = embeds + self.places(prompts.place).to(embeds.dtype)
        return embeds, prompts.lengths, LocalAttention(prompts.segment, self.settings.local_layers)

    def candidate_scores(self, batch):
        """Both scores of the candidates of a :class:`~recbole_genrec.batches.candidates.CandidateBatch`.

        Returns:
            Two times ``[B, C]``: the discriminative one, and the mean log-likelihood of the text's tokens.
        """
        encoded = self.backbone.read(*self.encode_prompts(batch.prompts))
        fed = self.backbone.embed(batch.answer_ids)
        hidden = self.backbone(fed, batch.position_ids, batch.mask(), prompts=encoded).flatten(0, 1)
        log_likelihood = -cross_entropy(self.backbone.logits(hidden[batch.label_cell]), batch.label, reduction="none")
        matching = self._matching(hidden[batch.end_cell])
        total = torch.zeros_like(matching).index_add(0, batch.label_owner, log_likelihood)
        shape = len(batch.answer_ids), -1
        return matching.view(shape), (total / torch.bincount(batch.label_owner)).view(shape)

    def _matching(self, hidden):
        """Discriminative scores ``[N]`` of states at end tokens ``[N, H]``."""
        return self.head(hidden.to(self.head.weight.dtype))[:, 0].float()

    def forward(self, batch):
        """What the softmax over candidates takes: the discriminative score, and the likelihood with its temperature.

        Args:
            batch: :class:`~recbole_genrec.batches.candidates.CandidateBatch`.

        Returns:
            Two times ``[B, C]``.
        """
        matching, likelihood = self.candidate_scores(batch)
        return matching, likelihood * self._factor()

    def _factor(self):
        return self.temperature.clamp(_LEAST, _MOST)

    def calculate_loss(self, batch):
        """Mean cross-entropy of the target among its candidates, by either score; ``perplexity_weight`` weighs one.

        Args:
            batch: :class:`~recbole_genrec.batches.candidates.CandidateBatch`, or RecBole's interaction.

        Returns:
            A scalar.
        """
        if not isinstance(batch, CandidateBatch):
            batch = self.pack_interaction(batch)
        matching, likelihood = self(batch)
        target = torch.zeros(len(matching), dtype=torch.long, device=matching.device)
        return cross_entropy(matching, target) + self.settings.perplexity_weight * cross_entropy(likelihood, target)

    # ---- ranking ----

    def generation_statistics(self):
        """See the base class; nothing where no list was made."""
        return super().generation_statistics() if self.statistics["lists"] else {}

    def _tree(self, history, length, user):
        prompts = moved(self.writer.write_prompts(self._sequences(history, length, user)), self.compute_device)
        embeds, lengths, local = self.encode_prompts(prompts)
        return prompt_tree(self.backbone, self.trie, embeds, lengths, local=local)

    def _checked_matching(self, hidden):
        scores = self._matching(hidden)
        check_scores(self.backbone, None, scores, "at the end of a title", "candidates")
        return scores

    def _ranked(self, matching, likelihood):
        """Scores of lists ``[B, N]`` by ``rank_by``; -inf for what is no candidate, as in what it is made of."""
        rule = self.settings.rank_by
        if rule == "mean_rank":
            return -places_by_mean_rank(matching, likelihood)
        if rule == "sum":
            return matching + likelihood * self._factor()
        return matching if rule == "discriminative" else likelihood

    @torch.no_grad()
    def predict(self, interaction):
        """Scores of the rows' items ``[B]`` by ``rank_by``.

        With ``mean_rank``, minus its place among the rows of the same user; they have to come together.
        """
        items = interaction[self.ITEM_ID].cpu().numpy()
        if (items == 0).any():
            raise GenRecError("Item 0 is padding and has no score.")
        history, length, user = self._columns(interaction)
        # a sampled item may come twice in a list: scored once, it ties with itself whatever is scored beside it
        table, row = np.unique(np.column_stack([history, length, items]), axis=0, return_inverse=True)
        row = torch.from_numpy(row.ravel()).to(self.compute_device)
        parts = [table[start : start + self.rows_at_once] for start in range(0, len(table), self.rows_at_once)]
        matching, likelihood = (torch.cat(scores)[row] for scores in zip(*map(self._score_pairs, parts)))
        if not self.ranks_lists:
            return self._ranked(matching, likelihood)
        owner = torch.from_numpy(np.unique(user, return_inverse=True)[1]).to(row.device)
        column = rank_within(owner, torch.zeros_like(matching))
        lists = matching.new_full((2, int(owner.max()) + 1, int(column.max()) + 1), -torch.inf)
        lists[:, owner, column] = torch.stack([matching, likelihood])
        return self._ranked(*lists)[owner, column]

    def _score_pairs(self, table):
        """Both scores ``[N]`` of histories, their lengths and an item each ``[N, L + 2]``; histories are fed once."""
        histories, row = np.unique(table[:, :-1], axis=0, return_inverse=True)
        tree = self._tree(histories[:, :-1], histories[:, -1], np.zeros(len(histories), np.int64))
        row, items = (torch.from_numpy(column.ravel()).to(self.compute_device) for column in (row, table[:, -1]))
        total, matching = score_and_read_pairs(tree, row, items, self._checked_matching)
        return matching, total / self.trie.token_offset.diff()[items]

    @torch.no_grad()
    def full_sort_predict(self, interaction):
        """Scores of the whole catalogue by ``rank_by`` ``[B, n_items]``, -inf for what is left out."""
        total, matching = score_and_read_catalogue(self._tree(*self._columns(interaction)), self._checked_matching)
        likelihood = total / self.trie.token_offset.diff().clamp_min(1)
        if SEEN in interaction:
            seen = interaction[SEEN].to(total.device)
            matching, likelihood = (scores.scatter(1, seen, -torch.inf) for scores in (matching, likelihood))
        scores = self._ranked(matching, likelihood)
        self._count(scores[:, 1:].topk(self.k).indices + 1)
        return scores
