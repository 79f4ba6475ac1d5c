"""Vectors of item texts for a model: what a run's settings name, of the items of its training data.

Letters: I items, D dimensions.
"""

from dataclasses import dataclass
from functools import partial
from logging import getLogger

import numpy as np
import torch

from recbole_genrec.catalogue.item_text import item_columns, item_text
from recbole_genrec.catalogue.vector_text import VectorText, vector_texts
from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.dataset import seen_items
from recbole_genrec.vectors.item_vectors import ItemVectors
from recbole_genrec.vectors.text_vectors import BACKBONE, NONE, CatalogueVectors, Maker, TextVectors, read_sources


@dataclass(frozen=True)
class Knowledge:
    """What a model brings along to make vectors of its items' texts."""

    #: :class:`~recbole_genrec.config.arguments.TextVectorArguments`, and the setting ``item_text``.
    arguments: object
    item_template: str = ""
    #: the pretrained backbone's vectors of texts, and its folder or hub id with its revision.
    embed_texts: object = None
    backbone: tuple | None = None
    #: :class:`~recbole_genrec.vectors.text_vectors.TextVectors` that have been learned already, with warm start.
    learned: object = None


def check_vectors(arguments, has_backbone):
    """Refuse sources that a model cannot have.

    Args:
        arguments: :class:`~recbole_genrec.config.arguments.TextVectorArguments`.
        has_backbone: whether the model has a pretrained language model.

    Returns:
        Whether there are any sources.

    Raises:
        GenRecError: a source is malformed, or is a backbone that is not there.
    """
    if arguments.text_vectors == NONE:
        return False
    if BACKBONE in read_sources(arguments.text_vectors) and not has_backbone:
        raise GenRecError(
            "'text_vectors: backbone' needs a pretrained 'backbone', which this model has not. Use 'tfidf' or a "
            "sentence encoder."
        )
    return True


def catalogue_vectors(config, dataset, knowledge):
    """Make the vectors of a dataset's items; several processes take those of the first.

    Args:
        config: RecBole's configuration.
        dataset: the training part of a split.
        knowledge: :class:`Knowledge`.

    Returns:
        :class:`~recbole_genrec.vectors.text_vectors.CatalogueVectors`.

    Raises:
        GenRecError: a source is missing or cannot be read, or a template is malformed.
    """
    vectors = current().from_first(lambda: _made(config, dataset, knowledge))
    without = int((~vectors.table.any(1)).sum())
    getLogger().info(
        f"Text vectors: {knowledge.arguments.text_vectors}, {vectors.table.shape[1]} dimensions; {without} of "
        f"{len(vectors.table)} items have none."
    )
    return vectors


def _made(config, dataset, knowledge):
    arguments, items = knowledge.arguments, dataset.item_texts()
    tokens = dataset.field2id_token[dataset.iid_field][1:].tolist()
    own = item_text(items, knowledge.item_template).texts
    make = VectorText(arguments.text_vectors_text, knowledge.item_template, items.kinds, items.path)
    columns = item_columns(items) if arguments.text_vectors_text else {}
    texts = vector_texts(make, tokens, [own.get(token) for token in tokens], columns)
    seed = config["seed"]
    maker = Maker(
        revision=arguments.text_vectors_revision,
        random=partial(np.random.default_rng, [seed, *b"text_vectors"]),
        seed=seed,
        device=config["device"],
        embed_texts=knowledge.embed_texts,
        backbone=knowledge.backbone,
    )
    if knowledge.learned is not None:
        return CatalogueVectors(knowledge.learned, knowledge.learned.encode(texts, maker))
    return CatalogueVectors(*TextVectors.learn(arguments.text_vectors, texts, seen_items(dataset)[1:], maker))


def with_text_vectors(embedding, config, dataset, knowledge):
    """The item embedding of a model of RecBole's kind, with the vectors of item texts that the settings name.

    Args:
        embedding: ``nn.Embedding`` of all items, padding among them.
        config, dataset, knowledge: see :func:`catalogue_vectors`.

    Returns:
        An :class:`~recbole_genrec.vectors.item_vectors.ItemVectors`, or ``embedding`` with ``text_vectors: none``.

    Raises:
        GenRecError: see :func:`catalogue_vectors`.
    """
    if not check_vectors(knowledge.arguments, has_backbone=False):
        return embedding
    table = catalogue_vectors(config, dataset, knowledge).padded()
    seen = torch.from_numpy(seen_items(dataset))
    seen[0] = True  # padding is what the model makes of it
    dropout = knowledge.arguments.item_vector_dropout
    return ItemVectors(embedding.weight, table, seen, dropout, embedding.padding_idx, fingerprint=True)
