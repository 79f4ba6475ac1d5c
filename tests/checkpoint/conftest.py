"""A small model over eight movies, to store and to load."""

import pytest
import torch
from recbole.data import create_dataset, data_preparation

from recbole_genrec.config.config import GenRecConfig
from tests.builders import MOVIES, SCRATCH

VECTORS = {"history": "both", "edge_embedding": True, "item_prior": True}
SMALL = {**SCRATCH, "max_prompt_tokens": 64, **VECTORS}


@pytest.fixture
def world(tmp_path, write_dataset):
    """A function that builds configuration, datasets and model over eight movies."""

    def build(titles=MOVIES, seed=1, **settings):
        rows = [(f"u{u}", f"m{(u + t) % len(titles)}", 100 + t) for u in range(8) for t in range(5)]
        items = [(f"m{i}", title) for i, title in enumerate(titles)]
        data_path = write_dataset(tmp_path / "data", rows, items)
        config = GenRecConfig("GenRec", "tiny", config_dict={"data_path": data_path, **SMALL, **settings})
        dataset = create_dataset(config)
        train, _, test = data_preparation(config, dataset)
        torch.manual_seed(seed)
        model = config.model_class(config, train._dataset).eval()
        if model.item_embedding is not None:
            torch.nn.init.normal_(model.item_embedding.weight)
        return config, model, next(iter(test))[0]

    return build
