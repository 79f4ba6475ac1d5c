"""What the benchmarks share: options, timing, counts of floating-point operations, and the report."""

import argparse
import json
import os
import platform
import statistics
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import torch
from rich.console import Console

from recbole_genrec.files.table import console_table

LIBRARIES = ("torch", "transformers", "peft", "numpy", "recbole")


def parser(name, documentation):
    """An argument parser with the options of every benchmark; the documentation is that of its module."""
    options = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=documentation,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--output", type=Path, default=Path(f"results/benchmarks/{name}.json"))
    options.add_argument("--quick", action="store_true", help="a smoke run: small sizes, one repetition")
    options.add_argument("--repetitions", type=int, default=3, help="timings are medians of so many")
    options.add_argument("--seed", type=int, default=2020)
    return options


def median_seconds(contestants, repetitions, synchronize=lambda: None):
    """Time some functions in turn, again and again, so that a noisy machine is noisy for all of them.

    Args:
        contestants: functions by name.
        repetitions: how often each is timed.
        synchronize: waits for the device.

    Returns:
        The median of each function's seconds, by name.
    """
    seconds = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, run in contestants.items():
            synchronize()
            start = perf_counter()
            run()
            synchronize()
            seconds[name].append(perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def layer_parameters(model):
    """Parameters of a model's matrices, without the embeddings and the head: each is one product for each token."""
    excluded = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    return sum(p.numel() for p in model.parameters() if p.ndim == 2 and id(p) not in excluded)


def forward_flops(config, n_parameters, tokens, pairs, logits):
    """Floating-point operations of forwards (Kaplan et al. 2020, section 2.1).

    Args:
        config: the language model's configuration.
        n_parameters: of the layers' matrices.
        tokens: tokens that pass through the layers, padding included.
        pairs: pairs of tokens between which attention is computed, masked ones included.
        logits: logits that the head computes.
    """
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = 4 * config.num_hidden_layers * config.num_attention_heads * head_size * pairs
    return 2 * n_parameters * tokens + attention + 2 * config.hidden_size * logits


def environment(device="cpu"):
    """Date, versions, hardware and threads."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # the GPU benchmark needs no RecBole
            continue
    versions["torch"] = torch.__version__
    hardware = {"cpu": _cpu_name(), "cpu_count": os.cpu_count(), "threads": torch.get_num_threads()}
    if torch.device(device).type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        hardware |= {"gpu": properties.name, "gpu_gib": round(properties.total_memory / 2**30, 1)}
        hardware["cuda"] = torch.version.cuda
    return {"date": date.today().isoformat(), "versions": versions, "hardware": hardware}


def _cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


@dataclass
class Results:
    """Rows of a benchmark and how they are shown."""

    title: str
    #: the keys that the table shows, each with the format of its values.
    columns: dict
    #: dicts; the file has all their keys.
    rows: list

    def table(self):
        header = [key.replace("_", " ") for key in self.columns]
        rows = [[_shown(row.get(key), form) for key, form in self.columns.items()] for row in self.rows]
        return console_table(self.title, [header, *rows])


def report(options, results, device="cpu", **details):
    """Print results as tables and write everything to the output file.

    Args:
        options: parsed options.
        results: :class:`Results` by their name in the file.
        device: what the numbers were taken on.
        details: what else belongs into the file.
    """
    content = {
        **environment(device),
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()},
        **details,
        **{name: result.rows for name, result in results.items()},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    console = Console(width=180)
    for result in results.values():
        console.print(result.table())
    console.print(f"Written to {options.output}.", highlight=False)


def _shown(value, form):
    return "" if value is None else format(value, form)
