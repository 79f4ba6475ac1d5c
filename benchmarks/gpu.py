"""The engine on LLaMA shapes of 1B, 3B and 7B parameters: training and top-10 lists on one CUDA device.

    python -m benchmarks.gpu [--tokenizer FOLDER] [--shapes 1b 3b 7b]

It needs torch, transformers and peft, no RecBole and no data. Weights are random, bfloat16, under LoRA (r = 8, on
q_proj and v_proj) and bfloat16 autocast; catalogue and histories are made up at the size and shape of MovieLens-25M.
Without ``--tokenizer`` (a LLaMA tokenizer's folder) one is trained on the catalogue, coarser than LLaMA's: 7 tokens a
title instead of 13; the models have 32,000 tokens in any case. Before anything is timed, a tiny shape is checked:
packed loss and gradient against single prompts, exact search against scoring every item, and the device against the
CPU. Without a CUDA device the tiny shape is all that runs.

Training rows: tokens exclude padding. FLOP/s count what LoRA needs, twice the parameters for each token forward and as
much again backward (frozen weights need no gradient), the attention between tokens that see each other, and the head
where it is read. Recomputed activations count as time, not as work. The peak is what one large bfloat16 product reaches
in the same run. An epoch is every target of ml-25m, projected from targets per second.

Decoding rows: the floor is the time to feed the prompts alone, in the same run. Random weights have no opinions, and
search takes the longer the flatter the distribution: the head is scaled until the logits at the root have the standard
deviation of ``--logit-std``, by default 2.1 as in a GenRec trained on ml-100k; the nodes expanded are reported.
"""

from functools import partial

import numpy as np
import torch

from benchmarks import synthetic
from benchmarks.common import Results, forward_flops, layer_parameters, median_seconds, parser, report
from benchmarks.llama import SHAPES, K, build_model, build_setting, build_tokenizer, check, kernels
from recbole_genrec.backbone.loading import checkpoint_activations
from recbole_genrec.decoding.search import SearchEffort, search
from recbole_genrec.decoding.tree import PromptTree

TRAINING_COLUMNS = {
    "shape": "",
    "template": "",
    "kernel": "",
    "recompute": "",
    "tokens_per_second": ",.0f",
    "targets_per_second": ",.0f",
    "share_of_peak": ".1%",
    "memory_gib": ".1f",
    "epoch_hours": ".1f",
}
DECODING_COLUMNS = {
    "shape": "",
    "users": ",",
    "prompt_tokens": ".0f",
    "users_per_second": ",.1f",
    "floor_users_per_second": ",.1f",
    "times_floor": ".2f",
    "expanded_nodes": ".1f",
    "rounds": "",
    "memory_gib": ".1f",
}


# --- training --------------------------------------------------------------------------------------------------------


def matrix_peak(device, size):
    """FLOP/s of a bfloat16 product of square matrices."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    repeats = 20 if torch.device(device).type == "cuda" else 1

    def multiply():
        for _ in range(repeats):
            torch.mm(left, right)

    multiply()
    return repeats * 2 * size**3 / median_seconds({"mm": multiply}, 5, partial(_synchronize, device))["mm"]


def draw_batches(setting, count, batch_tokens, generator):
    """Packed batches of windows of about equal lengths, drawn at random from an epoch."""
    windows = setting.packer.plan(setting.items, setting.offsets, 10, generator)
    lengths = setting.packer.sequence_lengths(setting.items, windows)
    longest_first = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(windows):
        size = max(1, batch_tokens // lengths[longest_first[start]])
        batches.append(longest_first[start : start + size])
        start += size
    chosen = generator.choice(len(batches), min(count, len(batches)), replace=False)
    return [setting.packer.pack(setting.items, windows[batches[i]]) for i in chosen]


def training_flops(setting, batches):
    """What LoRA training on some batches needs; see the module's header."""
    model, trie = setting.backbone.causal_model, setting.trie
    tokens = sum(batch.n_tokens for batch in batches)
    pairs = sum(_visible_pairs(batch) for batch in batches)
    logits = sum(batch.n_decisions for batch in batches) * (len(trie.root_token) + len(trie.inner_token)) // 2
    frozen = layer_parameters(model)
    linear = forward_flops(model.config, frozen, tokens, 0, logits)
    return 2 * linear + 3 * forward_flops(model.config, 0, 0, pairs, 0)


def _visible_pairs(batch):
    rows, width = batch.input_ids.shape
    return rows * width * (width + 1) // 2 if batch.attention is None else int(batch.mask().sum())


def train(setting, batches, device, repetitions):
    """Median seconds of a pass over some batches, a step each."""
    trainable = [parameter for parameter in setting.backbone.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-4, fused=True)

    def run():
        for batch in batches:
            optimizer.zero_grad()
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                loss = setting.loss(batch.to(device)) / batch.n_decisions
            loss.backward()
            optimizer.step()

    run()  # warm-up: kernels are chosen and compiled
    return median_seconds({"run": run}, repetitions, partial(_synchronize, device))["run"]


def training_row(model, setting, shape, kernel, options, device, peak):
    """Measure training; where memory does not suffice, activations are recomputed."""
    batches = draw_batches(setting, options.batches, options.batch_tokens, np.random.default_rng(options.seed))
    setting.backbone.train()
    row = {"shape": shape, "template": setting.template.name, "kernel": kernel, "recompute": "no"}
    _forget_memory(device)
    try:
        seconds = train(setting, batches, device, options.repetitions)
    except torch.cuda.OutOfMemoryError:
        row["recompute"] = "yes"
        checkpoint_activations(model)
        _forget_memory(device)
        seconds = train(setting, batches, device, options.repetitions)
    targets = sum(batch.n_targets for batch in batches)
    flops = training_flops(setting, batches) / seconds
    setting.backbone.eval()
    return row | {
        "batches": len(batches),
        "seconds": seconds,
        "tokens_per_second": sum(batch.n_tokens for batch in batches) / seconds,
        "padding": 1 - sum(batch.n_tokens for batch in batches) / sum(batch.input_ids.numel() for batch in batches),
        "targets_per_second": targets / seconds,
        "flops_per_second": flops,
        "share_of_peak": flops / peak,
        "memory_gib": _memory(device),
        "epoch_hours": (synthetic.N_RATINGS - synthetic.N_USERS) / (targets / seconds) / 3600,
    }


# --- decoding --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def sharpen(setting, standard_deviation):
    """Scale the head until the root's logits have this standard deviation."""
    embeds, lengths = setting.embed_prompts(np.arange(min(4, len(setting.offsets) - 1)))
    tree = PromptTree(setting.backbone, setting.trie, embeds, lengths)
    logits = setting.backbone.logits(tree.root_hidden, setting.trie.root_token)
    setting.backbone.causal_model.get_output_embeddings().weight *= standard_deviation / logits.std()


@torch.no_grad()
def decoding_row(setting, shape, options, device):
    """Measure top-10 lists, and feeding the prompts alone."""
    sharpen(setting, options.logit_std)
    prompts = setting.embed_prompts(np.arange(min(options.users, len(setting.offsets) - 1)))
    effort = SearchEffort(expand_at_once=options.expand_at_once)
    found = search(PromptTree(setting.backbone, setting.trie, *prompts), K, effort=effort)
    _forget_memory(device)
    runs = {
        "floor": lambda: PromptTree(setting.backbone, setting.trie, *prompts),
        "search": lambda: search(PromptTree(setting.backbone, setting.trie, *prompts), K, effort=effort),
    }
    seconds = median_seconds(runs, options.repetitions, partial(_synchronize, device))
    users = len(found.items)
    return {
        "shape": shape,
        "users": users,
        "prompt_tokens": prompts[1].float().mean().item(),
        "users_per_second": users / seconds["search"],
        "floor_users_per_second": users / seconds["floor"],
        "times_floor": seconds["search"] / seconds["floor"],
        "expanded_nodes": found.expanded.float().mean().item(),
        "over_budget": int(found.over_budget.sum()),
        "rounds": found.rounds,
        "memory_gib": _memory(device),
    }


def _synchronize(device):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def _forget_memory(device):
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _memory(device):
    return torch.cuda.max_memory_allocated() / 2**30 if torch.device(device).type == "cuda" else None


def measure(shape, texts, histories, tokenizer, options, device, peak):
    """Rows of one shape: training by template and kernel, and decoding."""
    training, decoding = [], []
    for name in options.templates:
        for kernel in kernels(device, name):
            torch.manual_seed(options.seed)
            model = build_model(shape, torch.bfloat16, device, kernel)
            setting = build_setting(model, tokenizer, texts, histories, name, options.window)
            training.append(training_row(model, setting, shape, kernel, options, device, peak))
            if name == "continuation":
                decoding.append(decoding_row(setting, shape, options, device))
            del model, setting
    return training, decoding


def main(arguments=None):
    """Run the benchmark; see the module's header."""
    on_gpu = torch.cuda.is_available()
    options = parser("gpu", __doc__)
    options.add_argument("--tokenizer", help="folder of a LLaMA tokenizer")
    options.add_argument("--shapes", nargs="+", choices=SHAPES, default=["1b", "3b", "7b"] if on_gpu else ["tiny"])
    options.add_argument("--templates", nargs="+", default=["continuation", "instruction"])
    options.add_argument("--window", type=int, default=1024, help="longest sequence in tokens")
    options.add_argument("--batch-tokens", type=int, default=8192)
    options.add_argument("--batches", type=int, default=8 if on_gpu else 2, help="training batches that are timed")
    options.add_argument("--users", type=int, default=128 if on_gpu else 16, help="users that get a list")
    options.add_argument("--items", type=int, default=synthetic.N_ITEMS if on_gpu else 2000)
    options.add_argument("--expand-at-once", type=int, default=16)
    options.add_argument("--logit-std", type=float, default=2.1)
    options = options.parse_args(arguments)
    if options.quick:
        options.shapes, options.repetitions, options.batches, options.items = ["tiny"], 1, 1, 300
    device = "cuda" if on_gpu else "cpu"
    differences = check(options, device)

    generator = np.random.default_rng(options.seed)
    texts = synthetic.titles(options.items, generator)
    histories = synthetic.histories(20_000 if on_gpu else 200, options.items, generator)
    tokenizer = build_tokenizer(options, texts)
    peak = matrix_peak(device, 8192 if on_gpu else 512)
    print(f"bfloat16 matrix product: {peak / 1e12:.3g} TFLOP/s")
    training, decoding = [], []
    for shape in options.shapes:
        more_training, more_decoding = measure(shape, texts, histories, tokenizer, options, device, peak)
        training, decoding = training + more_training, decoding + more_decoding
    results = {
        "training": Results(f"LoRA training, {options.batch_tokens:,} tokens a batch", TRAINING_COLUMNS, training),
        "decoding": Results(f"Top-10 lists, {options.items:,} items", DECODING_COLUMNS, decoding),
    }
    report(options, results, device, check=differences, peak_flops_per_second=peak)


if __name__ == "__main__":
    main()
