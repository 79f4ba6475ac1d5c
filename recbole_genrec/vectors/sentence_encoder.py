"""Sentence encoders, such as all-MiniLM-L6-v2, from a folder or a hub id.

Reference: Nils Reimers and Iryna Gurevych. "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP
2019.

Most of them are an encoder of ``transformers``, the mean of its last hidden states or the state of its first token, and
a division by the length. Such a one needs ``transformers`` alone; any other layout needs sentence-transformers.

Letters: I texts, B texts at once, T tokens, H hidden size.
"""

import importlib.util
import json
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import cached_file

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.broken_files import UNREADABLE, ReplaceError

#: modules of the layout that is read here.
_COMMON = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


@dataclass(frozen=True)
class Layout:
    """How an encoder of the common layout makes a vector of hidden states."""

    #: ``mean`` of the last hidden states, or that of the first token, ``cls``.
    pooling: str
    #: most tokens of a text; ``None``: as many as the model takes.
    longest: int | None
    lower_case: bool


def open_encoder(source, revision):
    """Load a sentence encoder.

    Args:
        source: a folder or a hub id.
        revision: branch, tag or commit of a hub id.

    Returns:
        A function: (list of I texts, device) -> their vectors, of length 1, float32 ``[I, H]``.

    Raises:
        GenRecError: the encoder cannot be found or read, or its layout needs sentence-transformers, which is missing.
    """
    with ReplaceError(lambda error: _unreadable(source, error), UNREADABLE):
        layout = read_layout(source, revision)
        if layout is not None:
            return partial(_encode, *_load(source, revision), layout)
    return _open_by_sentence_transformers(source, revision)


@torch.no_grad()
def _encode(model, tokenizer, layout, texts, device, batch_size=64):
    """Vectors of texts by an encoder of the common layout, ``batch_size`` at once; see :func:`open_encoder`."""
    model.to(device).eval()
    longest = layout.longest or min(tokenizer.model_max_length, model.config.max_position_embeddings)
    texts = [text.strip().lower() if layout.lower_case else text.strip() for text in texts]
    vectors = np.zeros((len(texts), model.config.hidden_size), np.float32)
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for begin in range(0, len(order), batch_size):
        places = order[begin : begin + batch_size]
        batch = [texts[place] for place in places]
        inputs = tokenizer(batch, padding=True, truncation=True, max_length=longest, return_tensors="pt").to(device)
        hidden = model(**inputs).last_hidden_state.float()  # [B, T, H]
        vectors[places] = _pooled(hidden, inputs["attention_mask"], layout.pooling).cpu().numpy()
    return vectors


def _pooled(hidden, mask, pooling):
    """Vectors of length 1 ``[B, H]`` of the states ``[B, T, H]``; ``mask [B, T]`` is 0 at padding."""
    if pooling == "cls":
        vectors = hidden[:, 0]
    else:
        mask = mask[..., None].to(hidden.dtype)
        vectors = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(vectors, dim=1)


def read_layout(source, revision):
    """The :class:`Layout` of an encoder, or ``None`` where it is not the common one.

    A folder without ``modules.json`` is a plain encoder; as in sentence-transformers, its states are averaged.
    """
    config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    if getattr(config, "is_encoder_decoder", False):
        return None
    whole = _json(source, revision, "sentence_bert_config.json") or {}
    longest, lower_case = whole.get("max_seq_length"), bool(whole.get("do_lower_case"))
    modules = _json(source, revision, "modules.json")
    if modules is None:
        return Layout("mean", longest, lower_case)
    if not modules:
        raise ValueError("modules.json names no modules")
    prompts = _json(source, revision, "config_sentence_transformers.json") or {}
    names = [module["type"].rpartition(".")[2] for module in modules]
    if names not in _COMMON or modules[0]["path"] or prompts.get("default_prompt_name"):
        return None
    pooling = _pooling(_json(source, revision, f"{modules[1]['path']}/config.json"))
    return Layout(pooling, longest, lower_case) if pooling else None


def _pooling(config):
    """``mean`` or ``cls`` of a pooling's configuration; ``None`` for another kind or several."""
    if "pooling_mode" in config:  # since sentence-transformers 5
        mode = config["pooling_mode"]
        return mode if mode in _MODES.values() else None
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    return _MODES.get(chosen[0]) if len(chosen) == 1 else None


def _json(source, revision, name):
    """The content of a JSON file of an encoder; ``None`` without the file."""
    path = cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _load(source, revision):
    model = AutoModel.from_pretrained(source, revision=revision, trust_remote_code=False, use_safetensors=True)
    return model.float(), AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)


def _open_by_sentence_transformers(source, revision):
    if importlib.util.find_spec("sentence_transformers") is None:
        raise GenRecError(
            f"The sentence encoder {source!r} is more than an encoder with the mean of its states: it needs "
            "sentence-transformers: pip install 'recbole_genrec[text]'."
        )
    from sentence_transformers import SentenceTransformer

    with ReplaceError(lambda error: _unreadable(source, error), UNREADABLE):
        model = SentenceTransformer(
            source,
            revision=revision,
            device="cpu",
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )

    def encode(texts, device):
        model.to(device)
        return model.encode(texts, device=str(device), normalize_embeddings=True, show_progress_bar=False)

    return encode


def _unreadable(source, error):
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return GenRecError(
        f"Cannot load the sentence encoder {source!r}: {reason} Text vectors come from 'tfidf', 'backbone', or a "
        "folder or hub id of a sentence encoder."
    )
