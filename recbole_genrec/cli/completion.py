"""Completion of a command line in a shell: commands, options, settings, names of models, accepted values.

The shell starts the program once for each press of the tab key, with ``_ARGCOMPLETE`` in the environment; argcomplete
reads the line from there and prints the words that go on from it.
"""

import os
from typing import Literal, get_args, get_origin

from argcomplete import autocomplete
from argcomplete.completers import FilesCompleter

from recbole_genrec.cli.commands import COMMANDS, DEFAULT
from recbole_genrec.cli.options import names
from recbole_genrec.cli.parser import build
from recbole_genrec.config.registry import MODELS, recbole_models


def complete():
    """Print what goes on from the command line in the environment, and end the process."""
    words = os.environ.get("COMP_LINE", "").split()
    name = next((word for word in words if word in COMMANDS), DEFAULT)
    # before a command is there, the commands are what is wanted, not each of hundreds of settings
    options = "long" if name != DEFAULT else False
    parser = _parser(name, any(word.startswith("--") for word in words))
    autocomplete(parser, always_complete_options=options, exclude=["--any_key"])


def _parser(name, settings):
    """The parser of the default command and, below it, of the others; that of ``name`` also has the settings."""
    parser = _of_command(DEFAULT, settings and name == DEFAULT)
    commands = parser.add_subparsers()
    for other, command in COMMANDS.items():
        own = _of_command(other, settings and name == other)
        commands.add_parser(other, parents=[own], add_help=False, help=command.summary)
    return parser


def _of_command(name, settings):
    options = set()

    def added(option, action):
        options.add(option.name)
        if option.kind is names and "model" in option.name or option.name == "model":
            action.completer = _models
        elif option.choices:
            action.choices = option.choices
        elif option.metavar in ("FOLDER", "FILE", "FILES", "PATH"):
            action.completer = FilesCompleter()
        else:
            action.completer = _nothing

    parser = build(name, added)
    if settings and COMMANDS[name].settings:
        from recbole_genrec.config.arguments.schema import all_settings, is_text

        for key, described in all_settings().items():
            if key not in options:
                kinds = described[0].annotation
                action = parser.add_argument(f"--{key}", choices=_choices(kinds) or None, help=described[0].sentence)
                action.completer = None if action.choices else FilesCompleter() if is_text(key) else _nothing
    return parser


def _nothing(**_):
    """Of a number or a free text there is nothing to say."""
    return ()


def _models(prefix, **_):
    """Names of models that go on from the last one of a list with commas."""
    before = prefix.rpartition(",")[0]
    return [f"{before},{name}" if before else name for name in (*MODELS, *recbole_models())]


def _choices(annotation):
    """The texts that a setting accepts, where its type names them."""
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return list(map(str, get_args(annotation)))
    return [choice for part in get_args(annotation) for choice in _choices(part)]
