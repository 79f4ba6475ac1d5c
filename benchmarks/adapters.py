"""Adapters on one pretrained checkpoint: what each trains, what an epoch costs, and how well it ranks.

    python -m benchmarks.adapters --backbone FOLDER_OR_HUB_ID [--epochs 3] [--users 0] [--adapters lora prefix ...]

Trains GenRec on the users of ml-100k with at most 40 ratings, or ``--users`` of them, from the same weights and seed
behind each adapter, and validates after every epoch. Learning rates are those of ``RATES``, not tuned: what trains few
numbers takes large steps. Nothing is tested.

Columns: trained parameters; the learning rate; processor seconds of a training epoch (median over the epochs), and
their ratio to those of ``none``, which trains all weights; the epoch that validates best, its NDCG@10 and HR@10.
"""

import statistics
from time import process_time

from recbole.utils import init_seed

from benchmarks.common import Results, parser, report
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import get_trainer
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.process import tune_malloc
from recbole_genrec.runs.run import build_model
from recbole_genrec.training.listeners import Listener

#: learning rate by adapter.
RATES = {"lora": 4e-3, "ia3": 2e-2, "prompt": 2e-2, "prefix": 2e-2, "none": 1e-3}
COLUMNS = {
    "adapter": "",
    "trained": ",",
    "learning_rate": "g",
    "epoch_cpu_seconds": ".1f",
    "ratio": ".2f",
    "best_epoch": "",
    "ndcg@10": ".4f",
    "hit@10": ".4f",
}
SETTINGS = {
    "user_inter_num_interval": "[5,40]",
    "max_prompt_tokens": 384,
    "history": "text",
    "item_prior": False,
    "item_prior_loss": 0.0,
    "history_dropout": 0.0,
    "ema_decay": 0.0,
    "embedding_dropout": 0.0,
    "hidden_dropout": 0.0,
    "weight_decay": 0.0,
    "metrics": ["Hit", "NDCG"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "eval_step": 1,
    "show_progress": False,
}


class Record(Listener):
    """Keeps processor seconds of each training epoch, and its validation."""

    def __init__(self):
        self.seconds, self.results, self._begun = [], [], 0.0

    def training_started(self, trainer):
        """Begin to count."""
        self._begun = process_time()

    def epoch_trained(self, trainer, epoch, loss, seconds):
        """Keep what the epoch took."""
        self.seconds.append(process_time() - self._begun)

    def epoch_validated(self, trainer, result, seconds):
        """Keep the metrics; the next epoch begins."""
        self.results.append(dict(result))
        self._begun = process_time()


def train(adapter, options):
    """Train behind one adapter; a row of the table."""
    settings = {"backbone": options.backbone, "adapter": adapter, "learning_rate": RATES[adapter], "seed": options.seed}
    settings |= {"epochs": options.epochs, "stopping_step": options.epochs}
    if options.users:
        settings["sample_users"] = options.users
    if options.data:
        settings["data_path"] = options.data
    config = GenRecConfig("GenRec", options.dataset, config_dict=SETTINGS | settings)
    data, record = SplitData([config]), Record()
    init_seed(config["seed"], config["reproducibility"])
    model = build_model(config, data)
    trainer = get_trainer(config["MODEL_TYPE"], "GenRec")(config, model)
    trainer.listeners.append(record)
    loader = data.evaluation_loader(config, "valid")
    trainer.fit(data.train_loader(config, model), loader, saved=False, show_progress=False)
    best = max(range(len(record.results)), key=lambda epoch: record.results[epoch]["ndcg@10"])
    return {
        "adapter": adapter,
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "parameters": sum(p.numel() for p in model.parameters()),
        "learning_rate": RATES[adapter],
        "users": len(loader._dataset),
        "epoch_cpu_seconds": statistics.median(record.seconds),
        "best_epoch": best + 1,
        "ndcg@10": record.results[best]["ndcg@10"],
        "hit@10": record.results[best]["hit@10"],
        "validation": [result["ndcg@10"] for result in record.results],
    }


def main(arguments=None):
    """Run the benchmark; see the module's header."""
    options = parser("adapters", __doc__)
    options.add_argument("--backbone", required=True, help="folder or hub id of a pretrained causal language model")
    options.add_argument("--adapters", nargs="+", default=list(RATES), choices=list(RATES))
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--users", type=int, default=0, help="draw so many users; 0: all")
    options.add_argument("--dataset", default="ml-100k")
    options.add_argument("--data", default="", help="RecBole's data_path, for another dataset")
    options = options.parse_args(arguments)
    if options.quick:
        options.epochs = 1
    tune_malloc()
    rows = [train(adapter, options) for adapter in options.adapters]
    whole = next((row["epoch_cpu_seconds"] for row in rows if row["adapter"] == "none"), None)
    for row in rows:
        row["ratio"] = row["epoch_cpu_seconds"] / whole if whole else None
    report(options, {"rows": Results(f"Adapters, {options.dataset}, {rows[0]['users']} users", COLUMNS, rows)})


if __name__ == "__main__":
    main()
