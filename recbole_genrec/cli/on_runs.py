"""The commands that make runs and read them, and ``convert``, which makes the files that they run on.

The former are ``run``, ``index``, ``tune``, ``test``, ``compare``, ``compare_tuned``, ``report`` and ``audit``.

What the command line alone shows to be wrong is said before RecBole and torch are imported.
"""

import os

from recbole_genrec.errors import GenRecError


def run(model=("GenRec",), dataset=None, config_files=(), nproc=1, settings=None):
    """Train and compare models; returns an exit code where other processes have run it."""
    if nproc > 1 and "WORLD_SIZE" in os.environ:
        raise GenRecError("command line: --nproc starts processes, and torchrun has done that already.")
    values = _checked(model, dataset, config_files, settings)
    if nproc > 1:
        from recbole_genrec.distributed.launch import launch

        given = {"model": ",".join(model), "dataset": dataset, "config_files": " ".join(config_files), **settings}
        return launch(nproc, [f"--{key}={text}" for key, text in given.items() if text is not None])
    from recbole_genrec.runs.run import run_models

    run_models(list(model), dataset, list(config_files), command_line=values)


def index(dataset=None, config_files=(), settings=None):
    """Give items identifiers, and print a report of them."""
    values = _checked(["GenRec"], dataset, config_files, settings)
    from recbole_genrec.runs.run import show_index

    show_index(dataset, list(config_files), command_line=values)


def tune(model="GenRec", dataset=None, config_files=(), settings=None, **search):
    """Search for hyper-parameters."""
    values = _checked([model], dataset, config_files, settings)
    from recbole_genrec.config.keys import known_keys
    from recbole_genrec.runs.search_space import read_space

    read_space(search.get("params_file"), known_keys([model], dataset or ""), search.get("algo") or "exhaustive")
    from recbole_genrec.runs.tuning import tune

    tune(model, dataset, list(config_files), values, **search)


def test(run, settings=None):
    """Test a run's model again."""
    from recbole_genrec.config.sources import check_test
    from recbole_genrec.config.yaml_settings import parse_values

    values = parse_values(settings)
    check_test(values)
    open(run, "rb").close()  # a file that cannot be read is said before RecBole is imported
    from recbole_genrec.runs.retest import retest

    retest(run, values)


def compare(models=(), datasets=(), seeds=(2020,), config_files=(), retry_failed=False, settings=None):
    """Make the runs of a comparison; returns the exit code, 1 where some failed."""
    for key in ("model", "dataset", "seed"):
        if key in settings:
            raise GenRecError(f"command line: compare takes --{key}s, with commas between several, not --{key}.")
    from recbole_genrec.config.sources import check_lists

    check_lists(models=models, datasets=datasets, seeds=seeds)
    for dataset in datasets:
        values = _checked(models, dataset, config_files, settings)
    from recbole_genrec.report import comparison_texts
    from recbole_genrec.runs.compare import compare

    compared = compare(models, datasets, seeds, config_files, values, retry_failed)
    for line in comparison_texts(compared):
        print(line, flush=True)
    return int(bool(compared.failed))


def compare_tuned(models=(), dataset=None, config_files=(), retry_failed=False, settings=None, **search):
    """Tune models and compare the chosen settings; returns the exit code, 1 where a trial or a run failed."""
    for key, instead in (("seed", "seeds"), ("repeatable", "protocols"), ("sample_users", "trial_users")):
        if key in settings:
            raise GenRecError(f"command line: compare_tuned takes --{instead}, not --{key}.")
    from recbole_genrec.config.sources import check_lists

    check_lists(models=models)
    values = _checked(models, dataset, config_files, settings)
    from recbole_genrec.runs.shared_space import check_spaces

    check_spaces(models, dataset or "", values, search.get("spaces"))
    from recbole_genrec.report import comparison_texts
    from recbole_genrec.runs.equal_tuning import EqualSearch, is_complete, tune_equally, tuning_texts

    tuned = tune_equally(models, dataset, EqualSearch(**search), config_files, values, retry_failed)
    for line in tuning_texts(tuned):
        print(line, flush=True)
    for protocol, compared in tuned.compared.items():
        print(f"\nSeen items {protocol}:", flush=True)
        for line in comparison_texts(compared):
            print(line, flush=True)
    return int(not is_complete(tuned))


def report(**options):
    """Write a report, and print where it is."""
    from recbole_genrec.report import write_report

    for path in write_report(**options):
        print(path)


def audit(run, **options):
    """Audit a run; prints its tables and where they are."""
    open(run, "rb").close()  # a file that cannot be read is said before RecBole is imported
    from recbole_genrec.report.audit import audit
    from recbole_genrec.report.audit_tables import print_audit

    paths, content = audit(run, **options)
    print_audit(content)
    for path in paths:
        print(path)


def convert(name, **options):
    """Convert a raw dump, and print what was made."""
    from recbole_genrec.interactions.converter import convert

    print(convert(name, **options))


def _checked(models, dataset, config_files, settings):
    """The settings' values, checked as far as that goes without RecBole."""
    from recbole_genrec.config.sources import check_command_line
    from recbole_genrec.config.yaml_settings import parse_values
    from recbole_genrec.interactions.dataset_folder import check_before_run

    values = parse_values(settings)
    dataset, data_path = check_command_line(list(models), dataset, config_files, values)
    if data_path is not None:
        check_before_run(dataset, data_path)
    return values
