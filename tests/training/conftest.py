"""Whole trainings of a small GenRec, which can die and go on."""

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_genrec.compat.tensorboard import no_tensorboard
from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.training.trainer import GenRecTrainer

TITLES = ["Toy Story", "GoldenEye", "Four Rooms", "Get Shorty", "Copycat", "Babe", "Seven", "Braveheart"]
SMALL = {
    "scratch_hidden_size": 16,
    "scratch_layers": 1,
    "scratch_intermediate_size": 32,
    "scratch_vocab_size": 300,
    "max_prompt_tokens": 64,
    "train_batch_tokens": 256,
    "topk": [3],
    "valid_metric": "NDCG@3",
    "epochs": 4,
    "learning_rate": 0.01,
    "warmup_steps": 3,
    "train_batch_size": 8,
}


class Death(Exception):
    """The process dies."""


class Run:
    """Everything that one process has: built from the settings alone."""

    def __init__(self, data_path, folder, settings):
        settings = {**SMALL, "data_path": data_path, "checkpoint_dir": str(folder), **settings}
        self.config = GenRecConfig("GenRec", "tiny", config_dict=settings)
        init_seed(self.config["seed"], True)
        dataset = create_dataset(self.config)
        self.train, self.valid, self.test = data_preparation(self.config, dataset)
        self.model = self.config.model_class(self.config, self.train._dataset)
        if self.config["packing"]:
            self.train = self.model.training_loader(self.config, self.train._dataset)
        with no_tensorboard():  # whose thread would write on when the test's folder is gone
            self.trainer = GenRecTrainer(self.config, self.model)

    def fit(self, **options):
        return self.trainer.fit(self.train, self.valid, verbose=False, **options)

    def weights(self):
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


@pytest.fixture
def make_run(tmp_path, write_dataset, monkeypatch):
    """Build a run; the same ``folder`` stands for the same working folder."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{u}", f"m{(u * 3 + t * (1 + u % 2)) % 8}", 100 + t) for u in range(24) for t in range(6)]
    data_path = write_dataset(tmp_path / "data", rows, [(f"m{i}", title) for i, title in enumerate(TITLES)])

    def make(folder="saved", **settings):
        return Run(data_path, tmp_path / folder, settings)

    return make


def interrupt_after(run, n_epochs):
    """Let ``run`` die at the start of the epoch after ``n_epochs`` of them."""
    train_epoch = run.trainer._train_epoch

    def dying(train_data, epoch_idx, *args, **kwargs):
        if epoch_idx == n_epochs:
            raise Death
        return train_epoch(train_data, epoch_idx, *args, **kwargs)

    run.trainer._train_epoch = dying
    with pytest.raises(Death):
        run.fit()


def assert_same(one, two):
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


WITHIN_AN_EPOCH = [
    {"train_batch_tokens": 100},
    {"packing": False, "gradient_accumulation_steps": 2, "train_batch_size": 4},
    {"ema_decay": 0.9, "eval_step": 0, "train_batch_tokens": 100},
    {"prompt": "instruction", "max_prompt_tokens": 512, "train_batch_tokens": 600, "history_dropout": 0.2},
]
