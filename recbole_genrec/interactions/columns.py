"""The columns that settings name, held against the files: RecBole ignores one that no file has, or fails late."""

from pathlib import Path

from recbole_genrec.errors import GenRecError, listed, shown
from recbole_genrec.files.atomic_file import AtomicFile

#: settings that name columns, each as a list or as the keys of a mapping.
COLUMN_SETTINGS = (
    "val_interval",
    "normalize_field",
    "threshold",
    "discretization",
    "numerical_features",
    "seq_len",
    "preload_weight",
    "alias_of_user_id",
    "alias_of_item_id",
    "alias_of_entity_id",
    "alias_of_relation_id",
)
#: settings that name columns of each file.
FILE_SETTINGS = ("load_col", "unload_col", "unused_col")


def check_columns(config, inter):
    """Refuse a setting that names a column which no file has, or which is not loaded.

    Args:
        config: of a run.
        inter: types by name of the columns of its ``.inter`` file, the first one of several.

    Raises:
        GenRecError: the message names setting, column and file.
    """
    folder, name = Path(config["data_path"]), config["dataset"]
    kinds = {"inter": inter}

    def columns_of(file):
        """Types by name of the columns of a file by its suffix, or ``None`` where there is no such file."""
        if file not in kinds:
            path = folder / f"{name}.{file}"
            kinds[file] = AtomicFile.of(path, config).columns() if path.is_file() else None
        return kinds[file]

    for key in FILE_SETTINGS:
        if key not in config.given_by:  # RecBole's default names columns that a dataset may call otherwise
            continue
        for file, columns in (config[key] or {}).items():
            _check_file(key, file, columns, columns_of(file), f"{folder / name}.{file}")
    loaded = _loaded(config, "inter", columns_of("inter"))
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD"):
        if config[key] not in loaded:
            raise GenRecError(
                f"'load_col' and 'unload_col' leave out {config[key]!r} ({key}) of {name}.inter, without which "
                f"there are no histories. Loaded: {listed(loaded)}."
            )
    more = _texts(config["additional_feat_suffix"])
    for file in more:
        if columns_of(file) is None:
            path = f"{folder / name}.{file}"
            raise GenRecError(f"{config['model']}: file {path} is missing; 'additional_feat_suffix' names it.")
    for file in ("item", "user", "kg", "link", *more):
        loaded |= _loaded(config, file, columns_of(file) or {})
    for key in COLUMN_SETTINGS:
        for column in _texts(config[key]):
            if column not in loaded:
                raise GenRecError(f"{key!r} names {shown(column)}, which is no loaded column: {listed(loaded)}.")
    _check_values(config, loaded)


def _check_file(key, file, columns, present, path):
    if present is None:
        raise GenRecError(f"{key!r} names columns of a file that is not there: {path}.")
    for column in [] if columns == "*" else columns:
        if column not in present:
            raise GenRecError(f"{key!r} names {shown(column)}, which is no column of {path}: {listed(present)}.")


def _loaded(config, file, present):
    """The columns of a file that RecBole loads (dataset.py:430), with their types."""
    wanted, unwanted = config["load_col"], (config["unload_col"] or {}).get(file, ())
    if wanted is not None:
        wanted = wanted.get(file, ())
    return {
        name: kind
        for name, kind in present.items()
        if (wanted is None or wanted == "*" or name in wanted) and name not in unwanted
    }


def _check_values(config, loaded):
    """Refuse a filter or a label whose values are of another kind than the column's."""
    for column, values in (config["val_interval"] or {}).items():
        is_number = loaded[column].startswith("float")
        if is_number != isinstance(values, str):
            needed = "an interval such as '[3,inf)'" if is_number else "a list of the tokens to keep"
            raise GenRecError(
                f"'val_interval: {column}' must be {needed}, since the column is of type {loaded[column]!r}, not "
                f"{shown(values)}."
            )
    for key in ("normalize_field", "threshold", "discretization", "numerical_features"):
        for column in _texts(config[key]):
            if not loaded[column].startswith("float"):
                raise GenRecError(f"{key!r} takes columns of numbers: {column!r} is of type {loaded[column]!r}.")
    for key, column in (config["preload_weight"] or {}).items():
        if column not in loaded:
            raise GenRecError(f"'preload_weight: {key}' names {shown(column)}, which is no loaded column.")


def _texts(value):
    """The texts of a setting: of a list, the keys of a mapping, or the one text that it is."""
    return [value] if isinstance(value, str) else list(value or ())
