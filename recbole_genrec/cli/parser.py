"""Reads a command line by the table of commands, and prints its help: argparse, with errors in one line."""

import argparse
from collections import Counter
from functools import partial

from recbole_genrec.cli.commands import COMMANDS, DEFAULT
from recbole_genrec.cli.options import checked_choice
from recbole_genrec.errors import GenRecError, unknown_name

PROGRAM = "python -m recbole_genrec"


def split_command(arguments):
    """The name of the command of a command line, and the arguments behind it.

    Raises:
        GenRecError: the first argument is a word that is no command.
    """
    first = next(iter(arguments), "")
    if first in COMMANDS:
        return first, arguments[1:]
    if first.startswith("-") or not first or "=" in first:
        return DEFAULT, arguments
    raise unknown_name("command", first, COMMANDS)


def parse_pairs(arguments, bare=None) -> list[tuple[str, str]]:
    """Split ``--key=value`` and ``--key value`` into names and texts, in order.

    Args:
        arguments: the command line.
        bare: names that may go without a value, and the text that they then stand for.

    Raises:
        GenRecError: an argument is not of this form, or has no value.
    """
    given, rest, bare = [], list(arguments), bare or {}
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--") or argument in ("--", "--="):
            raise GenRecError(f"command line: {argument!r} is not of the form --key=value.")
        key, equals, value = argument[2:].partition("=")
        if not equals:
            has_value = rest and not rest[0].startswith("--")
            if not has_value and key not in bare:
                raise GenRecError(f"command line: --{key} has no value.")
            value = rest.pop(0) if has_value else bare[key]
        given.append((key, value))
    return given


def parse(name, arguments) -> dict:
    """What the arguments of a command say to its function: values by name, and the ``settings`` as texts.

    Raises:
        GenRecError: an argument is unknown, missing, given twice, or has a value that is not accepted.
    """
    command, positional = COMMANDS[name], []
    if command.positional:
        word = next(iter(arguments), "")
        if not word or word.startswith("--"):
            raise GenRecError(f"command line: which dataset? Write its name first: {_usage(name)}.")
        positional, arguments = [word], arguments[1:]
    pairs = parse_pairs(arguments, command.bare)
    options = {option.name: option for option in command.options}
    for key, count in Counter(key for key, _ in pairs).items():
        if key not in options and not command.settings:
            raise unknown_name("option", f"--{key}", (f"--{option}" for option in options))
        if count > 1 and not (key in options and options[key].into):
            raise GenRecError(f"command line: --{key} is given twice.")
    for option in command.options:
        if option.required and not dict(pairs).get(option.name):
            raise GenRecError(f"command line: --{option.name} is missing: {_usage(name)}.")
    tokens = [f"--{key}={value}" for key, value in pairs if key in options and not options[key].setting]
    try:
        values = vars(build(name).parse_args([*positional, *tokens]))
    except argparse.ArgumentError as error:
        raise GenRecError(error.message) from None
    if command.settings:
        values["settings"] = {key: text for key, text in pairs if key not in options or options[key].setting}
    return values


def build(name, added=lambda option, action: None):
    """The parser of a command.

    Args:
        name: of the command.
        added: called with each :class:`~recbole_genrec.cli.options.Option` and the ``Action`` that argparse made of
            it.
    """
    command = COMMANDS[name]
    parser = argparse.ArgumentParser(
        usage=_usage(name),
        description=_description(command),
        epilog=_epilog(name),
        formatter_class=_Help,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
        exit_on_error=False,
    )
    if command.positional:
        option = command.positional
        added(option, parser.add_argument(option.name, metavar=option.metavar, help=option.help))
    for option in command.options:
        added(option, _add(parser, option))
    if command.settings:
        parser.add_argument("--any_key", metavar="VALUE", help=command.settings)
    parser.add_argument("--help", metavar="KEY", nargs="?", help=_HELP)
    return parser


_HELP = "this text, or what an option or a setting accepts, which models read it, and what it needs"


def help_on(name, key=""):
    """The help of a command, or of one of its options, or of a setting.

    Raises:
        GenRecError: there is no such option or setting.
    """
    if not key:
        return build(name).format_help()
    command = COMMANDS[name]
    own = {option.name: option for option in command.options}
    if command.settings or key not in own:
        from recbole_genrec.config.arguments.schema import all_settings, explain

        if key not in own or key in all_settings():  # of a setting there is more to say
            return explain(key)
    option = own[key]
    choices = f" ({' or '.join(option.choices)})" if option.choices else ""
    return f"--{key}{choices}: {option.help}{_default(option)}\n"


def _add(parser, option):
    if option.choices and option.kind is None:
        kind = partial(checked_choice, option)
    else:
        kind = partial(option.kind, option.name) if option.kind else None
    more = {"action": _Note, "into": option.into} if option.into else {}
    metavar = option.metavar or "|".join(option.choices) or option.name.upper()
    if option.bare is not None:
        more["nargs"] = "?"
    return parser.add_argument(
        f"--{option.name}", type=kind, metavar=metavar, help=option.help + _default(option), **more
    )


def _default(option):
    return "" if option.default is None else f" (default: {option.default})"


class _Note(argparse.Action):
    """Notes the values of repeatable options, several of which may share a list, in the order of the command line."""

    def __init__(self, option_strings, dest, into, **kwargs):
        super().__init__(option_strings, into, **kwargs)

    def __call__(self, parser, namespace, values, option_string=None):
        noted = getattr(namespace, self.dest, [])
        setattr(namespace, self.dest, [*noted, (option_string.removeprefix("--"), values)])


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help of 112 columns: its width does not depend on the terminal."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=26, width=112)


def _usage(name):
    command = COMMANDS[name]
    words = [PROGRAM] + [name] * (name != DEFAULT)
    words += [command.positional.metavar] if command.positional else []
    words += [f"--{option.name}={option.metavar}" for option in command.options if option.required]
    return " ".join([*words, "[--option=value ...]"])


def _description(command):
    examples = "".join(f"  {example.format(program=PROGRAM)}\n" for example in command.examples)
    return f"{command.summary}\n\n{examples}"


def _epilog(name):
    command = COMMANDS[name]
    if name != DEFAULT:
        return command.note
    width = max(map(len, COMMANDS))
    others = "".join(f"  {other:<{width}}  {entry.summary}\n" for other, entry in COMMANDS.items() if other != name)
    return f"commands ({PROGRAM} COMMAND --help):\n{others}"
