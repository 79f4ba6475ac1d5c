import random

import pytest
import torch

from recbole_genrec.arguments import BackboneArguments
from recbole_genrec.backbone.scratch import build_scratch
from recbole_genrec.decoding.tree import PromptTree
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
        self.k = draw.randint(1, min(self.trie.n_items, 10))
        self.lengths = torch.tensor([draw.randint(1, 7) for _ in range(8)])
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(3, backbone.vocab_size, (8, int(self.lengths.max())), generator=generator)
        self.embeds = backbone.embed(tokens).detach()

    def tree(self):
        return PromptTree(self.backbone, self.trie, self.embeds, self.lengths)

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
    return built


@pytest.fixture
def make_case(backbones):
    return lambda seed: Case(seed, backbones[seed % 2])
