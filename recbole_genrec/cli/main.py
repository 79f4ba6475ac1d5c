"""The command line: ``run_recbole_genrec.py``, ``python -m recbole_genrec`` and ``recbole_genrec``."""

import os
import sys
import time

from recbole_genrec.cli.commands import COMMANDS
from recbole_genrec.cli.parser import help_on, parse, split_command
from recbole_genrec.config.registry import resolve
from recbole_genrec.errors import GenRecError, Interrupted, PeerLost, without_passwords
from recbole_genrec.training.stopping import terminable

#: seconds in which the first of several processes can say what is wrong for all.
_FIRST_SPEAKS = 5


def main(arguments=None) -> int:
    """Run the command line.

    A user's mistake, or a file that cannot be read or written, is one line on standard error and exit code 2; a run
    that a signal stops is one line and 128 plus the number of the signal.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for words that complete the line
        resolve("recbole_genrec.cli.completion:complete")()
    try:
        with terminable():
            return _run(arguments)
    except GenRecError as error:
        return _complain("error", error, 2)
    except OSError as error:
        if error.filename is None and error.errno is None:  # raised by Python code: not a file's fault
            raise
        return _complain("error", f"{error.filename}: {error.strerror}." if error.filename else error, 2)
    except Interrupted as stop:
        code = 128 + stop.signal
        return code if os.environ.get("RANK", "0") != "0" else _complain("stopped", stop, code)
    except PeerLost as error:
        return _complain("stopped", error, 1)


def _run(arguments):
    """Print help, or call the function of a command; returns the exit code."""
    asked = _help_asked(arguments)
    name, rest = split_command(arguments)
    if asked is not None:
        print(help_on(name, asked), end="")
        return 0
    command = COMMANDS[name]
    if not command.processes and os.environ.get("WORLD_SIZE", "1") != "1":
        raise GenRecError(f"command line: {name} takes one process: start it without torchrun.")
    return resolve(command.place)(**parse(name, rest)) or 0


def _help_asked(arguments):
    """The key whose help is asked for, empty for that of the command; ``None`` where no help is asked for."""
    for place, argument in enumerate(arguments):
        flag, _, key = argument.partition("=")
        if flag in ("--help", "-h"):
            return (key or "".join(arguments[place + 1 : place + 2])).removeprefix("--")
    return None


def _complain(kind, message, code):
    rank = os.environ.get("RANK", "0")
    if rank != "0":  # the first process mostly has the same to say, and the others are stopped when it ends
        time.sleep(_FIRST_SPEAKS)
        message = f"process {rank}: {message}"
    print(f"{kind}: {' '.join(without_passwords(message).split())}", file=sys.stderr)
    return code
