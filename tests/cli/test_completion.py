"""Completion in a shell: what argcomplete's functions for bash and zsh get for a line that is begun."""

import os
import subprocess
import sys

import pytest

from recbole_genrec.cli.commands import COMMANDS
from recbole_genrec.config.registry import MODELS, all_models, recbole_models


def completed(line, shell="bash"):
    """The words that go on from a line, as the shell's function reads them from file descriptor 8."""
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_SHELL": shell, "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line}
    asked |= {"COMP_POINT": str(len(line)), "_ARGCOMPLETE_SUPPRESS_SPACE": "1", "COMP_TYPE": "9"}
    command = [sys.executable, "-W", "error", "-m", "recbole_genrec"]
    shell_line = f"{' '.join(map('{0!r}'.format, command))} 8>&1 9>/dev/null"
    done = subprocess.run(["sh", "-c", shell_line], env=os.environ | asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = [word.strip() for word in done.stdout.split("\n")]
    return [word.partition(":")[0] for word in words] if shell == "zsh" else words  # zsh also gets the help


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("recbole_genrec ", list(COMMANDS)),
        ("recbole_genrec rec", ["recommend"]),
        ("recbole_genrec recommend --ex", ["--exclude", "--exclude_seen", "--explain"]),
        ("recbole_genrec --warmup_st", ["--warmup_steps"]),
        ("recbole_genrec compare --warmup_st", ["--warmup_steps"]),
        ("recbole_genrec report --warmup_st", [""]),
        ("recbole_genrec --loss_type ", ["CE", "BPR", "NLL"]),
        ("recbole_genrec --use_gpu ", ["true", "false"]),
        ("recbole_genrec tune --algo ", ["exhaustive", "random", "bayes"]),
        ("recbole_genrec convert ml-1", ["ml-100k", "ml-1m", "ml-10m"]),
        ("recbole_genrec --model BERT", ["BERT4Rec"]),
        ("recbole_genrec compare --models GenRec,BERT", ["GenRec,BERT4Rec"]),
    ],
)
def test_a_line_goes_on(line, words, shell):
    assert sorted(completed(line, shell)) == sorted(words)


def test_the_models_that_are_completed_are_those_that_the_runner_takes():
    assert sorted((*MODELS, *recbole_models())) == sorted(all_models())
