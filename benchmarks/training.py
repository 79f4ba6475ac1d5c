"""Packed training against one prompt for each target: targets per second and per GFLOP, with the loss of both.

    python -m benchmarks.training

The reference trains as the published GenRec code does with ``transformers``: one right-padded prompt for each target,
labels on the response alone, the loss of ``AutoModelForCausalLM``; a batch is a forward, a backward and an AdamW step.
It gets the batch size that is fastest for it, in random order as ``Trainer`` draws it and, as a favour, sorted by
length. Packed training gets the same histories, each with all its targets, in one batch and step. Both sides train the
shipped scratch model without dropout on users of ml-100k, from the same weights; no history is cut. The reference
normalises over the vocabulary; ``packed, trie`` is the shipped objective, a different loss.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from benchmarks.common import Results, forward_flops, layer_parameters, median_seconds, parser, report
from benchmarks.recommenders import build
from recbole_genrec.batches.packing import Windows
from recbole_genrec.interactions.dataset import train_sequences
from recbole_genrec.runs.process import tune_malloc

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
#: tokens of a packed batch, about.
PACKED_TOKENS = 8192
WITHOUT_DROPOUT = {"embedding_dropout": 0.0, "hidden_dropout": 0.0}
COLUMNS = {
    "template": "",
    "history": "",
    "method": "",
    "batch": "",
    "targets": "",
    "tokens_per_target": ".1f",
    "loss": ".6f",
    "targets_per_second": ",.0f",
    "targets_per_gflop": ",.1f",
    "ratio": ".1f",
}


@dataclass
class Sample:
    """A prompt with its response, and how many of its tokens come before the response."""

    tokens: np.ndarray
    prompt_length: int


class Reference:
    """One prompt for each target, trained by the model's own loss."""

    def __init__(self, model, samples):
        self.model, self.samples = model.backbone.model, samples
        self.pad_id = model.backbone.pad_id
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def batches(self, size, order):
        """Batches ``(input_ids, attention_mask, labels)``, each ``[size, T]``."""
        return [self._collate([self.samples[i] for i in order[at : at + size]]) for at in range(0, len(order), size)]

    def _collate(self, samples):
        width = max(len(sample.tokens) for sample in samples)
        input_ids = torch.full((len(samples), width), self.pad_id)
        mask, labels = torch.zeros_like(input_ids), torch.full_like(input_ids, -100)
        for row, sample in enumerate(samples):
            length = len(sample.tokens)
            input_ids[row, :length] = torch.from_numpy(sample.tokens)
            mask[row, :length] = 1
            labels[row, sample.prompt_length : length] = input_ids[row, sample.prompt_length : length]
        return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}

    def train(self, batches):
        for batch in batches:
            self.optimizer.zero_grad()
            self.model(**batch).loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def loss(self, batches):
        """Mean over all labelled tokens."""
        counts = [(batch["labels"] != -100).sum().item() for batch in batches]
        losses = [self.model(**batch).loss.item() for batch in batches]
        return float(np.average(losses, weights=counts))

    def flops(self, batches):
        shapes = [batch["input_ids"].shape for batch in batches]
        padded = [not batch["attention_mask"].all() for batch in batches]
        tokens = sum(rows * width for rows, width in shapes)
        # where nothing is padded, attention is plainly causal, which halves the pairs
        pairs = sum(rows * width**2 / (1 if holes else 2) for (rows, width), holes in zip(shapes, padded))
        logits = tokens * self.model.config.vocab_size
        return 3 * forward_flops(self.model.config, layer_parameters(self.model), tokens, pairs, logits)

    def fastest_size(self, order):
        """The batch size of most targets per second, tried on some of the samples."""
        some = order[: max(BATCH_SIZES)]
        runs = {size: partial(self.train, self.batches(size, some)) for size in BATCH_SIZES if size <= len(some)}
        seconds = median_seconds(runs, repetitions=2)
        return min(seconds, key=seconds.get)


class Packed:
    """All targets of a history in one forward."""

    def __init__(self, model, items, windows):
        self.model, self.items, self.windows = model, items, windows
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def batch(self):
        return self.model.packer.pack(self.items, self.windows)

    def train(self):
        self.optimizer.zero_grad()
        self.model.calculate_loss(self.batch()).backward()
        self.optimizer.step()

    @torch.no_grad()
    def loss(self):
        return self.model.calculate_loss(self.batch()).item()

    def flops(self):
        batch, backbone = self.batch(), self.model.backbone
        rows, width = batch.input_ids.shape
        chunks = batch.attention.chunks if batch.attention else ()
        trunk = chunks[0][0] if chunks else width
        pairs = rows * (trunk**2 / 2 + sum((stop - begin) * (seen + stop - own) for begin, stop, seen, own in chunks))
        tokens = len(self.model.trie.root_token) + len(self.model.trie.inner_token)
        logits = batch.n_decisions * (tokens if self.model.engine.normalization == "trie" else backbone.vocab_size)
        return 3 * forward_flops(backbone.config, layer_parameters(backbone.model), rows * width, pairs, logits)


def draw_histories(items, offsets, length, count, generator):
    """The first ``length + 1`` items of ``count`` users who have so many, flat, and where each begins."""
    users = np.flatnonzero(np.diff(offsets) > length)
    begin = offsets[generator.choice(users, min(count, len(users)), replace=False)]
    return items[begin[:, None] + np.arange(length + 1)].ravel(), np.arange(len(begin) + 1) * (length + 1)


def single_prompts(model, items, offsets):
    """A :class:`Sample` for each target: every item of a history but its first."""
    begin = np.repeat(offsets[:-1], np.diff(offsets) - 1)
    target = np.concatenate([np.arange(first + 1, last) for first, last in zip(offsets[:-1], offsets[1:])])
    prompts = model.packer.prompts(items, begin, target)
    trie, samples = model.trie, []
    for row, item in enumerate(items[target]):
        prompt = prompts.input_ids[row, : prompts.lengths[row]].numpy()
        response = trie.token[trie.token_offset[item] : trie.token_offset[item + 1]].numpy()
        samples.append(Sample(np.concatenate([prompt, response]), len(prompt)))
    return samples


def compare(template, length, sequences, options):
    """Rows of the table for one template and length of history."""
    settings = {"prompt": template, "max_prompt_tokens": 4096, "seed": options.seed, **WITHOUT_DROPOUT}
    models = {name: build("ml-100k", normalization=name, **settings)[1] for name in ("vocab", "trie")}
    generator = np.random.default_rng(options.seed)
    packer = models["vocab"].packer
    per_sequence = packer.sequence_lengths(sequences[0], Windows(*map(np.array, ([0], [1], [length + 1]))))[0]
    count = 1 if options.quick else max(1, round(PACKED_TOKENS / per_sequence))
    items, offsets = draw_histories(*sequences, length, count, generator)
    windows = Windows(offsets[:-1], offsets[:-1] + 1, offsets[1:])

    reference = Reference(models["vocab"], single_prompts(models["vocab"], items, offsets))
    packed = {name: Packed(model, items, windows) for name, model in models.items()}
    n_targets = len(reference.samples)
    tokens = [len(sample.tokens) for sample in reference.samples]
    orders = {"reference": generator.permutation(n_targets), "reference, sorted": np.argsort(tokens)}
    losses = {name: contestant.loss() for name, contestant in packed.items()}
    losses["reference"] = reference.loss(reference.batches(8, orders["reference, sorted"]))

    sizes, batches = {}, {}
    for name, order in orders.items():
        sizes[name] = reference.fastest_size(generator.permutation(n_targets))
        batches[name] = reference.batches(sizes[name], order)
    runs = {name: partial(reference.train, batches[name]) for name in orders}
    runs |= {f"packed, {name}": contestant.train for name, contestant in packed.items()}
    seconds = median_seconds(runs, options.repetitions)

    flops = {name: reference.flops(batches[name]) for name in orders}
    flops |= {f"packed, {name}": contestant.flops() for name, contestant in packed.items()}
    fed = {name: sum(batch["input_ids"].numel() for batch in batches[name]) for name in orders}
    fed |= {f"packed, {name}": contestant.batch().input_ids.numel() for name, contestant in packed.items()}
    return [
        {
            "template": template,
            "history": length,
            "method": name,
            "batch": sizes.get(name, f"{count} histories"),
            "targets": n_targets,
            "tokens_per_target": fed[name] / n_targets,
            "loss": losses["trie" if name == "packed, trie" else "vocab" if name == "packed, vocab" else "reference"],
            "targets_per_second": n_targets / seconds[name],
            "targets_per_gflop": n_targets / flops[name] * 1e9,
            "ratio": seconds["reference"] / seconds[name],
            "ratio_to_sorted": seconds["reference, sorted"] / seconds[name],
        }
        for name in runs
    ]


def main(arguments=None):
    """Run the benchmark; see the module's header."""
    options = parser("training", __doc__)
    options.add_argument("--histories", type=int, nargs="+", default=[10, 50, 200])
    options.add_argument("--templates", nargs="+", default=["instruction", "continuation"])
    options = options.parse_args(arguments)
    if options.quick:
        options.histories, options.repetitions = options.histories[:1], 1
    tune_malloc()
    _, model, train, _ = build("ml-100k", seed=options.seed)
    sequences = train_sequences(train.dataset)[1:]
    rows = []
    for template in options.templates:
        for length in options.histories:
            rows += compare(template, length, sequences, options)
    title = "Training, ml-100k: ratio is to the reference in random order"
    report(options, {"rows": Results(title, COLUMNS, rows)})


if __name__ == "__main__":
    main()
