"""Sentence encoders, from folders that the tests make."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from recbole_genrec.errors import GenRecError
from recbole_genrec.vectors import sentence_encoder
from recbole_genrec.vectors.sentence_encoder import open_encoder, read_layout


def encode_sentences(source, revision, texts, **more):
    return open_encoder(source, revision)(texts, "cpu", **more)


TEXTS = ["toy story", "heat", "the thing alien up big toy story heat", "", "the thing", " alien "]


def one_by_one(folder, pooling, longest=32):
    """Vectors of the texts, each encoded alone, so without padding."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    vectors = []
    for text in TEXTS:
        inputs = tokenizer(text.strip(), return_tensors="pt", truncation=True, max_length=longest)
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state[0]
        vector = hidden.mean(0) if pooling == "mean" else hidden[0]
        vectors.append((vector / vector.norm()).numpy())
    return np.array(vectors)


@pytest.mark.parametrize(
    ("modules", "pooling", "expected"),
    [
        (["Transformer", "Pooling", "Normalize"], {"pooling_mode_mean_tokens": True}, "mean"),
        (["Transformer", "Pooling"], {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        (["Transformer", "Pooling"], {"pooling_mode": "cls"}, "cls"),
        (None, None, "mean"),
    ],
)
def test_vectors_are_pooled_states_of_length_1(encoder, modules, pooling, expected):
    folder = encoder(modules=modules, pooling=pooling)
    vectors = encode_sentences(folder, "main", TEXTS, batch_size=4)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, one_by_one(folder, expected), atol=1e-5)


def test_longest_and_lower_case_are_those_of_the_encoder(encoder):
    folder = encoder(max_seq_length=4, do_lower_case=True)
    vectors = encode_sentences(folder, "main", TEXTS)
    np.testing.assert_allclose(vectors, one_by_one(folder, "mean", longest=4), atol=1e-5)
    np.testing.assert_allclose(encode_sentences(folder, "main", ["Heat"])[0], vectors[1], atol=1e-6)
    plain = encode_sentences(encoder("plain"), "main", ["Heat", "heat"])
    assert np.abs(plain[0] - plain[1]).max() > 1e-3


@pytest.mark.parametrize(
    "unusual",
    [
        {"modules": ["Transformer", "Pooling", "Dense"]},
        {"pooling": {"pooling_mode_max_tokens": True}},
        {"pooling": {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}},
        {"pooling": {"pooling_mode": "lasttoken"}},
    ],
)
def test_another_layout_needs_sentence_transformers(encoder, monkeypatch, unusual):
    folder = encoder(**unusual)
    assert read_layout(folder, "main") is None
    monkeypatch.setattr(sentence_encoder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(GenRecError, match="needs sentence-transformers: pip install"):
        encode_sentences(folder, "main", ["heat"])


def test_a_default_prompt_is_another_layout(encoder):
    folder = encoder()
    assert read_layout(folder, "main") is not None
    settings = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    Path(folder, "config_sentence_transformers.json").write_text(json.dumps(settings))
    assert read_layout(folder, "main") is None


def test_another_layout_by_sentence_transformers(encoder, monkeypatch):
    class SentenceTransformer:
        def __init__(self, name, revision, device, trust_remote_code, model_kwargs):
            assert (revision, device, trust_remote_code) == ("v2", "cpu", False)
            assert model_kwargs == {"use_safetensors": True}
            if "broken" in name:
                raise OSError("no such model\nand advice")

        def to(self, device):
            assert device == "cpu"

        def encode(self, texts, device, normalize_embeddings, show_progress_bar):
            assert normalize_embeddings and device == "cpu"
            return np.array([[len(text), 1.0] for text in texts], np.float32)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    module.__spec__ = types.SimpleNamespace(name="sentence_transformers")
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    unusual = ["Transformer", "Pooling", "Dense"]
    assert encode_sentences(encoder(modules=unusual), "v2", ["Heat", "Up"]).tolist() == [[4, 1], [2, 1]]
    with pytest.raises(GenRecError, match="Cannot load the sentence encoder .*broken': no such model Text vectors"):
        encode_sentences(encoder("broken", modules=unusual), "v2", ["Heat"])


def test_vectors_are_those_of_sentence_transformers(encoder):
    library = pytest.importorskip("sentence_transformers")
    folder = encoder(max_seq_length=5)
    expected = library.SentenceTransformer(folder, device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(encode_sentences(folder, "main", TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["config.json", "modules.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"]
)
def test_a_broken_encoder_is_named(encoder, name):
    folder = encoder()
    Path(folder, name).write_text("[]")
    with pytest.raises(GenRecError, match="Cannot load the sentence encoder"):
        encode_sentences(folder, "main", ["heat"])


def test_no_encoder(tmp_path):
    with pytest.raises(GenRecError, match="Cannot load the sentence encoder .*nothing'"):
        encode_sentences(str(tmp_path / "nothing"), "main", ["heat"])
