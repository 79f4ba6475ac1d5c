"""Converters from raw dumps, as published, to RecBole's atomic files.

A dump is streamed: memory does not grow with its rows. Rows keep their order, ids and times their digits. A new kind
of dump is one file with a :class:`~recbole_genrec.interactions.converter.raw_dump.RawDump`, and one line in
:func:`find_dump`.
"""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from recbole_genrec.errors import GenRecError, unknown_name
from recbole_genrec.interactions.converter.amazon import AMAZON, EDITIONS, find_amazon
from recbole_genrec.interactions.converter.atomic_writer import AtomicWriter
from recbole_genrec.interactions.converter.conversion import Conversion, Converter, Options
from recbole_genrec.interactions.converter.download import fetch
from recbole_genrec.interactions.converter.malformed import MalformedRows
from recbole_genrec.interactions.converter.movielens import MOVIELENS
from recbole_genrec.interactions.converter.raw_folder import find_in_data_path, find_raw_files

#: atomic files without which a dump is not converted.
REQUIRED = {"inter": "interactions", "item": "item metadata"}


def find_dump(name):
    """The raw dump of the dataset ``name``, or ``None`` where no converter knows it."""
    return MOVIELENS.get(name) or find_amazon(name)


def convert(name, source=None, output="dataset", **options) -> Conversion:
    """Convert the raw dump of a dataset to atomic files in ``output/name/``.

    Args:
        name: a MovieLens data set, such as ``ml-25m``, or an Amazon category, such as ``amazon18-gift_cards``.
        source: the zip, the file of interactions, or a folder that holds the raw files; default: ``output``.
        output: RecBole's ``data_path``.
        options: fields of :class:`~recbole_genrec.interactions.converter.conversion.Options`.

    Returns:
        What was made, in numbers.

    Raises:
        GenRecError: unknown name, no raw dump, a file that cannot be read or written; nothing is left half-written.
    """
    dump = find_dump(name)
    if dump is None:
        raise _unknown(name)
    options = Options(**options)
    malformed = MalformedRows(options.strict)
    with _progress() as progress:
        files = _raw_files(dump, source, output, options.download, progress)
        with AtomicWriter(output, name) as writer:
            conversion = Converter(dump, files, writer, malformed, options, progress).run()
    malformed.warn()
    return conversion


def convert_found(name, data_path) -> Conversion | None:
    """Convert the raw dump of ``name`` if it lies in ``data_path`` or ``data_path/name``.

    Returns:
        What was made; ``None`` for a name without a converter, and where there is no such dump.
    """
    dump = find_dump(name)
    return convert(name, output=data_path) if dump and find_in_data_path(dump, data_path) else None


def how_to_get(name, folder) -> str:
    """Say which files of the raw dump of ``name`` belong into ``folder``; empty for a name without a converter."""
    dump = find_dump(name)
    if dump is None:
        return ""
    downloads = dict.fromkeys(dump.downloads.values())
    files = " and ".join(f"{file.address} ({file.size})" if file.size else file.address for file in downloads)
    return f"Fetch {files} and put {'it' if len(downloads) == 1 else 'them'} into {str(folder)!r}"


def _raw_files(dump, source, output, download, progress):
    """Find the raw files, or fetch those that are missing."""
    path = Path(source or output)
    find = find_raw_files if source else find_in_data_path
    if download and not path.exists() and path.suffix in (".zip", ".gz"):
        raise GenRecError(f"There is no file {str(path)!r}. With --download, --source is the folder to fetch into.")
    files = find(dump, path) if path.exists() or not download else {}
    if download:
        missing = [dump.downloads[suffix] for suffix in REQUIRED if suffix not in files]
        for file in dict.fromkeys(missing):
            fetch(file, path.parent if path.is_file() else path, progress)
        files = find(dump, path) if missing else files
    for suffix in REQUIRED:
        if suffix not in files:
            names = dict.fromkeys([dump.downloads[suffix].file_name, *dump.patterns[suffix]])
            wanted = ", ".join(name for name in names if "*" not in name)
            folder = path.parent if path.is_file() else path
            raise GenRecError(
                f"No {REQUIRED[suffix]} of {dump.name!r} in {str(path)!r}, where {wanted} would hold them. "
                f"{how_to_get(dump.name, folder)}, or add --download."
            )
    return files


def _progress():
    """A bar on the terminal, of bytes read or received."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _unknown(name):
    year = str(name).partition("-")[0]
    if year in EDITIONS:
        return unknown_name("dataset", name, (known for known in AMAZON if known.startswith(f"{year}-")))
    return unknown_name("dataset", name, (*MOVIELENS, *(f"{year}-<category>" for year in EDITIONS)))
