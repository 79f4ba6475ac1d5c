"""Start training from a GenRec of another catalogue: from its language model, and its vectors of items in both.

Items are matched by their texts. A model of item ids cannot do this: its rows mean nothing in another catalogue.
"""

from logging import getLogger

import torch

from recbole_genrec.backbone.loading import SCRATCH
from recbole_genrec.checkpoint.folder import (
    BACKBONE_PREFIX,
    damage_of,
    misfit,
    read_items,
    read_settings,
    read_state_dict,
    verify,
)
from recbole_genrec.checkpoint.vector_files import read_vectors
from recbole_genrec.config.arguments import BackboneArguments, IndexingArguments
from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.vectors.item_vectors import ItemVectors
from recbole_genrec.vectors.text_vectors import read_sources

#: settings that decide the shape of a language model; the second tuple is for a scratch model.
_SHAPE = ("backbone", "revision", "quantization", "adapter") + (
    ("adapter_tokens", "lora_r", "lora_alpha", "lora_target_modules")
)
_SCRATCH_SHAPE = ("scratch_hidden_size", "scratch_layers", "scratch_heads") + (
    "scratch_intermediate_size",
    "scratch_vocab_size",
)


def check_source(folder, item_indexing, backbone):
    """Refuse a checkpoint that training cannot start from.

    Args:
        folder: the checkpoint.
        item_indexing: of the training.
        backbone: its :class:`~recbole_genrec.config.arguments.BackboneArguments`.

    Raises:
        GenRecError: the checkpoint is damaged, of another model or of another language model, or items are not named by
            their texts alone.
    """
    settings = read_settings(verify(folder))
    if settings["model"] != "GenRec":
        raise GenRecError(f"'warm_start' takes a checkpoint of GenRec; {str(folder)!r} is of {settings['model']}.")
    with damage_of(folder):
        stored_indexing = IndexingArguments.from_config(settings).item_indexing
        stored = BackboneArguments.from_config(settings)
    for where, scheme in (("here", item_indexing), (f"in {str(folder)!r}", stored_indexing)):
        if scheme != "title":
            raise GenRecError(
                f"'warm_start' takes 'item_indexing: title', which is {scheme!r} {where}: "
                "codes and numbers mean other items in another catalogue."
            )
    scratch = stored.backbone == backbone.backbone == SCRATCH
    for key in ("backbone", *_SCRATCH_SHAPE) if scratch else _SHAPE:
        there, here = getattr(stored, key), getattr(backbone, key)
        if there != here:
            raise GenRecError(
                f"'warm_start': {key!r} is {shown(there)} in {str(folder)!r} and {shown(here)} here; "
                "the language models must be the same."
            )


def source_vectors(folder, sources):
    """What makes the text vectors of a checkpoint, so that its projection goes on with other items.

    Args:
        folder: the checkpoint.
        sources: the setting ``text_vectors`` of the training.

    Returns:
        :class:`~recbole_genrec.vectors.text_vectors.TextVectors`; ``None`` where the checkpoint has none, or of other
        sources.
    """
    folder = verify(folder)
    stored = read_vectors(folder, len(read_items(folder)["tokens"]))
    same = stored is not None and stored.made.sources == read_sources(sources)
    return stored.made if same else None


@torch.no_grad()
def take_over(model, folder):
    """Give a model the weights of a checkpoint's language model, and its vectors of items of the same text.

    An item that is not in the checkpoint keeps its vector. Edges of the trie keep theirs: the tries differ. Where both
    have text vectors of the same sources, the model has taken what makes them from the checkpoint, and takes their
    projection, too.

    Args:
        model: a GenRec; it is changed in place.
        folder: the checkpoint.

    Raises:
        GenRecError: the weights do not fit, for example because the pretrained model has changed.
    """
    state = read_state_dict(folder)
    weights, wanted = (
        {name: tensor for name, tensor in tensors.items() if name.startswith(BACKBONE_PREFIX)}
        for tensors in (state, model.kept_state())
    )
    if problem := misfit(weights, wanted):
        raise GenRecError(f"'warm_start': the language model in {str(folder)!r} is another: {problem}.")
    model.load_state_dict(weights, strict=False)
    texts = read_items(folder)["texts"]
    known = {text: item for item, text in enumerate(texts, 1)}
    shared = [(item, known[text]) for item, text in enumerate(model.catalogue.texts, 1) if text in known]
    vectors = state.get("item_embedding.weight", state.get("item_embedding.learned"))
    taken = model.item_embedding is not None and vectors is not None and len(shared) > 0
    has_texts = isinstance(model.item_embedding, ItemVectors)
    if taken:
        here, there = torch.tensor(shared, device=model.compute_device).T
        own = model.item_embedding.learned if has_texts else model.item_embedding.weight
        own[here] = vectors.to(here.device)[there]
    if has_texts and model.vectors_of_source is not None:
        model.item_embedding.projection.copy_(state["item_embedding.projection"])
    getLogger().info(
        f"Warm start from {folder}, of {len(texts)} items: {len(shared)} of the {len(model.catalogue.texts)} here are "
        f"among them by their text{', and take their vectors along' if taken else ''}."
    )
