"""The package's own errors: what a user can mend, said in one message; a run that was asked to stop; a lost peer."""

import re
from collections.abc import Iterable

#: of a name that is not known, so much is compared with those that are.
LONGEST_NAME = 200


def without_passwords(text: object) -> str:
    """A text in which no address shows its user and password: ``https://***@host/`` for ``https://me:secret@host/``."""
    return re.sub(r"(\w://)[^\s/'\"]+@", r"\1***@", str(text))


class GenRecError(ValueError):
    """Bad input: an unknown key, a missing column, a damaged checkpoint.

    The message names the file, line or key and the accepted values, and no password of an address. The command line
    prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: object) -> None:
        super().__init__(without_passwords(message))


class Interrupted(KeyboardInterrupt):
    """A run that stopped because a signal asked for it, after it had saved what it could.

    Attributes:
        signal: number of the signal, such as ``signal.SIGTERM``.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal


class PeerLost(RuntimeError):
    """Another process of a run that has several is gone, and this one cannot go on alone."""


def shown(value: object, longest: int = 80) -> str:
    """A value of the input as a message shows it: its ``repr``, cut where it is long."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def listed(names: Iterable[object], longest: int = 400) -> str:
    """Names of the input with commas between them, cut where they are many or long."""
    text = ", ".join(map(str, names))
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def unknown_name(kind: str, name: object, known: Iterable[object], where: str = "") -> GenRecError:
    """Build the error for a name that is not registered.

    Args:
        kind: what the name stands for, e.g. ``"prompt"``.
        name: the name that was asked for.
        known: the accepted names.
        where: what to say right behind the name, such as ``" (mine.yaml)"``.

    Returns:
        An error that lists the accepted names, the nearest one first.
    """
    import difflib

    names = sorted(map(str, known))
    nearest = difflib.get_close_matches(str(name)[:LONGEST_NAME], names, n=1, cutoff=0.6)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return GenRecError(f"Unknown {kind} {shown(name)}{where}.{hint} Known: {', '.join(names)}.")
