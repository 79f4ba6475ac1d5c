"""The command-line reference as Markdown: ``python -m recbole_genrec.cli.command_reference > docs/command-line.md``."""

from recbole_genrec.cli.commands import COMMANDS
from recbole_genrec.cli.parser import help_on

HEAD = """\
# Command line

`recbole_genrec`, `python -m recbole_genrec` and `run_recbole_genrec.py` are the same program. Without a command it
runs `run`. `COMMAND --help KEY` explains one option or [setting](settings.md). The exit code is 0 for success, 1 where
some runs of `compare` failed, and 2 for an error that the message says how to fix.

This page is generated: `python -m recbole_genrec.cli.command_reference`.
"""


def reference():
    """The page: the help of every command."""
    parts = [HEAD]
    for name, command in COMMANDS.items():
        parts.append(f"## {name}\n\n{command.summary}\n\n```text\n{help_on(name).rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(reference(), end="")
