"""Atomic files that appear whole or not at all."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.write import put_file


class AtomicWriter:
    """Write the atomic files of a dataset in a folder of their own, then move them to their place.

    A context manager. Nothing stays behind when its block is left by an exception, Ctrl-C included. Files are moved
    when it is left otherwise, the ``.inter`` file last: where it is, the dataset is complete.

    Args:
        data_path: RecBole's ``data_path``; the files go to ``data_path/name/name.inter`` and so on.
        name: name of the dataset.

    Raises:
        GenRecError: a folder or file cannot be written.
    """

    def __init__(self, data_path, name):
        self.name = name
        self.folder = Path(data_path) / name
        self._files = {}
        self._open = ExitStack()
        self._made = []

    def __enter__(self):
        try:
            for folder in (*reversed(self.folder.parents), self.folder):
                if not folder.exists():
                    folder.mkdir()
                    self._made.append(folder)
            #: where files are written, and where scratch files may be.
            self.scratch = Path(tempfile.mkdtemp(prefix=".converting-", dir=self.folder))
        except OSError as error:
            self._remove_folders()
            raise self._cannot_write(error) from error
        return self

    def open(self, suffix):
        """Open the atomic file ``suffix``, such as ``inter``, for bytes."""
        path = self.scratch / f"{self.name}.{suffix}"
        self._files[suffix] = path
        return self._open.enter_context(open(path, "wb"))

    def set_aside(self, suffix):
        """Give a written file another name, to write it anew from what it held; return its path."""
        return self._files.pop(suffix).rename(self.scratch / f"{suffix}.aside")

    def __exit__(self, kind, error, traceback):
        try:
            self._open.close()
            if kind is None:
                self._move()
        except OSError as failure:
            raise self._cannot_write(failure) from failure
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)
            self._remove_folders()
        if isinstance(error, OSError):
            raise self._cannot_write(error) from error

    def _move(self):
        interactions = self.folder / f"{self.name}.inter"
        interactions.unlink(missing_ok=True)  # never the interactions of one dump beside the items of another
        for suffix in sorted(self._files, key="inter".__eq__):
            path = self._files[suffix]
            put_file(path, self.folder / path.name)

    def _remove_folders(self):
        for folder in reversed(self._made):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _cannot_write(self, error):
        return GenRecError(f"Cannot write {error.filename or self.folder}: {error.strerror or error}.")
