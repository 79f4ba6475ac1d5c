"""Malformed rows: counted, the first ones remembered with their lines, or refused at once."""

from logging import getLogger

from recbole_genrec.errors import GenRecError

SHOWN = 5


class MalformedRows:
    """The rows of a raw dump that are left out.

    Args:
        strict: raise at the first one instead.
    """

    def __init__(self, strict=False):
        self.strict = strict
        self.count = 0
        self.first = []

    def add(self, file, line, reason):
        """Note a row of ``file``; ``line`` counts from 1.

        Raises:
            GenRecError: under ``strict``.
        """
        row = f"{file}, line {line}: {reason}"
        if self.strict:
            raise GenRecError(f"{row}.")
        self.count += 1
        if self.count <= SHOWN:
            self.first.append(row)

    def __str__(self):
        rows = "1 malformed row is" if self.count == 1 else f"{self.count:,} malformed rows are"
        more = f"; and {self.count - SHOWN:,} more" if self.count > SHOWN else ""
        return f"{rows} left out: {'; '.join(self.first)}{more}."

    def warn(self):
        """Log a warning where there are any."""
        if self.count:
            getLogger(__name__).warning(str(self))
