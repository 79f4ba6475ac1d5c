import pytest

#: a scratch model that learns a small world in a second or two.
SMALL = {
    "scratch_hidden_size": 32,
    "scratch_layers": 1,
    "scratch_intermediate_size": 32,
    "scratch_vocab_size": 300,
    "embedding_dropout": 0.0,
    "hidden_dropout": 0.0,
    "max_prompt_tokens": 96,
    "n_candidates": 8,
    "train_batch_tokens": 1024,
    "topk": [1, 5],
    "metrics": ["Hit", "NDCG"],
    "valid_metric": "NDCG@5",
    "epochs": 60,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "stopping_step": 60,
    "show_progress": False,
}
BLACK = ["Heat", "Heat 2", "Alien", "The Sting", "The Thing", "Up"]
WHITE = ["Big", "Big Fish", "Brazil", "The Killing", "Toy Story", "Toy Story 2"]


@pytest.fixture
def checkerboard(tmp_path, write_dataset, monkeypatch):
    """Settings of a world with a known answer: users walk along black items or along white ones, in a fixed circle."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for user in range(48):  # every start and length, so that places tell nothing
        colour, start, length = (BLACK, WHITE)[user % 2], user // 2 % 6, 6 + user // 12
        rows += [(f"u{user}", colour[(start + time) % 6], 1_000_000_000 + time) for time in range(length)]
    items = [(title, title) for title in BLACK + WHITE]
    return SMALL | {"data_path": write_dataset(tmp_path / "data", rows, items)}
