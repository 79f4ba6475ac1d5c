"""GenRecSeq2Seq on the checkerboard."""

from recbole.utils import init_seed

from recbole_genrec.config.config import GenRecConfig
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.run import build_model

NAME = "GenRecSeq2Seq"
#: learned places know nothing of longer histories than those that were trained
SHORT = {"MAX_ITEM_LIST_LENGTH": 4}
#: settings of short stages.
QUICK = {"pretrain_epochs": 2, "epochs": 2, "warmup_steps": 2, "train_batch_tokens": 512}


def built(settings, **changes):
    config = GenRecConfig(NAME, "tiny", config_dict=settings | changes)
    data = SplitData([config])
    init_seed(config["seed"], True)
    return config, data, build_model(config, data)
