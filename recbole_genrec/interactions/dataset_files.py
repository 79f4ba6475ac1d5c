"""A dataset made of RecBole's atomic files, and their checks: a bad row is named by file and line."""

import os
from math import isfinite
from pathlib import Path
from urllib.error import URLError

from pandas.errors import ParserError

from recbole_genrec.errors import GenRecError, listed, shown
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.interactions.atomic_tables import no_interactions
from recbole_genrec.interactions.columns import check_columns
from recbole_genrec.interactions.converter import convert_found
from recbole_genrec.interactions.dataset_folder import check_folder, how_to_make
from recbole_genrec.interactions.presplit import interaction_files


def convert_raw_dump(config):
    """Convert the raw dump of the dataset where its interactions are missing and its dump lies in ``data_path``.

    Returns:
        What was made, in words; ``None`` where there was nothing to do.
    """
    folder = Path(config["data_path"])
    if config["benchmark_filename"] or interaction_files(config)[0].is_file():
        return None
    return convert_found(config["dataset"], folder.parent)


def check_dataset(config):
    """Check that the dataset of ``config`` is there, or can be downloaded, and has the columns that settings name.

    Of the files, headers alone are read: :func:`build_dataset` checks rows when it reads them.

    Raises:
        GenRecError: there is no such dataset, file or column, or a header is malformed; the message names the path.
    """
    folder, name = Path(config["data_path"]), config["dataset"]
    if not check_folder(name, folder):
        return  # it will be downloaded
    parts = config["benchmark_filename"]
    if parts is not None and (not isinstance(parts, list) or len(set(map(str, parts))) != 3):
        raise GenRecError(
            f"'benchmark_filename' names the three parts of the files {name}.<part>.inter, such as "
            f"[train, valid, test], not {shown(parts)}."
        )
    columns = []
    for path in interaction_files(config):
        if not path.is_file():
            present = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
            fetch = "" if config["benchmark_filename"] else how_to_make(name, folder)
            raise GenRecError(f"Dataset {name!r}: file {str(path)!r} is missing. The folder holds {present}.{fetch}")
        columns.append(check_header(path, config))
    check_columns(config, columns[0])


def check_rows(config):
    """Check all rows of the interactions, which are read here once more: for what runs much later.

    Raises:
        GenRecError: a row is malformed; the message names path and line.
    """
    for path in interaction_files(config):
        if path.is_file() and not AtomicFile.of(path, config).check():
            raise no_interactions(path)


def check_header(path, config):
    """Check that an ``.inter`` file has columns of users, items and times; gives the types of all by name."""
    columns = AtomicFile.of(path, config).columns()
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD"):
        if config[key] not in columns:
            raise GenRecError(f"{path}, line 1: no column {config[key]!r} ({key}). Columns: {listed(columns)}.")
    return columns


def first_bad_row(path, config) -> str | None:
    """Describe the first cell of a numeric column that is no number, or the first row of another length.

    Returns:
        The file, line and reason, or ``None`` where the file is sound.
    """
    file = AtomicFile.of(path, config)
    try:
        columns = file.columns()
        for number, cells in file.rows():
            for (name, kind), cell in zip(columns.items(), cells):
                numbers = cell.split(config["seq_separator"]) if kind == "float_seq" else [cell]
                if kind.startswith("float") and not all(map(_is_number, filter(None, numbers))):
                    return f"{path}, line {number}: {shown(cell)} in column {name!r} is not a number."
    except GenRecError as error:
        return str(error)
    return None


def explain(error, config) -> GenRecError | None:
    """Name the malformed row behind an error of reading the dataset, in whichever of its atomic files it is."""
    folder, name = Path(config["data_path"]), config["dataset"]
    for path in sorted(folder.glob(f"{name}.*")):
        if path.suffix in (".inter", ".item", ".user") and (reason := first_bad_row(path, config)):
            return GenRecError(reason)
    return None


def _is_number(cell):
    """Whether pandas reads a number: Python also takes ``1_000``, digits of other scripts, and any length for one."""
    try:
        number = float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell and (isfinite(number) or not any(map(str.isdigit, cell)))


def download_failed(error, config) -> GenRecError:
    """Turn a failed download into an error, and remove the empty folder that RecBole made for it."""
    folder = config["data_path"]
    if os.path.isdir(folder) and not os.listdir(folder):
        os.rmdir(folder)
    return GenRecError(
        f"Dataset {config['dataset']!r} cannot be downloaded: {error}. Put its atomic files into {str(folder)!r}."
    )


def build_dataset(dataset_class, config, text_columns=None, context_columns=None):
    """RecBole's dataset of a configuration.

    Args:
        dataset_class: made by :func:`~recbole_genrec.interactions.dataset.exact_dataset_class`.
        config: the configuration.
        text_columns: what it keeps as texts; see :class:`~recbole_genrec.interactions.atomic_tables.AtomicTables`.
        context_columns: see :class:`~recbole_genrec.interactions.context_columns.ContextColumns`.

    Raises:
        GenRecError: a file cannot be fetched or read, or the filters leave nothing.
    """
    try:
        return dataset_class(config, text_columns, context_columns)
    except GenRecError:
        raise
    except URLError as error:
        raise download_failed(error, config) from error
    except (ParserError, ValueError) as error:
        explained = explain(error, config)
        if explained is None and "feat is empty" in str(error):  # dataset.py:873, after its filters
            explained = GenRecError(f"Dataset {config['dataset']!r}: its filters leave no interaction.")
        if explained is None and "not found" in str(error):  # dataset.py:385, kg_dataset.py:205: another file
            explained = GenRecError(f"{config['model']}: {error}")
        if explained is None:
            raise
        raise explained from error
