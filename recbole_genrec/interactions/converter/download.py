"""Fetch published files, checked before they get their names."""

import gzip
import hashlib
import re
import shutil
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.write import replacing

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60


def fetch(download, folder, progress=None) -> Path:
    """Fetch a file into ``folder``, unless it is there already.

    The length is compared with the server's ``Content-Length``, and the MD5 with ``download.md5`` or the sum that the
    server publishes beside the file. Without a sum the checksums inside the zip or gzip are checked.

    Args:
        download: a :class:`~recbole_genrec.interactions.converter.raw_dump.Download`.
        folder: where the file goes; made where it does not exist.
        progress: a ``rich.progress.Progress``, or ``None``.

    Returns:
        The path of the file.

    Raises:
        GenRecError: the file cannot be fetched or written, or fails a check; nothing is left behind.
    """
    path = Path(folder) / download.file_name
    if path.exists():
        return path
    try:
        with replacing(path) as part:
            md5 = _receive(download.address, part, progress, path.name)
            expected = download.md5 or _published_md5(download.address)
            if expected and md5 != expected:
                raise GenRecError(f"{download.address}: the MD5 sum is {md5}, not {expected}. Try again.")
            if not expected:
                _check_archive(part, download.address)
    except (OSError, HTTPException) as error:  # URLError is an OSError
        if isinstance(error, HTTPError):
            error.close()
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise GenRecError(f"Cannot fetch {download.address} to {path}: {reason}.") from error
    return path


def _receive(address, part, progress, name):
    """Write what the server sends to ``part``; return its MD5. ``name`` stands beside the progress."""
    digest, received = hashlib.md5(usedforsecurity=False), 0
    with _request(address) as response, open(part, "wb") as file:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdecimal() else None
        if total and total > shutil.disk_usage(part.parent).free:
            raise GenRecError(f"{address} has {total:,} bytes, more than the disk of {part.parent} has left.")
        task = progress and progress.add_task(name, total=total)
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            if progress:
                progress.update(task, completed=received)
    if total is not None and received != total:
        raise GenRecError(f"{address}: {received:,} bytes came instead of {total:,}. Try again.")
    return digest.hexdigest()


def _published_md5(address):
    """The sum in the file ``<address>.md5``, as GroupLens publishes it; ``""`` where there is none."""
    try:
        with _request(f"{address}.md5") as response:
            found = re.search(rb"\b[0-9a-fA-F]{32}\b", response.read(4096))
    except HTTPError as error:
        error.close()
        return ""
    return found[0].decode().lower() if found else ""


def _check_archive(path, address):
    """Read an archive through, which compares the checksums inside it."""
    damaged = None
    try:
        if address.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        elif address.endswith(".gz"):
            with gzip.open(path) as file:
                while file.read(CHUNK_BYTES):
                    pass
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        damaged = error
    if damaged:
        raise GenRecError(f"{address}: what came is damaged ({damaged}). Try again.")


def _request(address):
    # some servers refuse urllib's own name
    return urlopen(Request(address, headers={"User-Agent": "recbole_genrec"}), timeout=TIMEOUT_SECONDS)
