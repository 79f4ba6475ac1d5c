"""The table of commands: every entry is complete, and what a command line says reaches the entry's function."""

import inspect

import pytest

from recbole_genrec.cli.commands import COMMANDS
from recbole_genrec.cli.main import main
from recbole_genrec.cli.parser import parse, split_command
from recbole_genrec.config.registry import resolve
from recbole_genrec.errors import GenRecError


@pytest.mark.parametrize("name", COMMANDS)
def test_the_function_takes_what_the_table_gives(name):
    command = COMMANDS[name]
    signature = inspect.signature(resolve(command.place))
    given = {option.into or option.name: None for option in command.options if not option.setting}
    given |= {"settings": {}} if command.settings else {}
    signature.bind(**given, **({"name": ""} if command.positional else {}))
    assert "settings" not in signature.parameters or command.settings


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_all(name, capsys):
    assert main([name, "--help"]) == 0
    printed = capsys.readouterr().out
    command = COMMANDS[name]
    assert printed.startswith("usage: python -m recbole_genrec") and command.summary in printed
    assert all(f"  --{option.name} " in printed and option.help[:20] in printed for option in command.options)
    assert ("--any_key" in printed) == bool(command.settings)
    assert printed.count("python -m recbole_genrec") >= 1 + len(command.examples)


def test_the_default_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name}" in printed for name in COMMANDS if name != "run")
    assert "(default: GenRec)" in printed


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["recommend", "--help", "topk"], "--topk: length of the list (default: 10)\n"),
        (["tune", "--help=algo"], "--algo (exhaustive or random or bayes): exhaustive tries"),
        (["--help", "nproc"], "--nproc: number of processes"),
        (["--help", "--topk"], "Lengths of the evaluated lists."),
        (["compare", "-h", "topk"], "Lengths of the evaluated lists."),
    ],
)
def test_help_on_an_option_or_a_setting(arguments, printed, capsys):
    assert main(arguments) == 0
    assert printed in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recomend"], "Unknown command 'recomend'. Did you mean 'recommend'?"),
        (["-x"], "'-x' is not of the form --key=value"),
        (["convert", "--strict"], "which dataset? Write its name first: python -m recbole_genrec convert NAME"),
        (["export", "--checkpoint=a"], "--output is missing: python -m recbole_genrec export --checkpoint=FOLDER"),
        (["export", "--checkpoint=", "--output=b"], "--checkpoint is missing"),
        (["tune", "--algo=bays"], "Unknown value of 'algo': 'bays'. Did you mean 'bayes'?"),
        (["tune", "--max_evals=0"], "--max_evals must be a positive whole number, not '0'"),
        (["compare", "--seeds=1,x"], "--seeds must be whole numbers with commas between them, not 'x'"),
        (["--nproc=0"], "--nproc must be a positive whole number, not '0'"),
        (["report", "--resluts=x"], "Unknown option '--resluts'. Did you mean '--results'?"),
        (["test"], "--run is missing: python -m recbole_genrec test --run=FILE"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1 and message in printed.err
    assert printed.out == ""


def test_the_default_command_has_a_name_too():
    assert split_command(["run", "--a=1"]) == ("run", ["--a=1"])
    assert split_command(["--a=1"]) == ("run", ["--a=1"]) and split_command([]) == ("run", [])


def test_values_have_their_types_and_settings_stay_texts():
    given = parse("compare", ["--models=A, B", "--seeds", "1,2", "--retry_failed", "--topk=[5]", "--results_dir=r"])
    assert given == {
        "models": ["A", "B"],
        "seeds": [1, 2],
        "retry_failed": True,
        "settings": {"topk": "[5]", "results_dir": "r"},
    }


def test_repeatable_options_keep_their_order():
    given = parse("recommend", ["--checkpoint=c", "--history=a", "--item=1", "--history=b", "--where=x=1", "--json"])
    assert given["entries"] == [("history", "a"), ("item", "1"), ("history", "b")]
    assert given["where"] == [("where", "x=1")] and given["json"] is True


def test_a_flag_may_be_false():
    assert parse("add_items", ["--checkpoint=c", "--items=i", "--output=o", "--trust_remote_code", "false"]) == {
        "checkpoint": "c",
        "items": "i",
        "output": "o",
        "trust_remote_code": False,
    }


def test_a_closed_command_takes_no_settings():
    with pytest.raises(GenRecError, match="Unknown option '--epochs'"):
        parse("report", ["--epochs=1"])
