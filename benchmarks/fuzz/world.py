"""A tiny dataset, and a model of it with sharp random weights."""

import torch
from recbole.data import create_dataset, data_preparation

from recbole_genrec.config.config import GenRecConfig

TITLES = ["Toy Story", "Heat", "Heat 2", "Sting, The", "Alien", "Brazil", "Up"]
SMALL = {
    "scratch_hidden_size": 8,
    "scratch_layers": 1,
    "scratch_intermediate_size": 8,
    "scratch_vocab_size": 300,
    "topk": [3],
    "valid_metric": "NDCG@3",
    "max_prompt_tokens": 96,
    "MAX_ITEM_LIST_LENGTH": 5,
    "train_batch_tokens": 400,
    "epochs": 1,
    "show_progress": False,
    "tune_malloc": False,
}


def write_dataset(folder, titles=TITLES, histories=None, name="tiny"):
    """Atomic files; ``histories`` are lists of places in ``titles``, one a user. Returns RecBole's ``data_path``."""
    if histories is None:
        histories = [[(user + step) % len(titles) for step in range(5)] for user in range(6)]
    rows = ["user_id:token\titem_id:token\ttimestamp:float\trating:float"]
    for user, chosen in enumerate(histories):
        rows += [f"u{user}\tm{item}\t{time}\t{1 + item % 5}" for time, item in enumerate(chosen)]
    users = ["user_id:token\tage:float\tjob:token"]
    users += [f"u{user}\t{20 + user}\t{('writer', '', 'artist')[user % 3]}" for user in range(len(histories))]
    items = ["item_id:token\ttitle:token_seq\tyear:token"]
    items += [f"m{number}\t{title}\t{1990 + number}" for number, title in enumerate(titles)]
    (folder / name).mkdir(parents=True, exist_ok=True)
    for suffix, lines in (("inter", rows), ("item", items), ("user", users)):
        (folder / name / f"{name}.{suffix}").write_bytes(("\n".join(lines) + "\n").encode())
    return str(folder)


def build(data_path, seed=1, **settings):
    """Configuration and a GenRec with random weights."""
    config = GenRecConfig("GenRec", "tiny", config_dict={"data_path": data_path, **SMALL, **settings})
    train, _, _ = data_preparation(config, create_dataset(config))
    torch.manual_seed(seed)
    model = config.model_class(config, train._dataset).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4)
    return config, model
