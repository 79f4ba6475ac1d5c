"""The command line: ``run_recbole_genrec.py`` and ``python -m recbole_genrec``."""

import sys

from recbole_genrec.errors import GenRecError

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
--any_key       any setting of RecBole or of the model, as --key=value or --key value; values are YAML
"""


def parse_arguments(arguments) -> dict[str, str]:
    """Split ``--key=value`` and ``--key value`` into names and texts.

    Raises:
        GenRecError: an argument is not of this form, has no value, or is given twice.
    """
    given, rest = {}, list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--") or argument in ("--", "--="):
            raise GenRecError(f"command line: {argument!r} is not of the form --key=value.")
        key, equals, value = argument[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise GenRecError(f"command line: --{key} has no value.")
            value = rest.pop(0)
        if key in given:
            raise GenRecError(f"command line: --{key} is given twice.")
        given[key] = value
    return given


def run(arguments):
    """Run what the command line asks for; raise what is wrong with it."""
    indexing = arguments[:1] == ["index"]
    texts = parse_arguments(arguments[indexing:])
    from recbole_genrec.config import parse_value
    from recbole_genrec.quick_start import run_models, show_index

    settings = {key: parse_value(key, text) for key, text in texts.items()}
    files = settings.pop("config_files", "").split()
    if indexing:
        return show_index(settings.pop("dataset", None), files, command_line=settings)
    model = settings.pop("model", "GenRec")
    return run_models(model, settings.pop("dataset", None), files, command_line=settings)


def main(arguments=None) -> int:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--help" in arguments or "-h" in arguments:
        print(HELP, end="")
        return 0
    try:
        run(arguments)
    except GenRecError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0
