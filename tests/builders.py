"""Tiny language models and checkpoints of random weights, for the tests of every room."""

from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, LlamaConfig, PreTrainedTokenizerFast

from recbole_genrec.checkpoint.checkpoint import save_checkpoint
from recbole_genrec.checkpoint.training_state import TrainingState
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.training.trainer import GenRecTrainer

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
MOVIES = ["Toy Story", "GoldenEye", "Four Rooms", "Get Shorty", "Copycat", "Babe", "Seven", "Braveheart"]
#: settings of a scratch model that is built at once.
SCRATCH = {
    "scratch_hidden_size": 16,
    "scratch_layers": 1,
    "scratch_intermediate_size": 32,
    "scratch_vocab_size": 300,
    "topk": [3],
    "valid_metric": "NDCG@3",
}
#: settings of a model that learns from the labels of :func:`write_labels`.
LABELS = {"LABEL_FIELD": "liked", "threshold": None, "load_col": None}
#: what a trainer would have stored.
STATE = TrainingState(
    {"epoch": 3, "cur_step": 1, "best_valid_score": 0.25, "step": 12, "best_valid_result": {"ndcg@3": 0.25}}
)


def byte_tokenizer(special=SPECIAL, **settings):
    """A tokenizer whose tokens are the special ones, then the 256 bytes."""
    pieces = [*special.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, **settings)


def write_base(folder, config=None, special=SPECIAL):
    """Save a random model of ``config``, a small LLaMA where there is none, with a tokenizer of bytes; gives the
    folder as text."""
    tokenizer = byte_tokenizer(special)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = config or LlamaConfig(vocab_size=len(tokenizer), **shape)
    auto_class = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    torch.manual_seed(0)
    auto_class.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@torch.no_grad()
def randomize(model, scale=0.2):
    """Random values for everything trainable, zero-initialised adapters included."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.normal_(std=scale)


def write_checkpoint(folder, name, settings, scale=0.2):
    """Build a model of random weights over the dataset ``tiny`` and store it.

    Args:
        folder: of the checkpoint. name: of the model. settings: its configuration, ``data_path`` included.
        scale: of the weights.

    Returns:
        The configuration, the model, and the first batch of the test.
    """
    config = GenRecConfig(name, "tiny", config_dict=settings)
    train, _, test = data_preparation(config, create_dataset(config))
    torch.manual_seed(1)
    model = config.model_class(config, train._dataset).eval()
    randomize(model, scale)
    save_checkpoint(folder, model, config, STATE)
    return config, model, next(iter(test))[0]


def write_films(write_dataset, folder):
    """Write atomic files of eight users and six films by the fixture ``write_dataset``; returns RecBole's
    ``data_path``."""
    titles = ["Heat", "Alien", "Brazil", "Up", "Big", "Seven"]
    rows = [(f"u{u}", f"m{(u + t) % len(titles)}", 100 + t) for u in range(8) for t in range(5)]
    return write_dataset(folder, rows, [(f"m{i}", title) for i, title in enumerate(titles)])


def write_labels(data_path):
    """Give the interactions of ``tiny`` a column of labels, which :data:`LABELS` names and no other model loads."""
    path = Path(data_path, "tiny/tiny.inter")
    header, *rows = path.read_text("utf-8").splitlines()
    rows = [f"{row}\t{crc32(row.encode()) % 2}" for row in rows]
    path.write_text("\n".join([f"{header}\tliked:float", *rows]) + "\n", "utf-8")


def write_reviews(data_path):
    """Give the interactions of ``tiny`` a rating from 1 to 5 and a review of two sentences that mentions its item."""
    path = Path(data_path, "tiny/tiny.inter")
    header, *rows = path.read_text("utf-8").splitlines()
    written = [f"{header}\trating:float\treview_text:token_seq"]
    for row in rows:
        item, chance = row.split("\t")[1], crc32(row.encode())
        opinion = ("great", "dull", "fine")[crc32(item.encode()) % 3]
        noun = ("plot", "music", "ending")[chance % 3]
        written.append(
            f"{row}\t{chance % 5 + 1}\tWe found that the {noun} was {opinion} for us. More words follow here."
        )
    path.write_text("\n".join(written) + "\n", "utf-8")


@contextmanager
def stopping_in_epoch(number):
    """Let GenRec's training be interrupted at the beginning of epoch ``number``, counted from 0."""
    train_epoch = GenRecTrainer._train_epoch

    def stopped(trainer, train_data, epoch_idx, **kwargs):
        if epoch_idx == number:
            raise KeyboardInterrupt
        return train_epoch(trainer, train_data, epoch_idx, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GenRecTrainer, "_train_epoch", stopped)
        yield
