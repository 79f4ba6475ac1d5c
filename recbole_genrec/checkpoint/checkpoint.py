"""A checkpoint is a folder of safetensors, JSON and YAML: written whole or not at all, and read without running code.

::

    manifest.json        format, size and SHA-256 of every other file
    config.json          the whole configuration
    prompt.yaml          the prompt template, or the task prompts
    items.json           item tokens, texts and identifiers in catalogue order, and the pieces that these are made of
    item_columns.json    the columns of the ``.item`` file: type and values of each item, in catalogue order
    tokenizer/           in the form of ``transformers``
    adapter/             the adapter in peft's own form, or
    backbone/            the whole language model in the form of ``transformers``
    extra.safetensors    every other tensor of the model, such as item embeddings
    text_vectors.json text_vectors.safetensors    of a model with ``text_vectors``: see :mod:`.vector_files`
    user_columns.json    of a model with ``user_columns``: their types and values
    item_values.json     of a model with ``item_columns``: their types and categories
    users.json           of a model whose prompts name users: what they are called
    clock.json           of a model that reads times: the first time of its data, and their unit
    trainer.json rng.json optimizer.json optimizer.safetensors average.safetensors    what resuming needs
"""

import json
import shutil
from contextlib import contextmanager

import yaml
from safetensors import SafetensorError

from recbole_genrec.backbone.loading import check_tokenizer
from recbole_genrec.catalogue.user_index import UserIndex
from recbole_genrec.checkpoint.context_files import read_user_index
from recbole_genrec.checkpoint.folder import (
    BACKBONE_PREFIX,
    FORMAT,
    check_same_items,
    items_of,
    misfit,
    read_extra,
    read_items,
    read_json,
    read_prompt,
    read_state_dict,
    verify,
    write_items,
    write_json,
    write_tensors,
)
from recbole_genrec.checkpoint.shared_files import SharedFiles
from recbole_genrec.checkpoint.training_state import read_optimizer, write_training_state
from recbole_genrec.checkpoint.vector_files import read_vectors, write_vectors
from recbole_genrec.distributed.sharding import is_spread, spread_like
from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.files.broken_files import ReplaceError
from recbole_genrec.files.write import replacing_folder

#: what only resuming needs.
TRAINING_FILES = ("rng.json", "optimizer.json", "optimizer.safetensors", "average.safetensors")


def save_checkpoint(folder, model, config, state, previous=None, shared=None):
    """Write a checkpoint, replacing the one at ``folder``.

    Args:
        folder: where the checkpoint goes.
        model: a generative recommender with ``backbone``, ``catalogue`` and ``prompt_settings``.
        config: RecBole's ``Config``.
        state: :class:`~recbole_genrec.checkpoint.training_state.TrainingState`.
        previous: a sibling folder that keeps the checkpoint replaced; the one in it before is deleted.
        shared: :class:`~recbole_genrec.checkpoint.shared_files.SharedFiles` of the run; without it all files are
            written anew.

    Raises:
        GenRecError: it cannot be written, for example because the disk is full; the old one stays.
    """
    shared = shared or SharedFiles()
    with _fresh(folder, shared, previous) as fresh:
        _write_model(fresh, model, state.weights or model.state_dict(), shared)
        write_json(fresh / "config.json", plain_settings(config))
        write_training_state(fresh, state)


def save_enlarged(source, folder, ranker):
    """Copy the checkpoint ``source`` with more items; the copy cannot be trained on.

    Args:
        source: a checkpoint.
        folder: where the copy goes; it may be ``source``.
        ranker: has the ``catalogue``, ``item_embedding``, ``edge_embedding`` and ``text_vectors`` to write; all else is
            copied.

    Raises:
        GenRecError: ``source`` is damaged, or the new one cannot be written.
    """
    source = verify(source)
    with _fresh(folder, SharedFiles()) as fresh:
        left_out = shutil.ignore_patterns("manifest.json", *TRAINING_FILES)
        shutil.copytree(source, fresh, ignore=left_out, dirs_exist_ok=True)
        write_items(fresh, ranker.catalogue)
        others = read_extra(fresh)
        for name in ("item_embedding", "edge_embedding"):
            if getattr(ranker, name) is not None:
                others |= {f"{name}.{key}": tensor for key, tensor in getattr(ranker, name).state_dict().items()}
        if ranker.text_vectors is not None:
            write_vectors(fresh, ranker.text_vectors)
        write_tensors(fresh / "extra.safetensors", others)


@contextmanager
def _fresh(folder, shared, previous=None):
    """Yield a folder to write a checkpoint to; then give it a manifest and let it replace ``folder``.

    See :func:`save_checkpoint` for arguments and errors.
    """
    try:
        with replacing_folder(folder, previous) as fresh:
            shared.start()
            yield fresh
            write_json(fresh / "manifest.json", {"format": FORMAT, "files": shared.end(fresh, folder)})
    except (OSError, SafetensorError) as error:
        raise GenRecError(f"The checkpoint {str(folder)!r} cannot be written: {error}.") from error


def load_checkpoint_into(model, folder, optimizer=None):
    """Load the weights of a checkpoint into a model that was built from the same configuration and dataset.

    Args:
        model: the recommender.
        folder: the checkpoint.
        optimizer: takes its stored state, if given.

    Returns:
        The trainer state that was stored.

    Raises:
        GenRecError: the checkpoint is damaged, or belongs to another dataset or model; nothing has been changed then.
    """
    folder = verify(folder)
    _check_items(folder, model)
    _check_prompts(folder, model)
    _check_users(folder, model)
    check_tokenizer(folder, model.backbone.tokenizer, model.arguments["backbone"])
    trainer, state = read_json(folder / "trainer.json"), read_state_dict(folder)
    _check_weights(folder, model, state)
    vectors = _vectors_for(folder, model)
    if optimizer is not None:
        read_optimizer(folder, optimizer)
    own = model.state_dict()
    for name in [name for name in state if is_spread(own[name])]:
        own[name].copy_(spread_like(state.pop(name), own[name]))
    model.load_state_dict(state, strict=False)
    if model.text_vectors is not None:  # another machine may have rounded otherwise, or turned a direction round
        model.take_text_vectors(vectors)
    return trainer


def check_trust(folder, settings, trust_remote_code):
    """Refuse a checkpoint whose backbone comes with Python code, unless the reader trusts that code.

    The checkpoint's own setting does not count: its author could set it.

    Args:
        folder: the checkpoint. settings: its configuration.
        trust_remote_code: whether the reader has said so.

    Raises:
        GenRecError: nobody has.
    """
    if settings.get("trust_remote_code") and not trust_remote_code:
        raise GenRecError(
            f"The checkpoint {str(folder)!r} has 'trust_remote_code: true': Python code that comes with its backbone "
            "would run. Where you trust that code, say so here, too: --trust_remote_code, in Python "
            "trust_remote_code=True."
        )


def plain_settings(config):
    """The settings of a ``Config`` that JSON can hold, without what RecBole derives itself (enums, device, classes)."""
    settings = {}
    for key, value in sorted(config.final_config_dict.items()):
        try:
            settings[key] = json.loads(json.dumps(value))
        except TypeError:
            continue
    return settings


# ---- the model ----


def _write_model(folder, model, weights, shared):
    backbone, catalogue = model.backbone, model.catalogue
    own = {name[len(BACKBONE_PREFIX) :]: t for name, t in weights.items() if name.startswith(BACKBONE_PREFIX)}
    tokenizer = backbone.tokenizer
    vocabulary, items = (tokenizer, len(tokenizer)), (catalogue, len(catalogue.item_tokens))
    shared.write(folder, "tokenizer", vocabulary, lambda: _write_tokenizer(folder / "tokenizer", tokenizer))
    shared.write(folder, "items", items, lambda: write_items(folder, catalogue))
    if model.text_vectors is not None:
        vectors = (model.text_vectors, len(model.text_vectors.table))
        shared.write(folder, "text_vectors", vectors, lambda: write_vectors(folder, model.text_vectors))
    if hasattr(backbone.model, "peft_config"):
        # New rows are stored with the adapter, so peft need not ask the hub whether the vocabulary grew.
        backbone.model.save_pretrained(folder / "adapter", state_dict=own, save_embedding_layers=False)
        if backbone.n_virtual:  # peft writes the model's own vectors, whatever state it is given
            vectors = own["prompt_encoder.default.embedding.weight"].cpu()
            write_tensors(
                folder / "adapter/adapter_model.safetensors", {"prompt_embeddings": vectors}, {"format": "pt"}
            )
        if catalogue.index.codes:  # AutoPeftModel makes room for the tokens of the tokenizer that it finds here
            shared.write(folder, "adapter", vocabulary, lambda: _write_tokenizer(folder / "adapter", tokenizer))
    else:
        _write_backbone(folder / "backbone", backbone.model, own)
    others = {name: tensor for name, tensor in weights.items() if not name.startswith(BACKBONE_PREFIX)}
    write_tensors(folder / "extra.safetensors", others)
    if model.user_columns:
        stored = {name: column.as_json() for name, column in model.user_columns.items()}
        write_json(folder / "user_columns.json", stored)
    if model.item_values is not None:
        stored = {name: column.as_json() for name, column in model.item_values.columns.items()}
        write_json(folder / "item_values.json", stored)
    if model.user_index != UserIndex():
        write_json(folder / "users.json", model.user_index.as_json())
    if model.clock is not None:
        write_json(folder / "clock.json", model.clock.as_json())
    prompts = yaml.safe_dump(_prompts_of(model), sort_keys=False, allow_unicode=True)
    (folder / "prompt.yaml").write_text(prompts, encoding="utf-8")


def _prompts_of(model):
    return json.loads(json.dumps(model.prompt_settings()))


def _write_tokenizer(folder, tokenizer):
    with ReplaceError(lambda error: OSError(str(error))):  # a bare Exception where a file cannot be written
        tokenizer.save_pretrained(folder)


def _write_backbone(folder, causal_model, weights):
    """Write ``causal_model`` with its state ``weights``, under the names of these, as ``from_pretrained`` reads it."""
    causal_model.config.architectures = [type(causal_model).__name__]
    causal_model.config.save_pretrained(folder)
    kept, tied, owners = {}, {}, {}
    for name, tensor in weights.items():
        owner = owners.setdefault((tensor.data_ptr(), tensor.shape), name)
        if owner == name:
            kept[name] = tensor
        else:
            tied[name] = owner
    write_tensors(folder / "model.safetensors", kept, {"format": "pt", "tied": json.dumps(tied)})


def _vectors_for(folder, model):
    """The text vectors of a checkpoint, if the model has some of the same kind."""
    vectors = read_vectors(folder, len(model.catalogue.item_tokens))
    own = model.text_vectors
    same = own is vectors if None in (own, vectors) else vectors.made.same_kind(own.made)
    if not same or (own is not None and own.table.shape != vectors.table.shape):
        raise GenRecError(
            f"The checkpoint {str(folder)!r} does not fit: its text vectors are of other sources ('text_vectors')."
        )
    return vectors


def _check_items(folder, model):
    stored, own = read_items(folder), items_of(model.catalogue)
    check_same_items(folder, stored["tokens"], own["tokens"])
    reason = "it belongs to another item text, indexing or tokenizer; 'item_index' takes its identifiers"
    check_same_items(folder, stored["identifiers"], own["identifiers"], "identifiers", reason)


def _check_prompts(folder, model):
    stored, own = read_prompt(folder), _prompts_of(model)
    for key, value in stored.items():  # a key that an earlier version did not write has the value it had then
        if value != own.get(key):
            raise GenRecError(
                f"The checkpoint {str(folder)!r} does not fit: it belongs to other prompts (prompt.yaml: {key!r} is "
                f"{shown(value)} there and {shown(own.get(key))} here)."
            )


def _check_users(folder, model):
    stored = read_user_index(folder)
    if stored is not None and stored.as_json() != model.user_index.as_json():
        raise GenRecError(f"The checkpoint {str(folder)!r} does not fit: it calls users by other names (users.json).")


def _check_weights(folder, model, state):
    if problem := misfit(state, model.kept_state()):
        raise GenRecError(f"The checkpoint {str(folder)!r} belongs to another model: {problem}.")
