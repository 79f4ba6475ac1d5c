"""A small world with columns, and checkpoints of random models of it."""

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from recbole_genrec.checkpoint import save_checkpoint
from recbole_genrec.config import GenRecConfig

#: id, title, year, genres, price; two items share a title, one has none.
ITEMS = [
    ("m0", "Toy Story", "1995", "Animation Comedy", "3.5"),
    ("m1", "Toy Story 2", "1999", "Animation Comedy", "4"),
    ("m2", "Heat", "1995", "Crime Drama", "9.99"),
    ("m3", "Heat", "1986", "Crime", ""),
    ("m4", "Sting, The", "1973", "Comedy Crime", "5"),
    ("m5", "Alien", "1979", "Horror", "2"),
    ("m6", "Aliens", "1986", "Horror", "2.5"),
    ("m7", "Brazil", "1985", "Comedy", "7"),
    ("m8", "", "2001", "", "1"),
    ("m9", "Up", "2009", "Animation", "8"),
]
HEADER = ("item_id:token", "title:token_seq", "year:token", "genre:token_seq", "price:float")
SMALL = {
    "scratch_hidden_size": 16,
    "scratch_layers": 1,
    "scratch_intermediate_size": 32,
    "scratch_vocab_size": 300,
    "topk": [3],
    "valid_metric": "NDCG@3",
    "max_prompt_tokens": 96,
    "item_embedding": "separator",
    "MAX_ITEM_LIST_LENGTH": 5,
    "decoding": "full",
}


def rows_of(items):
    return [(f"u{u}", items[(u + 3 * t) % len(items)][0], 100 + t) for u in range(8) for t in range(6)]


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    """A folder with a tiny random LLaMA whose tokenizer depends on no catalogue."""
    folder, special = tmp_path_factory.mktemp("base"), {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    alphabet = [*special.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=len(alphabet), **shape)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def train(tmp_path_factory, write_dataset):
    """A function that builds a GenRec over items with sharp random weights: model, a batch, and its checkpoint."""

    def build(items=ITEMS, model_name="GenRec", **settings):
        folder = tmp_path_factory.mktemp("world")
        data_path = write_dataset(folder / "data", rows_of(items), items, item_header=HEADER)
        config = GenRecConfig(model_name, "tiny", config_dict={"data_path": data_path, **SMALL, **settings})
        dataset = create_dataset(config)
        training, _, test = data_preparation(config, dataset)
        torch.manual_seed(1)
        model = config.model_class(config, training._dataset).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn_like(parameter) * 0.4)
        state = {"epoch": 0, "cur_step": 0, "best_valid_score": 0.5, "step": 1}
        save_checkpoint(folder / "best", model, config, state)
        return model, next(iter(test))[0], folder / "best"

    return build


@pytest.fixture(scope="session")
def trained(train):
    """One model of either normalisation."""
    return {kind: train(normalization=kind, edge_embedding=kind == "trie") for kind in ("trie", "vocab")}
