"""LLaMA shapes with random weights on made-up catalogues, and the check of the engine on a tiny one."""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from benchmarks import synthetic
from recbole_genrec.backbone.adapter import add_adapter
from recbole_genrec.backbone.backbone import Backbone
from recbole_genrec.backbone.scratch import train_tokenizer
from recbole_genrec.batches.packing import Packer, Windows
from recbole_genrec.batches.tokens import item_context, tokenize_prompt
from recbole_genrec.catalogue.index import build_index
from recbole_genrec.catalogue.schemes import Given, draft_identifiers
from recbole_genrec.config.arguments import BackboneArguments
from recbole_genrec.decoding.scoring import score_catalogue
from recbole_genrec.decoding.search import search
from recbole_genrec.decoding.softmax import trie_loss
from recbole_genrec.decoding.tree import PromptTree
from recbole_genrec.decoding.trie import build_trie
from recbole_genrec.prompt.template import load_template

K = 10
VOCABULARY = 32_000
#: tokens of the tokenizer that stands in for LLaMA's: few, so that titles are not just one or two tokens.
TRAINED = 900
#: hidden size, layers, heads, heads of keys and values, intermediate size: LLaMA 3.2 1B and 3B, LLaMA 7B.
SHAPES = {
    "tiny": (64, 2, 4, 2, 128),
    "1b": (2048, 16, 32, 8, 8192),
    "3b": (3072, 28, 24, 8, 8192),
    "7b": (4096, 32, 32, 32, 11008),
}


@dataclass
class Setting:
    """A language model, a catalogue in its tokens, and histories."""

    backbone: Backbone
    template: object
    trie: object
    packer: Packer
    items: np.ndarray
    offsets: np.ndarray

    @property
    def device(self):
        return self.backbone.causal_model.device

    def embed_prompts(self, users, newest=50):
        """Prompts of the newest items of some users: embeddings ``[B, P, H]`` and lengths."""
        stop = self.offsets[users + 1]
        prompts = self.packer.prompts(self.items, np.maximum(self.offsets[users], stop - newest), stop)
        return self.backbone.embed(prompts.input_ids.to(self.device)), prompts.lengths.to(self.device)

    def loss(self, batch):
        """Summed loss of a packed batch, as ``GenRec`` computes it."""
        mask = batch.mask(self.backbone.mask_kind)
        hidden = self.backbone(self.backbone.embed(batch.input_ids), batch.position_ids, mask)
        return trie_loss(self.backbone, self.trie, hidden.flatten(0, 1)[batch.labels.cell], batch.labels.label)

    def gradient(self, batches):
        """Summed loss of some batches and its gradient, flat."""
        loss = sum(self.loss(batch.to(self.device)) for batch in batches)
        trainable = [parameter for parameter in self.backbone.parameters() if parameter.requires_grad]
        return loss.detach(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, trainable)])


def build_model(shape, dtype, device, kernel="sdpa"):
    """A LLaMA of a shape with random weights and a LoRA adapter whose effect is not zero."""
    hidden, layers, heads, key_heads, intermediate = SHAPES[shape]
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        intermediate_size=intermediate,
        max_position_embeddings=8192,
    )
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=kernel)
    adapted = add_adapter(model, BackboneArguments(lora_r=8, lora_alpha=16, lora_dropout=0.0)).to(device)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.01)
    return adapted


def build_setting(model, tokenizer, texts, histories, template, window):
    """Lay a catalogue and histories out for a model."""
    backbone = Backbone(model, tokenizer)
    template = load_template(template)
    context = item_context(template)
    numbers = [str(number) for number in range(len(texts))]
    draft = draft_identifiers("title", Given(numbers, texts))
    index = build_index(
        draft, numbers, lambda texts, follows: backbone.encode_many([template.lead + text for text in texts], context)
    )
    identifiers = index.identifiers({})
    tokens = tokenize_prompt(template, backbone, identifiers)
    trie = build_trie(identifiers, tokens.end)
    packer = Packer(tokens, trie, "trie", window, backbone.pad_id)
    return Setting(backbone, template, trie.to(model.device), packer, *histories)


def build_tokenizer(options, texts):
    """The tokenizer of ``--tokenizer``, or one trained on the catalogue."""
    if options.tokenizer is None:
        templates = [load_template(name).render([]) for name in options.templates]
        return train_tokenizer([*texts, *templates], TRAINED)
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    if len(tokenizer) > VOCABULARY:
        raise SystemExit(f"--tokenizer: {len(tokenizer)} tokens; the shapes have {VOCABULARY}.")
    return tokenizer


# --- the check -------------------------------------------------------------------------------------------------------


def check(options, device):
    """Compare the fast paths with the plain ones on a tiny shape, in float32, and the device with the CPU.

    Returns:
        Largest relative differences by name.

    Raises:
        SystemExit: one of them is too large.
    """
    generator = np.random.default_rng(options.seed)
    texts = synthetic.titles(300, generator)
    histories = synthetic.histories(6, len(texts), generator)
    tokenizer = build_tokenizer(options, texts)
    torch.manual_seed(options.seed)
    cpu_model = build_model("tiny", torch.float32, "cpu")
    with torch.no_grad():  # sharp enough that the best items do not just hang off the root
        cpu_model.get_base_model().get_output_embeddings().weight *= 20
    differences = {}
    for name in options.templates:
        on_cpu = build_setting(cpu_model, tokenizer, texts, histories, name, window=512)
        windows = on_cpu.packer.plan(on_cpu.items, on_cpu.offsets, 10, np.random.default_rng(0))[np.arange(3)]
        packed = on_cpu.gradient([on_cpu.packer.pack(on_cpu.items, windows)])
        single = on_cpu.gradient(_single_prompts(on_cpu, windows))
        differences[f"{name}: packed loss and gradient"] = _difference(packed, single)
        search_cpu = _lists(on_cpu)
        differences[f"{name}: exact search"] = _difference(search_cpu, _lists(on_cpu, everything=True))
        for kernel in kernels(device, name):
            model = build_model("tiny", torch.float32, device, kernel)
            model.load_state_dict(cpu_model.state_dict())
            setting = build_setting(model, tokenizer, texts, histories, name, window=512)
            there = setting.gradient([setting.packer.pack(setting.items, windows)])
            differences[f"{name}: {kernel} on the device, loss and gradient"] = _difference(packed, there)
            differences[f"{name}: {kernel} on the device, search"] = _difference(search_cpu, _lists(setting))
    for name, difference in differences.items():
        print(f"check  {name:58} {difference:.1e}")
        if not difference < 2e-4:
            raise SystemExit(f"The check failed: {name} differ by {difference:.1e}.")
    return differences


def _single_prompts(setting, windows):
    """A batch for each window, with a prompt for each of its targets: what packing must equal."""
    for first, begin, stop in zip(windows.first, windows.target, windows.stop):
        target = np.arange(begin, stop)
        yield setting.packer.pack(setting.items, Windows(np.full(len(target), first), target, target + 1))


@torch.no_grad()
def _lists(setting, everything=False):
    """Scores of the top-10 of all users, by search or by scoring every item."""
    tree = PromptTree(setting.backbone, setting.trie, *setting.embed_prompts(np.arange(len(setting.offsets) - 1)))
    return (score_catalogue(tree).topk(K).values if everything else search(tree, K).scores,)


def _difference(ours, theirs):
    """Largest relative difference of some pairs of tensors."""
    return max(((a.cpu() - b.cpu()).norm() / b.cpu().norm()).item() for a, b in zip(ours, theirs))


def kernels(device, template):
    """Attention kernels to try: FlexAttention only matters where responses branch off."""
    if torch.device(device).type != "cuda" or template == "continuation":
        return ("sdpa",)
    return ("sdpa", "flex_attention")
