"""The files of a checkpoint, one by one: JSON, tensors, items. The folder as a whole is :mod:`.checkpoint`'s."""

import hashlib
import json
import os
import re
from collections import defaultdict
from pathlib import Path

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from recbole_genrec.errors import GenRecError
from recbole_genrec.indexing.index import ItemIndex, pieces_from_json, pieces_to_json
from recbole_genrec.model.prompt_ranker import Catalogue
from recbole_genrec.prompt.item_text import ItemColumn

BACKBONE_PREFIX = "backbone.model."
_ADAPTER_NAME = "default"


def write_json(path, value):
    """Write a value that JSON can hold."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def read_json(path):
    """Read a JSON file; one that is none is named with its checkpoint."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise GenRecError(
            f"The checkpoint {str(path.parent)!r} is damaged: {path.name} is not JSON ({error})."
        ) from None


def write_tensors(path, tensors, metadata=None):
    """Write tensors by name as safetensors, with texts by name beside them."""
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path, metadata)


def read_tensors(path):
    """Read the tensors of a file by name; a damaged one is named with its checkpoint."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise GenRecError(f"The checkpoint {str(path.parent)!r} is damaged: {path.name} ({error}).") from None


def fingerprint(path):
    """SHA-256 and size of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"sha256": digest.hexdigest(), "bytes": path.stat().st_size}


def sync(path):
    """Bring a file, or the names in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders, and keeps renames by itself
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_extra(folder):
    """The tensors of a checkpoint that are not the language model's, by name."""
    return read_tensors(Path(folder) / "extra.safetensors")


def read_state_dict(folder):
    """The tensors of a checkpoint under the names they have in the recommender's ``state_dict()``."""
    folder = Path(folder)
    state = read_extra(folder)
    adapter, whole = folder / "adapter/adapter_model.safetensors", folder / "backbone/model.safetensors"
    if adapter.is_file():
        for name, tensor in read_tensors(adapter).items():
            name = re.sub(r"(\.lora_[AB])\.weight$", rf"\1.{_ADAPTER_NAME}.weight", name)
            name = re.sub(r"\.trainable_tokens_delta$", rf"\g<0>.{_ADAPTER_NAME}", name)
            state[BACKBONE_PREFIX + name] = tensor
    else:
        weights = read_tensors(whole)
        with safe_open(whole, "pt") as file:
            tied = json.loads((file.metadata() or {}).get("tied", "{}"))
        weights.update({name: weights[owner] for name, owner in tied.items()})
        state.update({BACKBONE_PREFIX + name: tensor for name, tensor in weights.items()})
    return state


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
        A :class:`~recbole_genrec.model.prompt_ranker.Catalogue`. Where the checkpoint was written before these were
        kept, item texts are the identifiers' and ``columns`` is ``None``.
    """
    folder = Path(folder)
    stored, columns = read_json(folder / "items.json"), None
    tokens, identifiers = stored["tokens"], [tuple(identifier) for identifier in stored["identifiers"]]
    if (folder / "item_columns.json").is_file():
        columns = {
            name: ItemColumn(column["type"], {item: v for item, v in zip(tokens, column["values"], strict=True) if v})
            for name, column in read_json(folder / "item_columns.json").items()
        }
    index = ItemIndex(pieces_from_json(stored["pieces"]), identifiers, collisions=0, without_text=0, facts={})
    return Catalogue(tokens, stored.get("item_texts", stored["texts"]), identifiers, index, columns)


def read_settings(folder):
    """The configuration that a checkpoint was trained with; a key that it has not is ``None``."""
    return defaultdict(lambda: None, read_json(Path(folder) / "config.json"))


def read_prompt(folder):
    """The prompts of a checkpoint, as ``prompt_settings`` of its model gave them."""
    return yaml.safe_load((Path(folder) / "prompt.yaml").read_text(encoding="utf-8"))
