"""Values as JSON can hold them."""

import json

import torch

from recbole_genrec.files.plain import plain

# isort: split
from recbole.config import Config


def test_values_become_plain():
    config = Config("SASRec", "ml-100k", config_dict={"train_neg_sample_args": None})
    text = json.dumps(plain({"config": config.final_config_dict, "set": {1}, "tensor": torch.tensor(2.5)}))
    assert '"tensor": 2.5' in text and '"MODEL_TYPE": "SEQUENTIAL"' in text
