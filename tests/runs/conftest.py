"""The world with a known answer that the tests of ``model`` have, too; runs of small models on a small dataset."""

import pytest

from tests.model.conftest import checkerboard  # noqa: F401  a fixture

SMALL = {
    "hidden_size": 8,
    "SASRec": {"inner_size": 8, "n_layers": 1, "n_heads": 1},
    "BERT4Rec": {"inner_size": 8, "n_layers": 1, "n_heads": 1},
    "GRU4Rec": {"embedding_size": 8, "num_layers": 1},
    "epochs": 2,
    "topk": [1, 3],
    "show_progress": False,
}


@pytest.fixture
def settings(tmp_path, monkeypatch, write_dataset):
    """An empty working folder; gives the settings of a run on the dataset ``tiny``: 8 users, 9 items, 48 rows."""
    rows = [(user, (user + step) % 9, 1000 + step) for user in range(8) for step in range(6)]
    monkeypatch.chdir(tmp_path)
    return {**SMALL, "data_path": write_dataset(tmp_path / "data", rows)}
