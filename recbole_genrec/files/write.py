"""Writing a file so that a reader never meets half of it: under a temporary name first, which then becomes its own."""

from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path):
    """A temporary path beside ``path`` to write to; it takes its place when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    yield temporary
    temporary.replace(path)


def write_text(path, text):
    """Write a text file, in UTF-8, with :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")
