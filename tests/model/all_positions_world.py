"""A small world for the tests of models that train at all positions, and what a batch of it holds."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_genrec.config.registry import plugin_model

LONGEST = 6
HEADER = ("user_id:token", "item_id:token", "timestamp:float", "rating:float")
STILL = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
#: seconds between interactions: of every scale, so that times fall into many buckets.
SCALES = [0, 1, 1, 7, 90, 90, 3_600, 86_400, 3_000_000, 90_000_000]


def write_world(write_dataset, folder):
    """Histories of 3 to 14 items, at unix times and with ratings; returns RecBole's ``data_path``."""
    random, ratings, rows = np.random.default_rng(0), np.random.default_rng(1), []
    for user in range(20):
        items = random.permutation(20)[: random.integers(3, 15)]
        times = 900_000_000 + np.cumsum(random.choice(SCALES, len(items)))
        rows += [(f"u{user}", f"i{item}", time, ratings.integers(1, 6)) for item, time in zip(items, times)]
    path = write_dataset(folder, rows, inter_header=HEADER)
    users = [f"u{user}\t{20 + user % 7}\t{'' if user % 5 == 0 else 'FM'[user % 2]}" for user in range(19)]
    (Path(path) / "tiny/tiny.user").write_text("\n".join(["user_id:token\tage:float\tgender:token", *users]) + "\n")
    return path


def build(name, data_path, spread=True, **settings):
    """A model without dropout, with its data and loaders.

    Args:
        name: of the model.
        data_path: see :func:`write_world`.
        spread: draw all parameters anew, widely, so that every one of them matters.
        settings: over the model's own.
    """
    model_class = plugin_model(name)
    given = STILL if name == "SASRecAll" or name == "BSARec" else {"hidden_dropout_prob": 0.0}
    given = given | {"MAX_ITEM_LIST_LENGTH": LONGEST, "hidden_size": 8, "data_path": data_path, "topk": [3]}
    given |= {"valid_metric": "NDCG@3", "show_progress": False, "train_batch_size": 7, **settings}
    config = Config(model_class, "tiny", config_dict=given)
    init_seed(1, True)
    train, valid, test = data_preparation(config, create_dataset(config))
    model = model_class(config, train.dataset)
    if spread:
        for parameter in model.parameters():
            parameter.data.normal_(std=0.5)
    loader = model.training_loader(config, train.dataset)
    return SimpleNamespace(config=config, model=model, train=train, valid=valid, test=test, loader=loader)


def alone(batch, columns=("item_id",)):
    """A batch with a row for each new target of ``batch``: the same targets, each with its own history."""
    rows = {name: [] for column in columns for name in (column, f"{column}_list")} | {"item_length": [], "user_id": []}
    for row, (length, new) in enumerate(zip(batch["item_length"].tolist(), batch["new_targets"].tolist())):
        for end in range(length - new + 1, length + 1):
            rows["item_length"].append(torch.tensor(end))
            rows["user_id"].append(batch["user_id"][row])
            for column in columns:
                values = torch.cat([batch[f"{column}_list"][row, :length], batch[column][row, None]])
                history = values[:end]
                rows[f"{column}_list"].append(torch.nn.functional.pad(history, (0, LONGEST - end)))
                rows[column].append(values[end])
    return {name: torch.stack(values) for name, values in rows.items()}
