"""Write files and folders atomically: under a temporary name, synced to disk, then renamed.

A file ``x`` is written as ``.x.tmp``. A folder ``x`` is written as ``.x.new``; while it replaces another one, that one
is ``.x.old``, from where :func:`settle` brings it back after a crash.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path


@contextmanager
def replacing(path: str | PathLike[str], shared: bool = False) -> Iterator[Path]:
    """Write a file: the block gets a temporary path, which takes the place of ``path`` when the block ends.

    Where the block is left by an exception, the temporary file goes and ``path`` stays as it was.

    Args:
        path: the file; its folder is made where it does not exist.
        shared: several processes may write this file at the same time, each under a temporary name of its own.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp" if shared else f".{path.name}.tmp")
    try:
        yield temporary
        put_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | PathLike[str], text: str, shared: bool = False) -> None:
    """Write a text file, in UTF-8, with :func:`replacing`."""
    with replacing(path, shared) as temporary:
        temporary.write_text(text, "utf-8")


def put_file(temporary: Path, path: str | PathLike[str]) -> None:
    """Sync a finished file to disk, then rename it to ``path``, replacing any file there."""
    sync(temporary)
    temporary.replace(path)


@contextmanager
def replacing_folder(folder: str | PathLike[str], previous: str | PathLike[str] | None = None) -> Iterator[Path]:
    """Write a folder: the block gets an empty one, which takes the place of ``folder`` when the block ends.

    A crash, of the machine too, leaves the old or the new folder. Where the block is left by an exception, the old one
    stays.

    Args:
        folder: the folder; its parent is made where it does not exist.
        previous: a sibling that keeps what stood at ``folder``; what stood at ``previous`` goes.
    """
    folder = Path(os.path.abspath(folder))
    fresh = folder.parent / f".{folder.name}.new"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        settle(folder)
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        yield fresh
        for path in (*fresh.rglob("*"), fresh):
            sync(path)
        if previous is not None and folder.exists():
            settle(previous)
            _put_folder(folder, Path(os.path.abspath(previous)))
        _put_folder(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _put_folder(fresh: Path, folder: Path) -> None:
    if folder.exists():
        folder.rename(_former(folder))
    fresh.rename(folder)
    sync(folder.parent)
    settle(folder)


def settle(folder: str | PathLike[str]) -> None:
    """Clean up what a crash during a replacement has left beside ``folder``."""
    folder = Path(os.path.abspath(folder))  # "." has a name, too
    former = _former(folder)
    if not former.exists():
        return
    if folder.exists():
        shutil.rmtree(former)
    else:
        former.rename(folder)


def _former(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.old"


def sync(path: Path) -> None:
    """Sync a file, or the names in a folder, to disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders, and keeps renames by itself
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
