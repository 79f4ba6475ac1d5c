"""What does an epoch of GenRec cost beside an epoch of SASRecAll of the same width, layers and history length?

    python -m benchmarks.cost [--dataset ml-100k] [--data FOLDER] [--history 100]

All models train on the same split, by their own trainers: planning, laying out, forward, backward, clipping, optimizer.
They take turns, an epoch each, so that a noisy machine is noisy for all of them. Nothing is validated or written.

* ``seconds``, ``cpu_seconds``: of an epoch, the smallest of the repetitions; wall, and of the process on all its cores,
  which other programs disturb less. The medians are ``median_seconds`` and ``median_cpu``.
* ``ratio``: CPU seconds over SASRecAll's; the median over the repetitions, each a pair of neighbours in time.
* ``mflop_per_target``: products of matrices, forward and backward, as torch counts them over the first ``--counted``
  batches. Attention counts with all pairs of its tokens: also those that a causal kernel skips.
* ``not_products``: share of the time that goes elsewhere, over the same batches, by ``torch.profiler``. The file has
  the operations that took most (``operations``), their own time alone. ``python`` is what no operation covers: packing
  in numpy, the modules' code, the dispatcher.

SASRecAll pads a batch to ``MAX_ITEM_LIST_LENGTH`` or its longest window; GenRec puts windows of like length into a
batch. Its windows overlap by ``min_history`` items, SASRecAll's by as many as fit. So ``positions`` differ: trained
cells a target, padding included.

Then GenRec ranks test users, exact top 10, after the epochs above: users a second and expanded nodes a user, with what
a user has seen kept and left out.
"""

import statistics
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time

import torch
from recbole.utils import init_seed
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import Results, parser, report
from benchmarks.left_out import rank, users_of
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import get_trainer
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.interactions.unseen import UnseenLoader
from recbole_genrec.runs.process import tune_malloc
from recbole_genrec.runs.run import build_model, share_data_settings

REFERENCE = "SASRecAll"
_VECTORS = {"history": "vectors", "item_prior": True, "item_prior_loss": 1.0}
#: model and settings by the name of a row.
CONTESTANTS = {
    REFERENCE: ("SASRecAll", {}),
    "GenRec, vectors, branch_share .25": ("GenRec", {**_VECTORS, "branch_share": 0.25}),
    "GenRec, vectors, branch_share 1": ("GenRec", {**_VECTORS, "branch_share": 1.0}),
    "GenRec, text": ("GenRec", {"history": "text"}),
}
#: tokens of a batch: a padded batch of SASRecAll, 128 windows, has more, one of text needs them.
BATCH_TOKENS = {"vectors": 2048, "text": 8192}
#: operations that are products of matrices.
PRODUCTS = ("aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::baddbmm", "aten::baddbmm_")
PRODUCTS += tuple(f"aten::_scaled_dot_product_flash_attention_for_cpu{end}" for end in ("", "_backward"))
#: the product that the counter of torch passes over, by the shapes of its arguments.
UNCOUNTED = {torch.ops.aten.addmm_: lambda own, left, right, **_: 2 * left[0] * left[1] * right[1]}
STEPS = "training steps"
COLUMNS = {
    "model": "",
    "parameters": ",",
    "positions": ".2f",
    "seconds": ".2f",
    "median_seconds": ".2f",
    "cpu_seconds": ".2f",
    "median_cpu": ".2f",
    "ratio": ".2f",
    "targets_per_second": ",.0f",
    "mflop_per_target": ".2f",
    "gflops": ".1f",
    "not_products": ".0%",
}
RANKING_COLUMNS = {
    "model": "",
    "users": ",",
    "kept": ",.0f",
    "left_out": ",.0f",
    "nodes_kept": ".1f",
    "nodes_left_out": ".1f",
}


class Contestant:
    """A model with its trainer and its batches."""

    def __init__(self, config, data):
        init_seed(config["seed"], config["reproducibility"])
        self.config, self.model = config, build_model(config, data)
        self.loader = data.train_loader(config, self.model)
        self.trainer = get_trainer(config["MODEL_TYPE"], config["model"], 1)(config, self.model)
        self.trainer.tensorboard.close()
        self.epoch, self.seconds, self.cpu_seconds = 0, [], []

    def train_epoch(self):
        """Train an epoch and note its seconds."""
        wall, cpu = perf_counter(), process_time()
        self.trainer._train_epoch(self.loader, self.epoch)
        self.seconds.append(perf_counter() - wall)
        self.cpu_seconds.append(process_time() - cpu)
        self.epoch += 1

    def train_batches(self, count):
        """Forward and backward of the first batches of an epoch.

        Returns:
            Numbers of targets and of cells, padding included.
        """
        self.model.train()
        self.loader.set_epoch(self.epoch)
        n_targets = n_cells = 0
        for batch in islice(self.loader, count):
            self.trainer.optimizer.zero_grad()
            self.model.calculate_loss(batch).backward()
            packed = hasattr(batch, "n_targets")
            n_targets += batch.n_targets if packed else int(batch["new_targets"].sum())
            n_cells += batch.input_ids.numel() if packed else batch[self.model.ITEM_SEQ].numel()
        return n_targets, n_cells


def configure(options, name, settings):
    """The configuration of a model; GenRec's prompts have room for ``--history`` items."""
    common = {"MAX_ITEM_LIST_LENGTH": options.history, "seed": options.seed, "topk": [10], "show_progress": False}
    common |= {"hidden_size": options.width, "n_layers": options.layers} if name == REFERENCE else {}
    if name == "GenRec":
        common |= {"scratch_hidden_size": options.width, "scratch_layers": options.layers}
        common |= {"train_batch_tokens": BATCH_TOKENS[settings["history"]], "max_prompt_tokens": 4096}
    if options.data:
        common["data_path"] = str(options.data)
    return GenRecConfig(name, options.dataset, None, common | settings)


def fit_history(config, data):
    """Where histories are text, set ``max_prompt_tokens`` so that as many items of mean length fit as others take."""
    if config["history"] != "text":
        return
    init_seed(config["seed"], config["reproducibility"])
    packer = build_model(config, data).packer
    longest_answer = config["max_prompt_tokens"] - packer.history_budget
    items = data.parts[0].inter_feat[data.dataset.iid_field].numpy()
    tokens = packer.item_length[items].mean() * config["MAX_ITEM_LIST_LENGTH"]
    config["max_prompt_tokens"] = min(longest_answer + round(float(tokens)), config["max_prompt_tokens"])


def measure(contestant, counted):
    """Fields of a row that follow from some batches: FLOPs, cells, and where the time goes."""
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter, sdpa_kernel(SDPBackend.MATH):
        n_targets, n_cells = contestant.train_batches(counted)
    with profile(activities=[ProfilerActivity.CPU]) as profiler, record_function(STEPS):
        contestant.train_batches(counted)
    events = profiler.key_averages()
    total = next(event.cpu_time_total for event in events if event.key == STEPS)
    own = {event.key: event.self_cpu_time_total / total for event in events}
    own["python"] = own.pop(STEPS)
    largest = dict(sorted(own.items(), key=lambda pair: -pair[1])[:25])
    return {
        "positions": n_cells / n_targets,
        "mflop_per_target": counter.get_total_flops() / n_targets / 1e6,
        "not_products": 1 - sum(own.get(name, 0) for name in PRODUCTS),
        "operations": {name: round(share, 4) for name, share in largest.items()},
    }


def row_of(name, contestant, reference, counted):
    """A row of the table of epochs."""
    wall, cpu = contestant.seconds, contestant.cpu_seconds
    measured = measure(contestant, counted)
    speed = contestant.loader.n_targets / min(cpu)
    return {
        "model": name,
        "parameters": sum(parameter.numel() for parameter in contestant.model.parameters()),
        "targets": contestant.loader.n_targets,
        "seconds": min(wall),
        "median_seconds": statistics.median(wall),
        "cpu_seconds": min(cpu),
        "median_cpu": statistics.median(cpu),
        "ratio": statistics.median(own / other for own, other in zip(cpu, reference.cpu_seconds)),
        "targets_per_second": speed,
        "gflops": measured["mflop_per_target"] * speed / 1e3,
        **measured,
        "all_seconds": wall,
        "all_cpu_seconds": cpu,
    }


def ranking_row(name, contestant, data, count):
    """A row of the table of ranking: GenRec's exact top 10, seen items kept and left out, in turn."""
    config, model = contestant.config, contestant.model.eval()
    test = data.evaluation_loader(config, "test")
    kept, left_out = users_of(test, count), users_of(UnseenLoader(config, data.parts[2], None), count)
    rank(model, kept[:1])  # the first forward allocates
    users, figures = sum(map(len, kept)), {"model": name}
    for side, batches in (("kept", kept), ("left_out", left_out)):
        seconds, nodes = rank(model, batches)
        figures |= {side: users / seconds, f"nodes_{side}": nodes}
    return figures | {"users": users}


def main(arguments=None):
    """Run the benchmark; see the module's header."""
    options = parser("cost", __doc__)
    options.add_argument("--dataset", default="ml-100k")
    options.add_argument("--data", type=Path, help="folder with the dataset's folder")
    options.add_argument("--models", nargs="+", choices=list(CONTESTANTS)[1:], default=list(CONTESTANTS)[1:])
    options.add_argument("--history", type=int, default=100, help="items of a history")
    options.add_argument("--width", type=int, default=64)
    options.add_argument("--layers", type=int, default=2)
    options.add_argument("--counted", type=int, default=10, help="batches that are counted and profiled")
    options.add_argument("--users", type=int, default=512, help="test users, rounded up to whole batches")
    options = options.parse_args(arguments)
    if options.quick:
        options.repetitions, options.counted, options.users = 1, 1, 1
    tune_malloc()
    asked = {name: CONTESTANTS[name] for name in (REFERENCE, *options.models)}
    configs = {name: configure(options, *contestant) for name, contestant in asked.items()}
    first, *others = configs.values()
    for config in others:
        share_data_settings(first, config)
    data = SplitData(list(configs.values()))
    for config in others:
        fit_history(config, data)
    contestants = {name: Contestant(config, data) for name, config in configs.items()}
    for repetition in range(options.repetitions + 1):
        for contestant in contestants.values():
            contestant.train_epoch()
            if repetition == 0 and options.repetitions > 1:  # the first one allocates
                contestant.seconds.clear(), contestant.cpu_seconds.clear()
    rows = [row_of(*pair, contestants[REFERENCE], options.counted) for pair in contestants.items()]
    ranked = [ranking_row(name, contestants[name], data, options.users) for name in options.models]
    results = {
        "rows": Results(f"An epoch of {options.dataset}, histories of {options.history} items", COLUMNS, rows),
        "ranking": Results("Exact top 10: users a second, nodes a user", RANKING_COLUMNS, ranked),
    }
    report(options, results)


if __name__ == "__main__":
    main()
