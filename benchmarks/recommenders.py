"""Trained recommenders for the benchmarks: GenRec with its defaults, on ml-100k or on data of one's own."""

import csv
import json
import math
from itertools import islice
from zlib import crc32

import torch
from recbole.data import data_preparation
from recbole.utils import init_seed

from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.config.registry import plugin_dataset
from recbole_genrec.files.properties import properties_folder


def build(dataset, **settings):
    """Build GenRec on a dataset.

    Args:
        dataset: name of a RecBole dataset.
        settings: over GenRec's defaults; those that a dataset has of its own are left out.

    Returns:
        Configuration, model, training data and test data.
    """
    config = GenRecConfig("GenRec", dataset, [str(properties_folder() / "model/GenRec.yaml")], settings)
    init_seed(config["seed"], config["reproducibility"])
    train, _, test = data_preparation(config, plugin_dataset("GenRec")(config))
    return config, config.model_class(config, train.dataset), train, test


def train_for(model, config, data, steps):
    """Train for some steps with the configured settings, cosine decay over these steps."""
    loader = model.training_loader(config, data.dataset)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config["learning_rate"],
        betas=config["adam_betas"],
        weight_decay=config["weight_decay"],
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _factor(step, config["warmup_steps"], steps))
    model.train()
    for batch in islice(endless(loader), steps):
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), **config["clip_grad_norm"])
        optimizer.step()
        schedule.step()
    model.eval()


def endless(loader):
    """Yield the loader's batches, epoch after epoch."""
    while True:
        yield from loader


def _factor(step, warmup, steps):
    return min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / steps)))


def trained(dataset, steps, cache=None, **settings):
    """As :func:`build`, and trained; the weights are kept in the folder ``cache`` and read from there next time."""
    config, model, train, test = build(dataset, **settings)
    asked = crc32(json.dumps(settings, sort_keys=True).encode())  # other settings may make a model of another shape
    file = cache and cache / f"{dataset}-{model.engine.normalization}-{steps}-{config['seed']}-{asked:08x}.pt"
    if file and file.is_file():
        model.load_state_dict(torch.load(file, weights_only=True))
    else:
        train_for(model, config, train, steps)
        if file:
            cache.mkdir(parents=True, exist_ok=True)
            torch.save(model.state_dict(), file)
    return model.eval(), test


def write_movielens_25m(source, target):
    """Write the raw ``movies.csv`` and ``ratings.first100k.csv`` of a folder as a RecBole dataset ``ml-25m``.

    Double quotes in titles become single ones: RecBole's reader of item files takes them for quoting.

    Returns:
        Settings with which the whole catalogue is read: every movie, rated or not.
    """
    folder = target / "ml-25m"
    folder.mkdir(parents=True, exist_ok=True)
    with open(source / "movies.csv", encoding="utf-8", newline="") as movies:
        titles = {movie: title.replace('"', "'") for movie, title, _ in islice(csv.reader(movies), 1, None)}
    with open(source / "ratings.first100k.csv", encoding="utf-8", newline="") as ratings:
        rows = [f"{user}\t{movie}\t{time}" for user, movie, _, time in islice(csv.reader(ratings), 1, None)]
    items = [f"{movie}\t{title}" for movie, title in titles.items()]
    for suffix, lines in (
        ("item", ["item_id:token\tmovie_title:token_seq", *items]),
        ("inter", ["user_id:token\titem_id:token\ttimestamp:float", *rows]),
    ):
        (folder / f"ml-25m.{suffix}").write_text("\n".join([*lines, ""]), "utf-8")
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]}
    return {"data_path": str(target), "item_text": "{movie_title}", "load_col": columns}
