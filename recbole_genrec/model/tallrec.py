"""TALLRec: a language model says yes or no to one candidate at a time, tuned on few examples of what users liked.

Reference: Keqin Bao et al. "TALLRec: An Effective and Efficient Tuning Framework to Align Large Language Model with
Recommendation", RecSys 2023, arXiv 2305.00447.
Reference code: https://github.com/SAI990323/TALLRec

Deviations from the paper and its code:

* The loss is the cross-entropy between the two answers alone, and not over the whole vocabulary and the prompt.
* The tokens of the answers are looked up in the backbone's tokenizer, as they stand after the prompt.
* Histories are in exact order of time, and the split is RecBole's by time; the code sorts times as text and cuts the
  interactions in the order of users.
* There is no instruction tuning before: start from a backbone that has had one.
* The prompt is worded differently. A history has at most ``history_items`` items, and prompts begin with the
  tokenizer's first token, where it has one.
* It ranks candidates, too, by the log-odds of yes.
"""

from contextlib import contextmanager
from logging import getLogger

import numpy as np
import torch
from recbole.utils import EvaluatorType
from torch.nn.functional import binary_cross_entropy_with_logits

from recbole_genrec.batches.epoch_loader import EpochSettings
from recbole_genrec.batches.tokens import MIDDLE
from recbole_genrec.batches.yes_no import AnswerBatch, AnswerLimits, AnswerLoader, AnswerWriter, RowFields
from recbole_genrec.config.arguments import TALLRecArguments
from recbole_genrec.decoding.after_items import read_catalogue, read_pairs
from recbole_genrec.decoding.finite import check_scores
from recbole_genrec.decoding.tree import prompt_tree
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.interactions.unseen import SEEN
from recbole_genrec.model.abstract_recommender import GenerativeRecommender
from recbole_genrec.model.without_identifiers import WithoutIdentifiers
from recbole_genrec.prompt.wordings import evaluate_wordings
from recbole_genrec.prompt.yes_no_prompts import load_yes_no, yes_no_of

#: items above which a ranking of the whole catalogue is warned about.
MANY_ITEMS = 5_000
#: stands for the end of a title while the trie is built; no token has it.
_NO_TOKEN = -1


class TALLRec(WithoutIdentifiers, GenerativeRecommender):
    """TALLRec; see the module's header and :class:`GenerativeRecommender`.

    Labels are RecBole's: ``threshold`` makes them of a column such as ratings, or ``LABEL_FIELD`` names a column of 0
    and 1. Identifiers are the items' titles. The paths of the trie are titles with the text that follows a candidate.

    Attributes:
        settings: :class:`~recbole_genrec.config.arguments.TALLRecArguments`.
        writer: :class:`~recbole_genrec.batches.yes_no.AnswerWriter`.
        names: :class:`~recbole_genrec.batches.yes_no.RowFields`.
        gives_probabilities: whether :meth:`predict` gives p(yes), as metrics of labels take it.
    """

    scores_are_log_probabilities = False
    not_exported = "TALLRec answers yes or no about a candidate: its prompts cannot be exported as histories."

    def __init__(self, config, dataset):
        self.settings = TALLRecArguments.from_config(config)
        label, suffix = config["LABEL_FIELD"], config["LIST_SUFFIX"]
        self.names = RowFields(
            config["ITEM_ID_FIELD"] + suffix,
            label + suffix,
            config["ITEM_LIST_LENGTH_FIELD"],
            config["ITEM_ID_FIELD"],
            label,
        )
        _check_labels(config, dataset, self.names)
        self.gives_probabilities = config["eval_type"] == EvaluatorType.VALUE
        super().__init__(config, dataset)
        if "full" in config["eval_args"]["mode"].values() and self.n_items > MANY_ITEMS:
            getLogger().warning(
                f"TALLRec asks about each of {self.n_items - 1} items for every user: 'mode: full' will take long. "
                "'eval_args: {mode: uni100}' asks about 100 sampled candidates and the target."
            )

    # ---- what the base class asks for ----

    @classmethod
    def _check_prompts(cls, config):
        load_yes_no(TALLRecArguments.from_config(config).yes_no_prompt)

    def _load_prompts(self, stored=None):
        named = self.settings.yes_no_prompt
        self.template = load_yes_no(named) if stored is None else yes_no_of(stored, "prompt.yaml")

    def _fixed_texts(self):
        prompt = self.template
        return [prompt.write([], [], "") + answer for answer in (prompt.yes_answer, prompt.no_answer)]

    def prompt_settings(self):
        """The prompt, as it is kept in a checkpoint."""
        return self.template.as_dict()

    def _item_texts(self, items, item_tokens):
        """See the base class.

        Raises:
            GenRecError: no item has a title.
        """
        texts = super()._item_texts(items, item_tokens)
        if not any(texts):
            raise GenRecError(f"TALLRec reads titles, but no item of {items.path} that users interacted with has one.")
        return texts

    def _encode_pieces(self, backbone, texts, follows):
        before = "" if follows else self.template.around_title[0]
        return backbone.encode_many([before + text for text in texts], MIDDLE)

    def _lay_out(self):
        limits = AnswerLimits(self.settings.history_items, self.arguments["prompt"].max_prompt_tokens)
        self.writer = AnswerWriter(self.template, self.backbone, self.catalogue.identifiers, limits)
        self.trie = build_trie(self.catalogue.identifiers, _NO_TOKEN).with_ending(self.writer.ending)
        self.register_buffer("answers", torch.tensor(self.writer.answers), persistent=False)
        for wording in self.template.held_out:  # refused here where it does not fit
            with self.worded(wording):
                pass

    @contextmanager
    def worded(self, text):
        """Ask in other words in a block, such as those that are held out of training."""
        own = self.template, self.writer, self.trie, self.answers
        try:
            self.template = self.template.worded(text)
            self._lay_out()
            self.trie, self.answers = self.trie.to(self.compute_device), self.answers.to(self.compute_device)
            yield
        finally:
            self.template, self.writer, self.trie, self.answers = own

    # ---- training ----

    def training_loader(self, config, train_dataset):
        """The loader of all training rows, or of the ``few_shot`` that the seed draws.

        Raises:
            GenRecError: there are fewer, or all that were drawn have the same label.
        """
        rows, count = np.arange(len(train_dataset)), self.settings.few_shot
        if count > len(rows):
            raise GenRecError(f"'few_shot' asks for {count} examples, but there are only {len(rows)} training rows.")
        if count:
            rows = np.sort(np.random.default_rng([config["seed"], *b"few-shot"]).choice(rows, count, replace=False))
            labels = train_dataset.inter_feat[self.names.label].numpy()[rows]
            if labels.min() == labels.max():
                raise GenRecError(
                    f"The {count} examples of 'few_shot' all have the label {labels[0]:g}. Take more, or another seed."
                )
        settings = EpochSettings(config["seed"], config["train_batch_size"], shuffle=config["shuffle"] is not False)
        return AnswerLoader(self.writer, self.names, train_dataset, rows, settings)

    def pack_interaction(self, interaction):
        """Write RecBole's rows as prompts with their labels."""
        return self.writer.write(interaction, self.names).to(self.compute_device)

    def forward(self, input_ids, lengths):
        """Log-odds of yes.

        Args:
            input_ids: prompts, right-padded ``[B, T]``.
            lengths: ``[B]``.

        Returns:
            ``[B]``: the logit of the first token of yes, less that of no.
        """
        hidden = self.backbone(self.backbone.embed(input_ids))
        return self._log_odds(hidden[torch.arange(len(lengths), device=lengths.device), lengths - 1])

    def _log_odds(self, hidden):
        """Of states before the answer ``[N, H]``: ``[N]``."""
        logits = self.backbone.logits(hidden, self.answers)
        return logits[:, 0] - logits[:, 1]

    def calculate_loss(self, batch):
        """Mean cross-entropy of the softmax over the two answers.

        Args:
            batch: :class:`~recbole_genrec.batches.yes_no.AnswerBatch`, or RecBole's interaction.

        Returns:
            A scalar.
        """
        if not isinstance(batch, AnswerBatch):
            batch = self.pack_interaction(batch)
        return binary_cross_entropy_with_logits(self(batch.input_ids, batch.lengths), batch.label)

    # ---- answers ----

    def evaluate_tasks(self, dataset, config, ranked, evaluate_ranking):
        """Test the prompt once more in each of the words that are held out of training.

        Args:
            dataset: the part of the split to test on.
            config: RecBole's configuration.
            ranked: the metrics there, in the words of the training.
            evaluate_ranking: gives those of the model as it is.

        Returns:
            ``{"yes_no": ...}``, see :func:`~recbole_genrec.prompt.wordings.evaluate_wordings`.
        """
        tested = evaluate_wordings(self.template.held_out, self.worded, ranked, evaluate_ranking)
        return {"yes_no": tested} if tested else {}

    def generation_statistics(self):
        """See the base class; nothing where no list was made."""
        return super().generation_statistics() if self.statistics["lists"] else {}

    def _tree(self, histories, labels, lengths):
        """The prompts of some histories up to the candidate, fed once."""
        input_ids, lengths = self.writer.trunks(histories, labels, lengths)
        device = self.compute_device
        return prompt_tree(self.backbone, self.trie, self.backbone.embed(input_ids.to(device)), lengths.to(device))

    def _checked_log_odds(self, hidden):
        log_odds = self._log_odds(hidden)
        check_scores(self.backbone, None, log_odds, "at the answer", "candidates")
        return log_odds

    @torch.no_grad()
    def predict(self, interaction):
        """What the model says of each row's item ``[B]``; a history that rows share is fed once.

        Where labels are measured (``mode: labeled``), p(yes) in double precision; where candidates are ranked, the
        log-odds of yes, which have the same order without ties by rounding.
        """
        histories, labels, lengths = self.names.histories(interaction)
        keys = np.column_stack([histories, labels, lengths])
        _, first, row = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        tree = self._tree(histories[first], labels[first], lengths[first])
        row = torch.from_numpy(row.ravel()).to(self.compute_device)
        log_odds = read_pairs(tree, row, interaction[self.ITEM_ID].to(row.device), self._checked_log_odds)
        return torch.sigmoid(log_odds.cpu().double()) if self.gives_probabilities else log_odds

    @torch.no_grad()
    def full_sort_predict(self, interaction):
        """Log-odds of yes for the whole catalogue ``[B, n_items]``, -inf for what is left out."""
        scores = read_catalogue(self._tree(*self.names.histories(interaction)), self._checked_log_odds)
        if SEEN in interaction:
            scores = scores.scatter(1, interaction[SEEN].to(scores.device), -torch.inf)
        self._count(scores[:, 1:].topk(self.k).indices + 1)
        return scores


def _check_labels(config, dataset, names):
    """Refuse a training without labels, with other labels than 0 and 1, or with one of them alone."""
    feat, label = dataset.inter_feat, names.label
    if label not in feat or names.history_label not in feat:
        raise GenRecError(
            "TALLRec learns from labels: give 'threshold', such as {rating: 4} (liked: a rating of at least 4), or "
            f"name the column of 'LABEL_FIELD' ({label!r}) under 'inter' in 'load_col'."
        )
    found = np.unique(feat[label].numpy())
    if not np.isin(found, (0, 1)).all():
        raise GenRecError(
            f"TALLRec: the labels in {label!r} must be 0 or 1, not {shown(float(found[~np.isin(found, (0, 1))][0]))}. "
            "'threshold' makes labels of a column of numbers."
        )
    if len(found) < 2:
        source = f"'threshold: {config['threshold']}'" if config["threshold"] else f"'LABEL_FIELD: {label}'"
        raise GenRecError(
            f"TALLRec: all {len(feat)} training rows have the label {found[0]:g} ({source}): there is nothing to tell "
            "apart."
        )
