import random

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from recbole_genrec.backbone.scratch import build_scratch
from recbole_genrec.backbone.seq2seq import Seq2SeqBackbone
from recbole_genrec.config.arguments import BackboneArguments
from recbole_genrec.decoding.tree import PromptTree, prompt_tree
from recbole_genrec.decoding.trie import build_trie

END = 2


class Case:
    """A random model, catalogue and batch of prompts."""

    def __init__(self, seed, backbone):
        draw = random.Random(seed)
        alphabet = draw.choice([2, 3, 12])
        identifiers = {
            tuple(draw.randint(3, 2 + alphabet) for _ in range(draw.randint(1, 5))) for _ in range(draw.randint(1, 25))
        }
        self.backbone = backbone
        self.trie = build_trie(draw.sample(sorted(identifiers), len(identifiers)), END)
        if seed % 2:
            self.trie.edge_embedding = torch.nn.Embedding(self.trie.n_edges, backbone.hidden_size)
        if seed % 3:
            self.trie.item_vectors = torch.nn.Embedding(self.trie.n_items + 1, backbone.hidden_size)
        if seed >= 16 and seed % 4 == 1 and self.trie.item_vectors is not None:
            self.trie.unseen_share = draw.choice([0.01, 0.3, 0.9])
            with torch.no_grad():
                self.trie.item_vectors.weight[2::3] = 0
        if seed >= 18 and seed % 3:
            self.trie.title_weight = draw.choice([0.0, 0.5, 2.0])
        self.k = draw.randint(1, min(self.trie.n_items, 10))
        self.lengths = torch.tensor([draw.randint(1, 7) for _ in range(8)])
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(3, backbone.vocab_size, (8, int(self.lengths.max())), generator=generator)
        self.embeds = backbone.embed(tokens).detach()

    def tree(self):
        return prompt_tree(self.backbone, self.trie, self.embeds, self.lengths)

    @property
    def items(self):
        return torch.arange(1, self.trie.n_items + 1)


@pytest.fixture(scope="session")
def backbones():
    """Tiny LLaMAs with weights large enough for sharp distributions; SDPA and eager attention."""
    built = []
    for seed, kernel in enumerate(("sdpa", "eager")):
        torch.manual_seed(seed)
        shape = {"scratch_hidden_size": 8, "scratch_heads": 2, "scratch_intermediate_size": 8, "scratch_layers": 2}
        backbone = build_scratch(BackboneArguments(**shape, scratch_vocab_size=300, attn_implementation=kernel), ["a"])
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.mul_(4)
        built.append(backbone.eval())
    return [*built, *encoder_decoders(built[0].tokenizer)]


def encoder_decoders(tokenizer):
    """A tiny T5, its embeddings tied and not, with few enough buckets that distances fall together, and a tiny BART."""
    shape = {"d_model": 8, "vocab_size": 300, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": END}
    relative = {"d_kv": 4, "d_ff": 8, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
    buckets = {"relative_attention_num_buckets": 4, "relative_attention_max_distance": 6}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    layers = {"encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 64, "dropout": 0.0}
    for seed, make in enumerate(
        (
            lambda: T5ForConditionalGeneration(T5Config(**shape, **relative, **buckets)),
            lambda: T5ForConditionalGeneration(T5Config(**shape, **relative, **buckets, tie_word_embeddings=False)),
            lambda: BartForConditionalGeneration(BartConfig(**shape, **heads, **layers, scale_embedding=True)),
        )
    ):
        torch.manual_seed(seed)
        backbone = Seq2SeqBackbone(make(), tokenizer)
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.6)
            if hasattr(backbone.causal_model, "final_logits_bias"):
                backbone.causal_model.final_logits_bias.normal_()
        yield backbone.eval()


@pytest.fixture
def make_case(backbones):
    return lambda seed: Case(seed, backbones[seed % len(backbones)])


class Indifferent:
    """A model to which all tokens are alike."""

    pad_id, vocab_size = 0, 20

    def embed(self, ids):
        return torch.zeros(*ids.shape, 1)

    def __call__(self, embeds, *_, **__):
        return embeds

    def logits(self, hidden, token_ids=None):
        return torch.zeros(*hidden.shape[:-1], 20 if token_ids is None else len(token_ids))

    def new_cache(self, n_rows, width):
        return self

    def select(self, rows):
        """As a cache, it holds nothing."""

    def rewind(self):
        """Nor does it forget."""


@pytest.fixture(scope="session")
def indifferent_tree():
    """The tree of a model to which all tokens are alike, with prompts of one token, for a trie."""
    return lambda trie, batch=2: PromptTree(
        Indifferent(), trie, torch.zeros(batch, 1, 1), torch.ones(batch, dtype=torch.long)
    )
