"""Fixtures that every room's tests share."""

import gc
import sys

import pytest
import torch

import recbole_genrec  # noqa: F401  mends RecBole, before any test imports a part of it

# What the imports have made stays: the collector need not go through it at every turn.
gc.freeze()

# Tiny tensors: a second thread costs more than it brings, and two test runs would fight over the cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_command_line(monkeypatch):
    """RecBole's Config reads sys.argv; pytest's own options are none of its keys."""
    monkeypatch.setattr(sys, "argv", ["pytest"])


@pytest.fixture(scope="session")
def write_dataset():
    """Write atomic files and return the folder that RecBole calls ``data_path``.

    ``interactions``: rows (user, item, timestamp, ...); ``items``: rows (item, title, ...), or None for no ``.item``
    file. More columns are named by their headers.
    """

    def write(
        folder,
        interactions,
        items=None,
        *,
        name="tiny",
        inter_header=("user_id:token", "item_id:token", "timestamp:float"),
        item_header=("item_id:token", "title:token_seq"),
    ):
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for suffix, header, rows in (("inter", inter_header, interactions), ("item", item_header, items)):
            if rows is not None:
                lines = ["\t".join(map(str, row)) for row in (header, *rows)]
                (target / f"{name}.{suffix}").write_bytes(("\n".join(lines) + "\n").encode())
        return str(folder)

    return write


@pytest.fixture(scope="session", autouse=True)
def cache_of_vectors(tmp_path_factory):
    """Text vectors are cached in a folder of the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECBOLE_GENREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
