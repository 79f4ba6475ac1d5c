import pytest

from tests.servers import save_chat_model

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
    "semantic_codes": 4,
    "semantic_steps": 20,
    "topk": [1, 5],
    "metrics": ["Hit", "NDCG"],
    "valid_metric": "NDCG@5",
    "epochs": 60,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "stopping_step": 60,
    "show_progress": False,
}
#: the secret of fixtures that chat with a server; it may come into no file.
KEY = "sk-very-secret-0123456789"
#: the items of the checkerboard, in the order in which users walk along them.
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


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A tiny LLaMA over bytes that has learnt nothing."""
    return save_chat_model(tmp_path_factory.mktemp("checkpoint"), "")


@pytest.fixture
def local(checkerboard, checkpoint):
    """Settings of ``ranking: scoring``."""
    return checkerboard | {"backbone": checkpoint, "max_prompt_tokens": 512}


@pytest.fixture
def chat(checkerboard, monkeypatch):
    """Settings of ``ranking: chat`` with a server."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def settings(server, **changes):
        return checkerboard | {
            "ranking": "chat",
            "chat_model": "small",
            "base_url": getattr(server, "url", server),
            "retry_wait": 0.01,
            "request_timeout": 5.0,
            "max_prompt_tokens": 512,
            **changes,
        }

    return settings
