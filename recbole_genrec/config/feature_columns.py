"""Columns that some of RecBole's models read beside users, items and times: RecBole's users list them in ``load_col``.

Without them RecBole fails with a ``KeyError`` or an ``AttributeError``. Settings given by the user are not changed.
"""

from collections.abc import Mapping

from recbole_genrec.errors import GenRecError, listed

#: keys that name columns of ``.item``: the first for SASRecF, GRU4RecF and FDSA, the second for S3Rec.
ITEM_KEYS = ("selected_features", "item_attribute")
#: models with a knowledge graph, and the files of pretrained vectors that they load: ``.ent`` of entities, ``.rel`` of
#: relations.
GRAPH_MODELS = {"GRU4RecKG": ("ent",), "KSR": ("ent", "rel")}
_ALIAS = {"ent": "entity", "rel": "relation"}


def item_columns(settings):
    """The key that names the columns of ``.item`` to read, and the columns; ``None`` and ``[]`` without any."""
    for key in ITEM_KEYS:
        if settings[key]:
            return key, [settings[key]] if isinstance(settings[key], str) else list(settings[key])
    return None, []


def add_feature_columns(model, settings, given, defaults):
    """Add the columns that a model of RecBole reads to ``load_col``.

    Args:
        model: its name.
        settings: of the run, a dictionary; it is changed in place.
        given: the settings that the user gave.
        defaults: of RecBole and the package for this model.
    """
    loaded = settings["load_col"]
    wanted = {}
    _, features = item_columns({key: settings[key] if key in defaults else None for key in ITEM_KEYS})
    if features:
        wanted["item"] = [settings["ITEM_ID_FIELD"], *features]
    if model in GRAPH_MODELS:
        wanted["kg"] = [settings[f"{kind}_ID_FIELD"] for kind in ("HEAD_ENTITY", "RELATION", "TAIL_ENTITY")]
        wanted["link"] = [settings["ITEM_ID_FIELD"], settings["ENTITY_ID_FIELD"]]
        if not {"additional_feat_suffix", "preload_weight"} & given.keys():
            files = GRAPH_MODELS[model]
            settings["additional_feat_suffix"] = list(files)
            settings["preload_weight"] = {f"{file}_id": f"{file}_emb" for file in files}
            for file in files:
                wanted[file] = [f"{file}_id", f"{file}_emb"]
                alias = f"alias_of_{_ALIAS[file]}_id"  # numbered together with the columns of the graph
                settings[alias] = settings.get(alias) or [f"{file}_id"]
    if isinstance(loaded, Mapping):  # else everything is loaded
        settings["load_col"] = dict(loaded) | {file: _union(loaded.get(file, []), wanted[file]) for file in wanted}


def _union(columns, more):
    return columns if columns == "*" else list(dict.fromkeys([*columns, *more]))


def check_item_columns(config, dataset):
    """Refuse a model that reads a missing column of ``.item``.

    Raises:
        GenRecError: the message names key and column.
    """
    key, columns = item_columns(config)
    path = f"{dataset.dataset_path}/{dataset.dataset_name}.item"
    for column in columns:
        if dataset.item_feat is None or column not in dataset.item_feat:
            have = "there is no such file" if dataset.item_feat is None else f"loaded: {listed(dataset.item_feat)}"
            raise GenRecError(
                f"{config['model']}: {key!r} names {column!r}, no column of {path} that is read ({have})."
            )
