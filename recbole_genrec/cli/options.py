"""What an entry of the table of commands is made of: options, and the types of their values."""

from argparse import ArgumentTypeError
from math import isfinite
from typing import NamedTuple

from recbole_genrec.errors import unknown_name


class Option(NamedTuple):
    """An option of a command: ``--name=value`` or ``--name value``.

    Attributes:
        name: without dashes; the argument of the command's function.
        help: what it does, in a sentence or two without a full stop at the end.
        kind: converts the text: ``kind(name, text)`` gives the value or raises ``ArgumentTypeError``.
        metavar: what stands for the value in the help.
        default: as the help shows it; the function's own default holds.
        required: whether the command needs it.
        bare: the text that the option stands for where it has no value; ``None``: it needs one.
        choices: the accepted texts, where they are few; completed, and named in the help. Those of a positional are
            examples.
        into: the argument that receives the values of a repeatable option, in order, as a list of ``(name, value)``;
            several options may share one.
        setting: the value is a setting of the run as well, and goes to the function among the ``settings``.
    """

    name: str
    help: str
    kind: object = None
    metavar: str = ""
    default: object = None
    required: bool = False
    bare: str | None = None
    choices: tuple = ()
    into: str = ""
    setting: bool = False


class Command(NamedTuple):
    """A command of the command line.

    Attributes:
        place: the function, ``module:name``. It is called with the values of the options that were given, by name, and
            with ``settings`` where the command takes any. It returns an exit code, or nothing, which is 0.
        summary: what the command does, in a sentence.
        examples: of the help, in which ``{program}`` stands for the program.
        options: :class:`Option`.
        positional: an :class:`Option` that is given first, without its name.
        settings: what ``--any_key`` stands for; empty where the command takes no settings.
        note: the last words of the help.
        processes: whether several processes may run it together.
    """

    place: str
    summary: str
    examples: tuple
    options: tuple
    positional: Option | None = None
    settings: str = ""
    note: str = ""
    processes: bool = False

    @property
    def bare(self):
        """The options that may go without a value, and the texts that they then stand for."""
        return {option.name: option.bare for option in self.options if option.bare is not None}


def flag(name, help, **more):
    """An option that is true where it is given; it may also be given as true or false."""
    return Option(name, help, true_or_false, bare="true", choices=("true", "false"), **more)


def true_or_false(name, text):
    """Whether a text is ``true`` or ``false``; any other is refused."""
    if text not in ("true", "false"):
        raise ArgumentTypeError(f"command line: --{name} is a flag; it may be true or false, not {text!r}.")
    return text == "true"


def whole_number(name, text):
    """A whole number from 0; any other text is refused."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"command line: --{name} must be a whole number, not {text!r}.")
    return int(text)


def positive_number(name, text):
    """A whole number from 1; any other text is refused."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"command line: --{name} must be a positive whole number, not {text!r}.")
    return int(text)


def names(name, text):
    """Names with commas between them."""
    return [part.strip() for part in text.split(",") if part.strip()]


def whole_numbers(name, text):
    """Whole numbers from 0 with commas between them; any other text is refused."""
    for part in (parts := names(name, text)):
        if not part.isdecimal():
            raise ArgumentTypeError(
                f"command line: --{name} must be whole numbers with commas between them, not {part!r}."
            )
    return list(map(int, parts))


def ranges(name, text):
    """A number of ranges, from 2, or the ascending numbers at which the ranges after the first begin."""
    if "," not in text:
        if not text.isdecimal() or int(text) < 2:
            raise ArgumentTypeError(
                f"command line: --{name} must be a number of ranges from 2, or ascending numbers with commas between "
                f"them, not {text!r}."
            )
        return int(text)
    try:
        starts = [float(part) for part in names(name, text)]
    except ValueError:
        starts = []
    if not starts or not all(isfinite(start) for start in starts) or starts != sorted(set(starts)):
        raise ArgumentTypeError(
            f"command line: --{name} must be ascending numbers with commas between them, not {text!r}."
        )
    return starts


def paths(name, text):
    """Paths with spaces between them."""
    return text.split()


def checked_choice(option, text):
    """The text of an option with choices.

    Raises:
        ArgumentTypeError: it is none of them; the message names the nearest one.
    """
    if text not in option.choices:
        raise ArgumentTypeError(str(unknown_name(f"value of {option.name!r}:", text, option.choices)))
    return text


#: options of the commands that read a checkpoint.
CHECKPOINT = Option("checkpoint", "a checkpoint folder", metavar="FOLDER", required=True)
TRUST = flag("trust_remote_code", "run Python code that comes with the checkpoint's backbone")
