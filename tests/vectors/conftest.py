"""Tiny sentence encoders of random weights."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = ["toy", "story", "heat", "the", "thing", "alien", "up", "big", "Heat"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MODULES = ["Transformer", "Pooling", "Normalize"]


def word_tokenizer():
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **names)


@pytest.fixture
def encoder(tmp_path):
    """Write an encoder in the layout of sentence-transformers; gives its folder as text.

    ``modules``: names of its modules, ``None`` for a plain encoder; ``pooling``: keys of the pooling's configuration.
    """

    def write(name="encoder", modules=MODULES, pooling=None, seed=0, **whole):
        folder = tmp_path / name
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(SPECIAL + WORDS),
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=32,
        )
        BertModel(config).save_pretrained(folder)
        word_tokenizer().save_pretrained(folder)
        if modules is not None:
            listed = [
                {
                    "idx": i,
                    "name": str(i),
                    "path": f"{i}_{kind}" if i else "",
                    "type": f"sentence_transformers.models.{kind}",
                }
                for i, kind in enumerate(modules)
            ]
            (folder / "modules.json").write_text(json.dumps(listed))
            (folder / "1_Pooling").mkdir(exist_ok=True)
            pooling = {"pooling_mode_mean_tokens": True} if pooling is None else pooling
            (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 8, **pooling}))
        if whole:
            (folder / "sentence_bert_config.json").write_text(json.dumps(whole))
        return str(folder)

    return write
