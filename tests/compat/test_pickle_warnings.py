"""RecBole's own files are pickles: reading one warns, unless this process wrote it."""

import pickle
import sys
from pathlib import Path

import pytest
import torch

from recbole_genrec import GenRecConfig, run_recbole_genrec
from recbole_genrec.config.yaml_settings import YamlLoader

# isort: split
# stock RecBole imports only once the plugin's patches are in place
from recbole.config import Config
from recbole.data import create_dataset, data_preparation, save_split_dataloaders
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.trainer import Trainer


@pytest.fixture
def stock(tmp_path, monkeypatch, write_dataset):
    """RecBole's settings for a tiny SASRec, in an empty working folder, and a new process's knowledge."""
    monkeypatch.chdir(tmp_path)
    rows = [(user, (user + step) % 9, 100 * step) for user in range(8) for step in range(6)]
    small = {"n_layers": 1, "n_heads": 1, "hidden_size": 8, "inner_size": 8, "epochs": 1, "show_progress": False}
    columns = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "train_neg_sample_args": None}
    metrics = {
        "topk": [3],
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@3",
        "data_path": write_dataset(tmp_path / "data", rows),
    }
    return {**small, **columns, **metrics}


def another_process(monkeypatch):
    """Forget which files this process has written."""
    monkeypatch.setattr("recbole_genrec.compat.torch_calls._own_pickles", set())


def warned(caplog):
    """The warnings since the last call; each is one line."""
    messages = [record.getMessage() for record in caplog.records if "can run any code" in record.getMessage()]
    assert not any("\n" in message for message in messages)
    caplog.clear()
    return messages


def test_a_checkpoint_of_recboles_warns_unless_this_process_wrote_it(stock, monkeypatch, caplog):
    run_recbole("SASRec", "tiny", config_dict=stock)
    assert warned(caplog) == []
    (file,) = Path("saved").glob("SASRec*.pth")
    config, model, *_, test_data = load_data_and_model(str(file))
    assert warned(caplog) == []
    another_process(monkeypatch)
    line = f"{file} is a pickle of RecBole's: reading it can run any code that somebody put into it."
    load_data_and_model(str(file))
    assert warned(caplog) == [line]
    Trainer(config, model).evaluate(test_data, model_file=str(file))
    assert warned(caplog) == [line]
    Trainer(config, model).resume_checkpoint(str(file))
    assert warned(caplog) == [line]


def test_a_run_of_the_runner_warns_of_nothing_that_it_wrote(stock, monkeypatch, caplog):
    another_process(monkeypatch)
    run_recbole_genrec("SASRec", "tiny", config_dict=stock)
    assert list(Path("saved").glob("SASRec*.pth")) and warned(caplog) == []


def test_cached_datasets_and_loaders_of_recboles_warn(stock, monkeypatch, caplog):
    config = Config("SASRec", "tiny", config_dict={**stock, "save_dataset": True})
    dataset = create_dataset(config)
    save_split_dataloaders(config, data_preparation(config, dataset))
    data_preparation(config, create_dataset(config))
    assert warned(caplog) == []
    another_process(monkeypatch)
    data_preparation(config, create_dataset(config))
    files = ("tiny-SequentialDataset.pth", "tiny-for-SASRec-dataloader.pth")
    assert [message.split(" is a pickle")[0] for message in warned(caplog)] == [f"saved/{file}" for file in files]


def test_one_of_several_processes_warns(stock, monkeypatch, caplog):
    load = sys.modules["recbole.trainer.trainer"].torch.load
    torch.save({"a": 1}, "x.pth")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    for rank, lines in ((1, 0), (0, 1)):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        assert load("x.pth") == {"a": 1}
        assert len(warned(caplog)) == lines


def test_pretrained_weights_of_s3rec_warn(tmp_path, monkeypatch, write_dataset, caplog):
    monkeypatch.chdir(tmp_path)
    rows = [(user, f"m{(user + step) % 9}", 100 * step) for user in range(8) for step in range(6)]
    items = [(f"m{item}", "ab"[item % 2]) for item in range(9)]
    header = ("item_id:token", "class:token")
    settings = {"data_path": write_dataset(tmp_path / "data", rows, items, item_header=header), "epochs": 1}
    settings |= {"n_layers": 1, "n_heads": 1, "hidden_size": 8, "inner_size": 8, "topk": [3], "valid_metric": "NDCG@3"}
    settings |= {"item_attribute": "class", "pretrain_epochs": 1, "save_step": 1, "show_progress": False}
    settings |= {"load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]}}
    run_recbole_genrec("S3Rec", "tiny", config_dict={**settings, "train_stage": "pretrain"})
    (file,) = Path("saved").glob("S3Rec*.pth")
    another_process(monkeypatch)
    caplog.clear()
    run_recbole_genrec(
        "S3Rec", "tiny", config_dict={**settings, "train_stage": "finetune", "pre_model_path": str(file)}
    )
    assert [message.split(" is a pickle")[0] for message in warned(caplog)] == [str(file)]


@pytest.mark.parametrize("kind", [GenRecConfig, YamlLoader])
def test_a_checkpoint_of_an_earlier_version_finds_its_configuration(kind):
    assert pickle.loads(f"crecbole_genrec.config\n{kind.__name__}\n.".encode()) is kind
