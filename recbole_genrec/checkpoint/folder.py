"""The files of a checkpoint: its manifest, JSON, tensors, items. :mod:`.checkpoint` puts them together."""

import hashlib
import json
import re
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from recbole_genrec.catalogue.catalogue import Catalogue
from recbole_genrec.catalogue.index import ItemIndex, pieces_from_json, pieces_to_json
from recbole_genrec.catalogue.item_text import ItemColumn
from recbole_genrec.config.arguments.former import with_present_names
from recbole_genrec.errors import GenRecError, listed, shown
from recbole_genrec.files.json_shape import check_shape
from recbole_genrec.files.strict_yaml import read_yaml_file
from recbole_genrec.files.write import settle

FORMAT = 1
#: key of a configuration that the loader of a checkpoint sets to its folder. The model reads tokenizer, identifiers and
#: prompts from there instead of building them.
BUILT_FOR = "built_for_checkpoint"
#: endings of files that a checkpoint may be read from: its manifest names all of them.
READ = (".json", ".yaml", ".safetensors", ".jinja", ".model", ".txt")
BACKBONE_PREFIX = "backbone.model."
_ADAPTER_NAME = "default"
RANDOM_STATES = {
    "python": [(int, [int], float, None)],
    "numpy": [(str, [int], int, float)],
    "torch": str,
    "cuda": [str],
}
#: of each JSON file, what its readers take for granted.
SHAPES = {
    "manifest.json": {"format": int, "files": {"*": {"sha256": str, "bytes": int}}},
    "config.json": {
        "model": str,
        "dataset": str,
        "seed?": int,
        "eval_batch_size": int,
        "MAX_ITEM_LIST_LENGTH": int,
        **{f"{key}?": (str, None) for key in ("ITEM_ID_FIELD", "field_separator", "encoding")},
    },
    "items.json": {
        "tokens": [str],
        "texts": [str],
        "identifiers": [[int]],
        "pieces": [[(str, [int])]],
        "item_texts?": [(str, None)],
    },
    "item_columns.json": {"*": {"type": str, "values": [[str]]}},
    "user_columns.json": {"*": {"kind": str, "values": [str]}},
    "item_values.json": {"*": {"kind": str, "values": [str]}},
    "users.json": {"users": [str], "pieces": [[(str, [int])]], "unknown": [(str, [int])], "columns": [str]},
    "clock.json": {"first": int, "unit": str},
    "text_vectors.json": {
        "sources": [str],
        "identities": [str],
        "revision": str,
        "scales": [float],
        "terms": [str],
    },
    "trainer.json": {
        "epoch": int,
        "cur_step": int,
        "step": int,
        "best_valid_score": (float, None),
    },
    "optimizer.json": {"param_groups": [{"params": [int]}], "values": {}},
    "rng.json": {**RANDOM_STATES, "others?": [RANDOM_STATES]},
}


def write_json(path, value):
    """Write a value that JSON can hold."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def read_json(path):
    """Read a JSON file of a checkpoint.

    Raises:
        GenRecError: it is missing, no JSON, or not of the shape in :data:`SHAPES`; the message names the checkpoint.
    """
    with damage_of(path.parent):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise GenRecError(f"{path.name} cannot be read: {error.strerror}.") from None
        except (ValueError, RecursionError) as error:
            raise GenRecError(f"{path.name} is not JSON ({error}).") from None
        check_shape(value, SHAPES[path.name], path.name)
    return value


@contextmanager
def damage_of(folder):
    """Name a checkpoint in errors about what it holds."""
    try:
        yield
    except GenRecError as error:
        if str(folder) in str(error):
            raise
        raise GenRecError(f"The checkpoint {str(folder)!r} is damaged: {error}") from error


def write_tensors(path, tensors, metadata=None):
    """Write tensors by name as safetensors, with texts by name beside them."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path, metadata)


def read_tensors(path):
    """Read the tensors of a file by name; a damaged one is named with its checkpoint."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise GenRecError(f"The checkpoint {str(path.parent)!r} is damaged: {path.name} ({error}).") from None
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise GenRecError(
                f"The checkpoint {str(path.parent)!r} cannot be used: {shown(name)} in {path.name} holds numbers that "
                "are not finite."
            )
    return tensors


def fingerprint(path):
    """SHA-256 and size of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"sha256": digest.hexdigest(), "bytes": path.stat().st_size}


def is_checkpoint(path):
    """Whether ``path`` is a folder with a manifest."""
    return (Path(path) / "manifest.json").is_file()


def existing(folder):
    """The path of a checkpoint.

    Raises:
        GenRecError: there is no such folder, or no checkpoint in it.
    """
    folder = Path(folder)
    settle(folder)
    if not is_checkpoint(folder):
        state = "has no manifest.json" if folder.is_dir() else "does not exist"
        raise GenRecError(f"The checkpoint folder {str(folder)!r} {state}.")
    return folder


def verify(folder):
    """Check a checkpoint against its manifest and return its path.

    Raises:
        GenRecError: the folder, its manifest or a file is missing or damaged; the message names it.
    """
    folder = existing(folder)
    manifest = read_json(folder / "manifest.json")
    if manifest["format"] != FORMAT:
        raise GenRecError(f"The checkpoint {str(folder)!r} is not of format {FORMAT}, the one that this version reads.")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in READ and name not in manifest["files"] and name != "manifest.json":
            raise GenRecError(f"The checkpoint {str(folder)!r} is damaged: {listed([name])} is not in its manifest.")
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise GenRecError(f"The checkpoint {str(folder)!r} is damaged: {listed([name])} is missing.")
        if fingerprint(path) != expected:
            raise GenRecError(
                f"The checkpoint {str(folder)!r} is damaged: {listed([name])} has changed (SHA-256 differs)."
            )
    return folder


def read_extra(folder):
    """The tensors of a checkpoint that are not the language model's, by name."""
    return read_tensors(Path(folder) / "extra.safetensors")


def read_state_dict(folder):
    """The tensors of a checkpoint under the names they have in the recommender's ``state_dict()``."""
    from safetensors import safe_open

    folder = Path(folder)
    state = read_extra(folder)
    adapter, whole = folder / "adapter/adapter_model.safetensors", folder / "backbone/model.safetensors"
    if adapter.is_file():
        for name, tensor in read_tensors(adapter).items():
            name = re.sub(r"(\.lora_[AB])\.weight$", rf"\1.{_ADAPTER_NAME}.weight", name)
            name = re.sub(r"\.(trainable_tokens_delta|ia3_l)$", rf"\g<0>.{_ADAPTER_NAME}", name)
            name = re.sub("^prompt_embeddings$", f"prompt_encoder.{_ADAPTER_NAME}.embedding.weight", name)
            state[BACKBONE_PREFIX + name] = tensor
    else:
        weights = read_tensors(whole)
        with safe_open(whole, "pt") as file:
            tied = (file.metadata() or {}).get("tied", "{}")
        weights.update(_tied(tied, weights, folder))
        state.update({BACKBONE_PREFIX + name: tensor for name, tensor in weights.items()})
    return state


def _tied(text, weights, folder):
    """The tensors that are others under a second name."""
    with damage_of(folder):
        try:
            tied = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise GenRecError(f"the names in model.safetensors are not JSON ({error}).") from None
        check_shape(tied, {"*": str}, "model.safetensors, 'tied'")
        for name, owner in tied.items():
            if owner not in weights:
                raise GenRecError(f"model.safetensors has no {shown(owner)}, which {shown(name)} shall be.")
    return {name: weights[owner] for name, owner in tied.items()}


def misfit(state, own):
    """The reason why stored tensors cannot replace the tensors ``own`` of a model, or ``None``."""
    if missing := sorted(own.keys() - state.keys()):
        return f"it lacks {missing[0]!r}"
    if unknown := sorted(state.keys() - own.keys()):
        return f"it holds {shown(unknown[0])}, which this model has not"
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            return f"{name!r} is {list(tensor.shape)} there and {list(own[name].shape)} here"
        if tensor.is_floating_point() != own[name].is_floating_point():
            return f"{name!r} is of type {tensor.dtype} there and {own[name].dtype} here"
    return None


def write_items(folder, catalogue):
    """Write ``items.json`` and, where the catalogue has columns, ``item_columns.json``."""
    write_json(folder / "items.json", items_of(catalogue))
    if catalogue.columns is not None:
        columns = {
            name: {"type": column.kind, "values": [column.values.get(token, []) for token in catalogue.item_tokens]}
            for name, column in catalogue.columns.items()
        }
        write_json(folder / "item_columns.json", columns)


def items_of(catalogue):
    """The content of ``items.json``."""
    return {
        "tokens": [str(token) for token in catalogue.item_tokens],
        "texts": list(catalogue.texts),
        "item_texts": list(catalogue.item_texts),
        "identifiers": [[int(token) for token in identifier] for identifier in catalogue.identifiers],
        "pieces": pieces_to_json(catalogue.index.pieces),
    }


def read_catalogue(folder):
    """The items of a checkpoint.

    Returns:
        A :class:`~recbole_genrec.catalogue.catalogue.Catalogue`. Where the checkpoint was written before these were
        kept, item texts are the identifiers' and ``columns`` is ``None``.
    """
    folder = Path(folder)
    stored, columns = read_items(folder), None
    tokens, identifiers = stored["tokens"], [tuple(identifier) for identifier in stored["identifiers"]]
    if (folder / "item_columns.json").is_file():
        columns = {}
        for name, column in read_json(folder / "item_columns.json").items():
            _check_count(folder, f"item_columns.json, {shown(name)}", column["values"], tokens)
            values = {item: each for item, each in zip(tokens, column["values"]) if each}
            columns[name] = ItemColumn(column["type"], values)
    index = ItemIndex(pieces_from_json(stored["pieces"]), identifiers, collisions=0, without_text=0, facts={})
    return Catalogue(tokens, stored.get("item_texts", stored["texts"]), identifiers, index, columns)


def read_items(folder):
    """The content of ``items.json``, with as many entries of each kind as there are items."""
    stored = read_json(Path(folder) / "items.json")
    for name, values in stored.items():
        if isinstance(values, list):
            _check_count(folder, f"items.json, {shown(name)}", values, stored["tokens"])
    with damage_of(folder):
        for name in ("tokens", "identifiers"):
            values = stored[name] if name == "tokens" else list(map(tuple, stored[name]))
            if len(set(values)) < len(values):
                raise GenRecError(f"two items of items.json have the same of {name!r}.")
        for item in stored["pieces"]:
            if any(isinstance(piece, list) and len(piece) != 2 for piece in item):
                raise GenRecError(f"items.json, 'pieces': {shown(item)} has a code that is not of two numbers.")
    return stored


def check_same_items(folder, stored, own, kind="tokens", reason="it belongs to another dataset or another filtering"):
    """Refuse a checkpoint whose items are not those of a dataset.

    Args:
        folder: the checkpoint.
        stored, own: what it and the dataset have of each item, in catalogue order.
        kind: name of that in ``items.json``. reason: what it means where they differ.

    Raises:
        GenRecError: they differ.
    """
    if stored == own:
        return
    if kind == "tokens" and stored[: len(own)] == own:
        reason += f", or 'add_items' has put {stored[len(own)]!r} there, and it is for recommending only"
    if len(stored) != len(own):
        detail = f"{len(stored)} items there, {len(own)} here"
    else:
        index = next(i for i, (a, b) in enumerate(zip(stored, own, strict=True)) if a != b)
        detail = f"item {index} has {kind} {stored[index]!r} there and {own[index]!r} here"
    raise GenRecError(f"The checkpoint {str(folder)!r} does not fit: {reason} (items.json: {detail}).")


def _check_count(folder, what, values, tokens):
    if len(values) != len(tokens):
        raise GenRecError(
            f"The checkpoint {str(folder)!r} is damaged: {what} has {len(values)} entries for {len(tokens)} items."
        )


def read_settings(folder):
    """The configuration that a checkpoint was trained with; a missing key is ``None``."""
    settings, _ = with_present_names(read_json(Path(folder) / "config.json"), "config.json")
    if "item_embedding" in settings:  # what 'history' was called
        settings.setdefault("history", {"none": "text"}.get(settings.pop("item_embedding"), "both"))
    return defaultdict(lambda: None, settings)


class Parts(NamedTuple):
    """What is needed to build the model of a checkpoint, before its weights are loaded."""

    folder: Path
    #: what the model's ``prompt_settings`` gave.
    prompts: dict
    catalogue: Catalogue
    #: whether the whole language model is in the checkpoint; else an adapter is.
    is_whole: bool


def read_parts(folder, item_tokens):
    """Read the :class:`Parts` of a checkpoint.

    Args:
        folder: the checkpoint.
        item_tokens: raw tokens of the items of the dataset that the model is built for.

    Raises:
        GenRecError: the checkpoint is damaged, or of other items.
    """
    folder = verify(folder)
    with damage_of(folder):
        parts = Parts(folder, read_prompt(folder), read_catalogue(folder), (folder / "backbone").is_dir())
    check_same_items(folder, parts.catalogue.item_tokens, item_tokens)
    return parts


def read_prompt(folder):
    """The prompts of a checkpoint, as ``prompt_settings`` of its model gave them."""
    path = Path(folder) / "prompt.yaml"
    prompts = read_yaml_file(path)
    if not isinstance(prompts, dict):
        raise GenRecError(f"The checkpoint {str(folder)!r} is damaged: prompt.yaml holds no 'key: value' lines.")
    return prompts
