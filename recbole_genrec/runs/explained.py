"""Explanations by a checkpoint of a model that was trained on reviews, P5 or PEPLER."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from recbole.utils import init_seed

from recbole_genrec.checkpoint.folder import read_settings, read_state_dict, verify
from recbole_genrec.errors import GenRecError, shown
from recbole_genrec.interactions.split import SplitData
from recbole_genrec.runs.process import ready_cpu, recbole_logging
from recbole_genrec.runs.reopen import read_config
from recbole_genrec.runs.run import build_model


@dataclass(frozen=True)
class Explained:
    """What :func:`explain` gives.

    Attributes:
        text: the explanation.
        about: the feature that it was asked to be about, ``""`` for none.
        is_given: whether the caller named it; else it is predicted.
        is_feature: whether training knows it as a feature.
        title: of the item, or its id.
        knows_user: whether training has the user.
    """

    text: str
    about: str
    is_given: bool
    is_feature: bool
    title: str
    knows_user: bool


def explain(checkpoint, user, item, about="", data_path=None, trust_remote_code=False):
    """Explain an item to a user.

    Args:
        checkpoint: a folder. user, item: raw ids in the dataset that it was trained on.
        about: word that the explanation should be about; empty: the predicted feature, or none.
        data_path: folder of the dataset's folder; ``None``: where it was in training.
        trust_remote_code: run Python code that comes with the checkpoint's backbone.

    Returns:
        :class:`Explained`.

    Raises:
        GenRecError: the checkpoint is damaged, of another kind of model or of other data; the item is unknown; or
            ``about`` is given to a model without features in its prompts.
    """
    folder = verify(checkpoint)
    name = read_settings(folder)["model"]
    if name not in EXPLAINING:
        raise GenRecError(f"The checkpoint {str(folder)!r} is of {shown(name)}. Models that explain: P5 and PEPLER.")
    config = read_config(folder, trust_remote_code)
    if data_path is not None:
        config.final_config_dict["data_path"] = str(Path(data_path) / config["dataset"])
    with recbole_logging(config, console=False):
        ready_cpu(config)
        data = SplitData([config])
        init_seed(config["seed"], config["reproducibility"])
        model = build_model(config, data)
    model.load_state_dict(read_state_dict(folder))
    model.eval()
    tokens = {field: data.dataset.field2token_id[field] for field in (data.dataset.uid_field, data.dataset.iid_field)}
    users, items = tokens.values()
    if item not in items:
        near = get_close_matches(item, items, 1)
        hint = f" Did you mean {str(near[0])!r}?" if near else ""
        raise GenRecError(f"Dataset {config['dataset']!r} has no item {shown(item)}.{hint}")
    text, asked = model.explain(int(users.get(user, 0)), int(items[item]), about)
    number = int(items[item]) - 1
    title = model.catalogue.item_texts[number] or item
    return Explained(text, asked, bool(about), asked in model.features.names, title, user in users)


#: models whose class is :class:`~recbole_genrec.model.explaining.Explaining`, known before anything heavy is imported.
EXPLAINING = ("P5", "PEPLER")
