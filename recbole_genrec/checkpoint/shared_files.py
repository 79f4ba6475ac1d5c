"""Files shared by the checkpoints of one run, since training does not change them: tokenizer and items."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from recbole_genrec.checkpoint.folder import fingerprint


@dataclass(frozen=True)
class _Stored:
    """A file of the last save: its manifest entry, and what tells whether somebody has touched it since."""

    entry: dict
    stamp: tuple[int, int, int]


class SharedFiles:
    """Write unchanging parts once a run, and link them into each later checkpoint.

    Every folder stays complete: a file is there until the last folder that has it is deleted. A file that was changed,
    replaced or deleted since the last save is written anew. Where the file system has no links, files are copied.
    """

    def __init__(self):
        self._folder = None
        self._sources, self._names = {}, {}  # by part
        self._stored = {}  # by the file's name in a checkpoint
        self._brought = set()  # names that the present save has taken over

    def start(self):
        """Begin a save."""
        self._brought = set()

    def write(self, folder, part, source, write):
        """Bring a part into a new checkpoint.

        Args:
            folder: of the new checkpoint, without the part's files.
            part: its name.
            source: the object that it is made of, and that object's length. The part counts as unchanged where it is
                the same object as last time, and as long.
            write: writes the part's files into ``folder``.
        """
        if self._is_same(part, source):
            for name in self._names[part]:
                _link(self._folder / name, folder / name)
            self._brought |= self._names[part]
            return
        before = _names(folder)
        write()
        self._sources[part], self._names[part] = source, _names(folder) - before

    def end(self, fresh, folder):
        """Take note of the files of a new checkpoint.

        Args:
            fresh: where it is now. folder: where it will be.

        Returns:
            The manifest's entries, by name.
        """
        entries = {
            name: self._stored[name].entry if name in self._brought else fingerprint(fresh / name)
            for name in sorted(_names(fresh))
        }
        shared = set().union(*self._names.values())
        self._stored = {name: _Stored(entries[name], _stamp(fresh / name)) for name in shared}
        self._folder = Path(folder)
        return entries

    def _is_same(self, part, source):
        """Whether the last save holds the same part and its files are untouched since."""
        former, former_length = self._sources.get(part, (None, 0))
        if self._folder is None or former is not source[0] or former_length != source[1]:
            return False
        return all(
            name in self._stored and _stamp(self._folder / name) == self._stored[name].stamp
            for name in self._names[part]
        )


def _names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _stamp(path):
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # FAT and some network file systems have no links
        shutil.copyfile(source, target)
