"""Alignment tasks in the training of GenRec: what identifiers stand for, learnt beside the histories.

Reference: Bowen Zheng et al. "Adapting Large Language Models by Integrating Collaborative Semantics for Recommendation"
(LC-Rec), 2023, arXiv 2311.09049.

Deviations from the paper: its tasks of intentions and preferences, which another language model writes, are left out;
tasks have a few prompts each, and are mixed in by whole batches.
"""

import numpy as np
from torch.nn.functional import cross_entropy

from recbole_genrec.batches.alignment_batches import AlignmentLoader, AlignmentTexts, AlignmentWriter, MixedLoader
from recbole_genrec.catalogue.item_text import TextOfColumns, item_columns, title_template
from recbole_genrec.config.arguments import AlignmentArguments
from recbole_genrec.decoding.softmax import trie_loss_and_prior
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.prompt.alignment_prompts import load_alignment


def check_alignment(config, engine, indexing):
    """Refuse tasks that cannot be trained.

    Args:
        config: RecBole's configuration.
        engine, indexing: :class:`~recbole_genrec.config.arguments.EngineArguments` and ``IndexingArguments``.

    Raises:
        GenRecError: so, or the prompts are missing or malformed.
    """
    arguments = AlignmentArguments.from_config(config)
    if not arguments.alignment_tasks:
        return
    if indexing.item_indexing == "title":
        raise GenRecError(
            "'alignment_tasks' teach what identifiers stand for; with 'item_indexing: title' they are titles."
        )
    if not engine.packing:
        raise GenRecError("'alignment_tasks' are mixed into packed training: they need 'packing: true'.")
    if engine.history == "vectors":
        raise GenRecError("'alignment_tasks' read identifiers: they need 'history: text' or 'both'.")
    load_alignment(arguments.alignment_prompts, arguments.alignment_tasks)


class AlignmentTraining:
    """Mixin of :class:`~recbole_genrec.model.genrec.GenRec`, whose attributes it reads.

    Attributes:
        alignment: :class:`~recbole_genrec.config.arguments.AlignmentArguments`.
    """

    def _alignment_texts(self, dataset):
        """Titles and columns of the items, in catalogue order, as :class:`AlignmentTexts` without padding."""
        items, own = dataset.item_texts(), self.arguments["prompt"].item_text
        tokens = dataset.field2id_token[dataset.iid_field][1:].tolist()
        titles = [text or "" for text in self._item_texts(items, tokens)]
        if "columns_to_item" not in self.alignment.alignment_tasks:
            return AlignmentTexts(titles, [""] * len(titles))
        columns = item_columns(items)
        of_title = TextOfColumns(own or title_template(tuple(columns), items.path), columns, items.path).names
        others = [name for name in columns if name not in (*of_title, dataset.iid_field)]
        template = self.alignment.alignment_text or "; ".join(f"{name}: {{{name}}}" for name in others)
        if not template:
            raise GenRecError(
                f"'columns_to_item' needs columns of {items.path} beside the title, of which there are none."
            )
        fill = TextOfColumns(template, columns, items.path, "alignment_text")
        cells = ({name: " ".join(columns[name].values.get(token, [])) for name in fill.names} for token in tokens)
        return AlignmentTexts(titles, list(map(fill, cells)))

    def _alignment_corpus(self, dataset):
        """Texts of the tasks, which a tokenizer from scratch learns from, too."""
        if not self.is_trained or not self.alignment.alignment_tasks:
            return []
        prompts = load_alignment(self.alignment.alignment_prompts)
        texts = self._alignment_texts(dataset)
        return [
            *prompts.literals(self.alignment.alignment_tasks),
            *(f" {text}" for text in [*texts.titles, *texts.columns]),
        ]

    def _with_alignment(self, loader, dataset):
        """A loader of histories with batches of the tasks mixed in; the same one without any."""
        tasks = self.alignment.alignment_tasks
        if not tasks:
            return loader
        texts = AlignmentTexts(*(["", *column] for column in self._alignment_texts(dataset)))
        prompts = load_alignment(self.alignment.alignment_prompts)
        engine = self.engine.normalization, self.arguments["prompt"].max_prompt_tokens
        writer = AlignmentWriter(prompts, self.backbone, self._plain_trie(), texts, engine)
        # items held out of training are known by nothing at all; those of validation and test are in the catalogue
        known = np.setdiff1d(np.arange(1, self.n_items), np.asarray(dataset.cold_items, np.int64))
        drawn = tuple(dict.fromkeys(tasks)), known, self.alignment.alignment_share
        sequences = train_sequences(dataset)
        return MixedLoader(loader, AlignmentLoader(writer, dataset, sequences, loader.settings, drawn))

    def _alignment_loss(self, batch):
        """Mean negative log-likelihood of the answers' decisions, and tokens, of an ``AlignmentBatch``."""
        states = self.backbone(self.embed(batch.input_ids, batch.items)).flatten(0, 1)
        hidden, label, loss = states[batch.labels.cell], batch.labels.label, states.new_zeros(())
        if len(label) and self.engine.normalization == "trie":
            loss = trie_loss_and_prior(self.backbone, self.trie, hidden, label, unknown=self.unknown_edges)[0]
        elif len(label):
            loss = cross_entropy(self.backbone.logits(hidden), label, reduction="sum")
        if len(batch.text_labels.label):
            logits = self.backbone.logits(states[batch.text_labels.cell])
            loss = loss + cross_entropy(logits, batch.text_labels.label, reduction="sum")
        return loss / batch.n_decisions
