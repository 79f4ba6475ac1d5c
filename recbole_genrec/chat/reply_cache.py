"""Answers of a server on disk: one small JSON file for each request, named by the hash of the request."""

import hashlib
import json
import os
from pathlib import Path

from recbole_genrec.errors import GenRecError
from recbole_genrec.files.write import write_text

#: no answer has more tokens; a larger number is not a count.
MOST_TOKENS = 10**12


def is_count(value):
    """Whether a value counts tokens."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS


def is_entry(entry):
    """Whether a value has the fields of an entry that :meth:`AnswerCache.put` wrote."""
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
        return False
    counts = [entry.get(name) for name in ("input_tokens", "output_tokens")]
    reason = entry.get("finish_reason")
    return (reason is None or isinstance(reason, str)) and all(count is None or is_count(count) for count in counts)


class AnswerCache:
    """A cache of a server's answers, so that no request is paid for twice.

    A file is written completely and then renamed: a run that is killed keeps every answer it has received. Several runs
    may use one folder.

    Args:
        folder: of the files.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def prepare(self):
        """Make the folder.

        Raises:
            GenRecError: no file can be written in it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GenRecError(f"'chat_cache': cannot make the folder {str(self.folder)!r}: {error.strerror}.") from None
        if not os.access(self.folder, os.W_OK):
            raise GenRecError(f"'chat_cache': cannot write to the folder {str(self.folder)!r}.")

    @staticmethod
    def key(base_url, body):
        """SHA-256 of a request: of the server's address and the body, without the API key."""
        content = json.dumps([str(base_url), body], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()

    def path(self, key):
        """The file of a key, in a folder named after the key's first two characters."""
        return self.folder / key[:2] / f"{key}.json"

    def get(self, key):
        """The entry of a key; ``None`` if there is none or it cannot be read, so that the request is sent again."""
        try:
            entry = json.loads(self.path(key).read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return entry if is_entry(entry) else None

    def put(self, key, entry):
        """Keep an entry, a dictionary that JSON can hold."""
        write_text(self.path(key), json.dumps(entry, indent=1), shared=True)
