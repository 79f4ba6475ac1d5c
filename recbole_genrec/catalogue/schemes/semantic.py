"""Semantic indexing: an item's codes are its text, quantised from coarse to fine.

Reference: Shashank Rajput et al. "Recommender Systems with Generative Retrieval", 2023, arXiv 2305.05065 (TIGER).

Deviations from the paper: any source of text embeddings, offline by default (``text_embedding``); dead codes are put
to use again; the first of the items that share all codes keeps them, and only the others get one more code.
"""

from functools import partial

import torch

from recbole_genrec.catalogue.schemes import Code, Draft, register
from recbole_genrec.catalogue.schemes.rqvae import Training, train
from recbole_genrec.vectors.text_vectors import Maker, raw_vectors


@register("semantic")
def semantic_index(given):
    """Write one code for each level.

    Codes are learned on the texts of seen items. Unseen items get codes from their texts in the same way.
    """
    codes, facts = semantic_codes(given)
    return Draft(codes, facts)


def semantic_codes(given):
    """For each item a tuple of :class:`~recbole_genrec.catalogue.schemes.Code`; and facts to report."""
    settings, random = given.settings, given.random("semantic")
    if not given.items:
        return [], {}
    vectors = torch.from_numpy(embed_items(given)).float()
    learned = vectors[: given.n_seen] if given.n_seen else vectors
    centre, scale = learned.mean(0), learned.std(correction=0).clamp(min=1e-9)
    vectors, learned = (vectors - centre) / scale, (learned - centre) / scale
    training = Training(
        settings.semantic_levels,
        settings.semantic_codes,
        settings.semantic_latent_size,
        settings.semantic_steps,
        settings.semantic_learning_rate,
    )
    model, revived = train(learned, training, random)
    codes = model.encode(vectors)
    kept = 1 - model.reconstruction_error(learned) / max(learned.var(0, correction=0).mean().item(), 1e-9)
    used = ", ".join(str(len(level.unique())) for level in codes.T)
    facts = {
        "text embedding": f"{settings.text_embedding}, {vectors.shape[1]} dimensions",
        "codes in use, by level": f"{used} of {settings.semantic_codes}",
        "dead codes put to use again": f"{revived:,}",
        "variance of the embeddings that the codes keep": f"{kept:.0%}",
    }
    return [tuple(Code(level, number) for level, number in enumerate(row)) for row in codes.tolist()], facts


def embed_items(given):
    """Vectors ``[I, D]`` of the texts of ``given``, made by its setting ``text_embedding``; zero without a text.

    What is learned from texts, words and their weights, is learned from those of the seen items.

    Raises:
        GenRecError: the source of embeddings is missing or cannot be loaded.
    """
    settings = given.settings
    maker = Maker(
        key="text_embedding",
        revision=settings.text_embedding_revision,
        random=partial(given.random, "embedding"),
        embed_texts=given.embed_texts,
    )
    return raw_vectors(settings.text_embedding, [text or "" for text in given.texts], given.n_seen, maker)
