"""Find the files of a raw dump."""

import fnmatch
import zipfile
from pathlib import Path, PurePosixPath

from recbole_genrec.errors import GenRecError
from recbole_genrec.interactions.converter.raw_file import RawFile


def find_raw_files(dump, source) -> dict[str, RawFile]:
    """Find the files of ``dump`` in what the user named: a folder, a zip, or the file of interactions itself.

    Returns:
        Atomic suffix -> file, for those that are there.

    Raises:
        GenRecError: ``source`` does not exist, or several files could be meant.
    """
    source = Path(source)
    if source.suffix == ".zip" and source.is_file():
        return _in_zip(dump, source)
    if source.is_file():
        return {**_in_folder(dump, source.parent, skip="inter"), "inter": RawFile(source)}
    if not source.is_dir():
        raise GenRecError(f"There is no file or folder {str(source)!r}.")
    return find_in_data_path(dump, source) or _in_folder(dump, source)


def find_in_data_path(dump, data_path) -> dict[str, RawFile]:
    """Find the files of ``dump`` where they lie beside other dumps: by names that are its own.

    In ``data_path``: its archive or the folder it extracts to. In ``data_path/<name>``: these, or its files.
    Amazon's files name their category, so they may lie in ``data_path`` itself.

    Returns:
        Atomic suffix -> file; empty where there are no interactions.
    """
    data_path = Path(data_path)
    own = data_path / dump.name
    candidates = [own]
    if dump.extracted:
        archive = dump.downloads["inter"].file_name
        candidates += [own / dump.extracted, own / archive, data_path / dump.extracted, data_path / archive]
    else:
        candidates.append(data_path)
    for path in candidates:
        if path.is_dir():
            found = _in_folder(dump, path)
        else:
            found = _in_zip(dump, path) if path.is_file() else {}
        if "inter" in found:
            return found
    return {}


def _in_folder(dump, folder, skip=None):
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    found = {}
    for suffix in dump.patterns.keys() - {skip}:
        if matches := _match(dump.patterns[suffix], names):
            found[suffix] = RawFile(folder / _only(matches, folder))
    return found


def _in_zip(dump, path):
    try:
        with zipfile.ZipFile(path) as archive:
            members = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
    except (OSError, zipfile.BadZipFile) as error:
        raise GenRecError(f"Cannot read {path}: {error}. Is the file complete?") from error
    found = {}
    for suffix, patterns in dump.patterns.items():
        if matches := _match(patterns, [member.name for member in members]):
            name = _only(sorted(set(matches)), path)
            member = min((m for m in members if m.name == name), key=lambda m: len(m.parts))
            found[suffix] = RawFile(path, str(member))
    return found


def _match(patterns, names):
    """The names that match the first pattern that matches any."""
    return next((matches for pattern in patterns if (matches := fnmatch.filter(names, pattern))), [])


def _only(names, path):
    if len(names) > 1:
        raise GenRecError(f"{path} holds {', '.join(names)}: which one? Name it: --source={Path(path) / names[0]}.")
    return names[0]
