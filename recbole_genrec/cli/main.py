"""The command line: ``run_recbole_genrec.py`` and ``python -m recbole_genrec``."""

import os
import sys
import time
from functools import partial

from recbole_genrec.cli import on_checkpoint as command
from recbole_genrec.errors import GenRecError, Interrupted, PeerLost, unknown_name, without_passwords
from recbole_genrec.training.stopping import terminable

HELP = """\
Train and compare recommenders on one dataset and split.

  python run_recbole_genrec.py --model=GenRec --dataset=ml-100k
  python run_recbole_genrec.py --model=GenRec,SASRec,BERT4Rec --dataset=ml-100k
  python run_recbole_genrec.py --model=GenRec --dataset=my-data --config_files='a.yaml b.yaml' --epochs=10
  python run_recbole_genrec.py index --dataset=ml-100k --item_indexing=collaborative

index           give items identifiers, print a report of them, and train nothing
--model         GenRec (default), or any of RecBole's sequential models; several with commas between them
--dataset       a folder of atomic files below --data_path (default 'dataset/'); ml-100k comes with RecBole
--config_files  YAML files, with spaces between them; later ones stand over earlier ones
--results_dir   receives one JSON a model and the table as Markdown (default 'results')
--resume        go on with the last run of the same settings, where one has stopped
--nproc         so many processes of this machine, a GPU each where there are any; or start it with torchrun
--any_key       any setting of RecBole or of the model, as --key=value or --key value; values are YAML
--help KEY      what a setting accepts, which models read it, and what it needs

  python run_recbole_genrec.py convert --help     make atomic files from a raw dump
  python run_recbole_genrec.py recommend --help   recommend items with a trained checkpoint
  python run_recbole_genrec.py add_items --help   put new items into its catalogue
  python run_recbole_genrec.py tune --help        search for hyper-parameters
  python run_recbole_genrec.py export --help      write a checkpoint for transformers, peft and vLLM
  python run_recbole_genrec.py test --help        test a finished run's model under another evaluation
  python run_recbole_genrec.py compare --help     models, datasets and seeds, a run each
  python run_recbole_genrec.py report --help      tables and a page of any folder of results
"""

TEST_HELP = """\
Test the model of a finished run again, under other settings of the evaluation; nothing is trained.

  python -m recbole_genrec test --run=results/GenRec-ml-1m-2020.json --repeatable=False

--run           the JSON of a run that kept its checkpoint; start this in the folder in which the run was made
--results_dir   receives the JSON and the outcomes (default: the folder 'again' beside the run)
--repeatable    false: rank only what a user has not had before
--eval_args     '{mode: uni100}' and the like; the split stays
--any_key       of how lists are made and measured: metrics, topk, eval_users, decoding, ...
"""

COMPARE_HELP = """\
Make a run for each model, dataset and seed; a comparison that was stopped goes on where it was.

  python -m recbole_genrec compare --models=GenRec,SASRec --datasets=ml-100k --seeds=1,2,3

--models        names, with commas between them
--datasets      names, with commas between them
--seeds         whole numbers, with commas between them (default 2020)
--config_files  YAML files for all runs; a section 'SASRec:' holds settings for that model alone
--results_dir   receives a JSON and the test's outcomes (.npz) of each run (default 'results')
--retry_failed  make runs again that failed before
--any_key       any setting of RecBole or of the models, for all runs

A run whose JSON is there with the same settings is not made again. Exit code 1: a run failed, see its .failed.json.
"""

REPORT_HELP = """\
Write table.md, table.csv, table.tex and report.html over the runs of a folder and those below it.

  python -m recbole_genrec report --results=results

--results       the folder (default 'results')
--output        where the files go (default: the same folder)
--metric        of the pictures, such as ndcg@10 (default: the one that selected the epochs)
--baseline      the model or row that the others are tested against (default: the best of each column)
"""

CONVERT_HELP = """\
Make RecBole's atomic files from a raw dump, as published.

  python -m recbole_genrec convert ml-25m --source=ml-25m.zip
  python -m recbole_genrec convert amazon14-toys --source=downloads
  python -m recbole_genrec convert ml-1m --download

NAME            ml-100k, ml-1m, ml-10m, ml-20m, ml-25m, ml-32m, ml-latest-small, amazon14-<category>,
                amazon18-<category>, amazon23-<category>; a category in lower case, such as gift_cards
--source        the zip, the file of ratings or reviews, or a folder of raw files (default: the output folder)
--output        the data_path of later runs; the files go to <output>/NAME/ (default 'dataset')
--download      fetch what is missing into the source folder, with checks of size and sum
--strict        stop at the first malformed row; without it they are left out, counted and the first ones shown
--user_core K   keep the rows in which every user has K rows and ...
--item_core K   ... every item has K rows
"""

EXPORT_HELP = """\
Write a checkpoint as a folder that transformers, peft and vLLM load, with prompt, item index and model card.

  python -m recbole_genrec export --checkpoint=saved/GenRec-.../best --output=my-model --merged

--checkpoint    a checkpoint folder
--output        the folder to write
--merged        the whole language model, the adapter's weights added into its own; without it, the adapter
--overwrite     replace an earlier export
--trust_remote_code  run Python code that comes with the checkpoint's backbone
"""

TUNE_HELP = """\
Search for the settings that are best on validation, by RecBole's HyperTuning.

  python -m recbole_genrec tune --model=GenRec --dataset=ml-100k --params_file=genrec.space --algo=bayes --max_evals=30

--model         one model; --dataset, --config_files and any key: as for a run, the same for all trials
--params_file   the search space, a line for each key: 'key choice [a,b]', 'key uniform low,high',
                'key loguniform low,high' (of the logarithm), 'key quniform low,high,step'
--algo          exhaustive (default: every combination of choices), random or bayes (TPE)
--max_evals     trials at most (default 100)
--early_stop    stop after so many trials in a row without a better one (default 10)
"""

#: arguments that may go without a value, and the value that they then have.
RUN_FLAGS = {"resume": "auto"}
#: seconds in which the first of several processes can say what is wrong for all.
_FIRST_SPEAKS = 5
CONVERT_OPTIONS = ("source", "output", "download", "strict", "user_core", "item_core")
CONVERT_FLAGS = {"download": "true", "strict": "true"}
EXPORT_OPTIONS = ("checkpoint", "output", "merged", "overwrite", "trust_remote_code")
EXPORT_FLAGS = {"merged": "true", "overwrite": "true", "trust_remote_code": "true"}
TUNE_OPTIONS = ("params_file", "algo", "max_evals", "early_stop")
COMPARE_FLAGS = {"retry_failed": "true"}
REPORT_OPTIONS = ("results", "output", "metric", "baseline")


def parse_arguments(arguments, flags=None) -> dict[str, str]:
    """Split ``--key=value`` and ``--key value`` into names and texts.

    Args:
        arguments: the command line.
        flags: names that may go without a value, and the text that they then stand for.

    Raises:
        GenRecError: an argument is not of this form, has no value, or is given twice.
    """
    given = {}
    for key, value in parse_pairs(arguments, flags):
        if key in given:
            raise GenRecError(f"command line: --{key} is given twice.")
        given[key] = value
    return given


def parse_pairs(arguments, flags=None) -> list[tuple[str, str]]:
    """As :func:`parse_arguments`, for options that may be given several times: pairs in order."""
    given, rest, flags = [], list(arguments), flags or {}
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--") or argument in ("--", "--="):
            raise GenRecError(f"command line: {argument!r} is not of the form --key=value.")
        key, equals, value = argument[2:].partition("=")
        if not equals and key in flags and (not rest or rest[0].startswith("--")):
            value = flags[key]
        elif not equals:
            if not rest or rest[0].startswith("--"):
                raise GenRecError(f"command line: --{key} has no value.")
            value = rest.pop(0)
        given.append((key, value))
    return given


def parse_options(arguments, options, flags) -> dict[str, str]:
    """:func:`parse_arguments` of a command that knows its ``options``; another one is an error."""
    texts = parse_arguments(arguments, flags)
    for key in texts:
        if key not in options:
            raise unknown_name("option", f"--{key}", (f"--{option}" for option in options))
    return texts


def run(arguments):
    """Run what the command line asks for; raise what is wrong with it.

    Returns:
        An exit code, where other processes have run it; else nothing.
    """
    indexing = arguments[:1] == ["index"]
    texts = parse_arguments(arguments[indexing:], RUN_FLAGS)
    processes = _process_count(texts.pop("nproc", None)) if not indexing else 1
    if processes > 1:
        from recbole_genrec.distributed.launch import launch

        return launch(processes, [f"--{key}={text}" for key, text in texts.items()])
    from recbole_genrec.config.config import parse_value
    from recbole_genrec.runs.run import run_models, show_index

    settings = {key: parse_value(key, text) for key, text in texts.items()}
    files = settings.pop("config_files", "").split()
    if indexing:
        show_index(settings.pop("dataset", None), files, command_line=settings)
    else:
        run_models(settings.pop("model", "GenRec"), settings.pop("dataset", None), files, command_line=settings)


def _process_count(text):
    if text is None:
        return 1
    if not text.isdecimal() or int(text) < 1:
        raise GenRecError(f"command line: --nproc must be a positive whole number, not {text!r}.")
    if "WORLD_SIZE" in os.environ:
        raise GenRecError("command line: --nproc starts processes, and torchrun has done that already.")
    return int(text)


def run_convert(arguments):
    """Convert a raw dump as the command line asks; print what was made."""
    name, *options = arguments or [""]
    if not name or name.startswith("--"):
        raise GenRecError("command line: which dataset? Write its name first: convert NAME --key=value.")
    texts = parse_options(options, CONVERT_OPTIONS, CONVERT_FLAGS)
    from recbole_genrec.interactions.converter import convert

    settings = {key: _convert_value(key, text) for key, text in texts.items()}
    print(convert(name, **settings))


def run_export(arguments):
    """Export a checkpoint as the command line asks; print what was made."""
    texts = parse_options(arguments, EXPORT_OPTIONS, EXPORT_FLAGS)
    for key in ("checkpoint", "output"):
        if not texts.get(key):
            raise GenRecError(f"command line: --{key} is missing: export --checkpoint=FOLDER --output=FOLDER.")
    from recbole_genrec.serve.export import export

    print(export(**{key: _flag(key, text) if key in EXPORT_FLAGS else text for key, text in texts.items()}))


def run_tune(arguments):
    """Search for hyper-parameters as the command line asks."""
    texts = parse_arguments(arguments, RUN_FLAGS)
    from recbole_genrec.config.config import parse_value
    from recbole_genrec.runs.tuning import tune

    settings = {key: parse_value(key, text) for key, text in texts.items()}
    search = {key: settings.pop(key) for key in TUNE_OPTIONS if key in settings}
    for key in ("max_evals", "early_stop"):
        if not isinstance(search.get(key, 1), int) or search.get(key, 1) < 1:
            raise GenRecError(f"command line: --{key} must be a positive whole number, not {texts[key]!r}.")
    files = settings.pop("config_files", "").split()
    tune(settings.pop("model", "GenRec"), settings.pop("dataset", None), files, settings, **search)


def _flag(key, text):
    if text not in ("true", "false"):
        raise GenRecError(f"command line: --{key} is a flag; it may be true or false, not {text!r}.")
    return text == "true"


def run_test(arguments):
    """Test a run's model again as the command line asks."""
    texts = parse_arguments(arguments)
    run = texts.pop("run", "")
    if not run:
        raise GenRecError("command line: --run is missing: test --run=results/MODEL-DATASET-SEED.json.")
    from recbole_genrec.config.config import parse_value
    from recbole_genrec.runs.retest import retest

    retest(run, {key: parse_value(key, text) for key, text in texts.items()})


def run_compare(arguments):
    """Make the runs of a comparison; returns the exit code, 1 where some failed."""
    texts = parse_arguments(arguments, COMPARE_FLAGS)
    retry = _flag("retry_failed", texts.pop("retry_failed", "false"))
    for key in ("model", "dataset", "seed"):
        if key in texts:
            raise GenRecError(f"command line: compare takes --{key}s, with commas between several, not --{key}.")
    lists = {key: _listed(texts.pop(key, "")) for key in ("models", "datasets", "seeds")}
    for seed in lists["seeds"]:
        if not seed.isdecimal():
            raise GenRecError(f"command line: --seeds must be whole numbers with commas between them, not {seed!r}.")
    seeds = list(map(int, lists["seeds"])) or [2020]
    from recbole_genrec.config.config import parse_value
    from recbole_genrec.report import comparison_texts
    from recbole_genrec.runs.compare import compare

    settings = {key: parse_value(key, text) for key, text in texts.items()}
    files = settings.pop("config_files", "").split()
    compared = compare(lists["models"], lists["datasets"], seeds, files, settings, retry)
    for line in comparison_texts(compared):
        print(line, flush=True)
    return int(bool(compared.failed))


def _listed(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def run_report(arguments):
    """Write a report, and print where it is."""
    texts = parse_arguments(arguments)
    for key in texts:
        if key not in REPORT_OPTIONS:
            raise unknown_name("option", f"--{key}", (f"--{option}" for option in REPORT_OPTIONS))
    from recbole_genrec.report import write_report

    for path in write_report(**texts):
        print(path)


def _convert_value(key, text):
    if key in CONVERT_FLAGS:
        return _flag(key, text)
    if key in ("user_core", "item_core"):
        if not text.isdecimal():
            raise GenRecError(f"command line: --{key} must be a whole number, not {text!r}.")
        return int(text)
    return text


def run_on_checkpoint(name, arguments):
    """Run ``recommend`` or ``add_items``."""
    command.run(name, parse_pairs(arguments, command.FLAGS))


#: commands that are no run: their help, and what runs them; each returns an exit code or nothing, which is 0.
COMMANDS = {
    "convert": (CONVERT_HELP, run_convert),
    "export": (EXPORT_HELP, run_export),
    "tune": (TUNE_HELP, run_tune),
    "test": (TEST_HELP, run_test),
    "compare": (COMPARE_HELP, run_compare),
    "report": (REPORT_HELP, run_report),
    **{name: (text, partial(run_on_checkpoint, name)) for name, text in command.HELP.items()},
}


def help_on(arguments, help_text):
    """The help of a command, or of the setting whose name follows ``--help``."""
    flag, _, key = arguments[0].partition("=")
    key = key or "".join(arguments[1:])
    if flag not in ("--help", "-h") or not key:
        return help_text
    from recbole_genrec.config.arguments.schema import explain

    return explain(key.removeprefix("--"))


def main(arguments=None) -> int:
    """Run the command line.

    A user's mistake, or a file that cannot be read or written, is one line on standard error and exit code 2; a run
    that a signal stops is one line and 128 plus the number of the signal.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    help_text, run_command = COMMANDS.get(next(iter(arguments), None), (HELP, None))
    try:
        if any(argument in ("--help", "-h") or argument.startswith("--help=") for argument in arguments):
            print(help_on(arguments, help_text), end="")
            return 0
        with terminable():
            if (run_command or arguments[:1] == ["index"]) and os.environ.get("WORLD_SIZE", "1") != "1":
                raise GenRecError(f"command line: {arguments[0]} takes one process: start it without torchrun.")
            return (run_command(arguments[1:]) if run_command else run(arguments)) or 0
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


def _complain(kind, message, code):
    rank = os.environ.get("RANK", "0")
    if rank != "0":  # the first process mostly has the same to say, and the others are stopped when it ends
        time.sleep(_FIRST_SPEAKS)
        message = f"process {rank}: {message}"
    print(f"{kind}: {' '.join(without_passwords(message).split())}", file=sys.stderr)
    return code
