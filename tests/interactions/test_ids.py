"""Users and items are texts: what looks like a number, or like nothing, is a name of its own."""

import pytest

from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.split import SplitData

NUMBERS = ["7", "007", "07", "1000", "0", "00"]
WORDS = ["7.0", "1e3", "NA", "nan", "null", "None", "True", "-inf", "#N/A"]


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("ids", [NUMBERS, WORDS, NUMBERS + WORDS])
def test_every_id_is_its_own(tmp_path, write_dataset, ids, lazy):
    rows = [(user, item, time) for user in ids for time, item in enumerate(ids)]
    settings = {"data_path": write_dataset(tmp_path, rows), "lazy_windows": lazy, "topk": [1], "valid_metric": "Hit@1"}
    dataset = SplitData([GenRecConfig("SASRec", "tiny", config_dict=settings)]).dataset
    for field in ("user_id", "item_id"):
        assert sorted(dataset.field2id_token[field][1:].tolist()) == sorted(ids)
