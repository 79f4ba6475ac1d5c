"""A cache of arrays by content: a file is named by the SHA-256 of everything that determines its arrays.

The folder is that of the environment variable ``RECBOLE_GENREC_CACHE``, else ``recbole_genrec`` in the user's folder of
caches. It can be deleted at any time.
"""

import hashlib
import json
import os
from logging import getLogger
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from recbole_genrec.files.write import replacing

FOLDER = "RECBOLE_GENREC_CACHE"
#: of a file larger than twice this, the first and the last so many bytes are read for its fingerprint.
_ENDS = 1 << 22


def cache_folder():
    """The folder of the cache."""
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER]).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "recbole_genrec"


def cached(key, make):
    """Arrays that ``make`` gives, from the cache where it has them.

    A damaged file is made anew. Where a file cannot be written, a warning says so.

    Args:
        key: all that the arrays follow from, in a form that JSON can hold.
        make: takes nothing, gives arrays by name and facts that JSON can hold.

    Returns:
        What ``make`` gives: a dict of arrays, and the facts.
    """
    path = cache_folder() / f"{_sha256(json.dumps(key, sort_keys=True).encode())}.safetensors"
    stored = _read(path)
    if stored is not None:
        return stored
    arrays, facts = make()
    try:
        with replacing(path, shared=True) as temporary:
            save_file(arrays, temporary, {"facts": json.dumps(facts), "sha256": _digest(arrays)})
    except OSError as error:
        getLogger().warning(f"Text vectors are not cached: {path} cannot be written ({error.strerror}).")
    return arrays, facts


def _read(path):
    """The arrays and facts of a file, or ``None`` where it is missing or damaged."""
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata()
        if metadata["sha256"] != _digest(arrays):
            raise ValueError("its content has changed")
        return arrays, json.loads(metadata["facts"])
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValueError, LookupError, TypeError) as error:
        getLogger().warning(f"The cached file {path} is damaged and made anew: {error}.")
        return None


def _digest(arrays):
    """SHA-256 of arrays, their names, types and shapes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def fingerprint_of_folder(folder):
    """A fingerprint of a folder: names, sizes and content of its files; of large files, both ends.

    Hidden files and texts for people (``.md``) do not count.
    """
    digest = hashlib.sha256()
    folder = Path(folder)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".md" or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
        with path.open("rb") as file:
            if size > 2 * _ENDS:
                digest.update(file.read(_ENDS))
                file.seek(-_ENDS, os.SEEK_END)
            digest.update(file.read())
    return digest.hexdigest()


def _sha256(content):
    return hashlib.sha256(content).hexdigest()
