"""Where the settings of a run come from, files, a dictionary, a command line, and the check of what they hold.

The check imports neither RecBole nor a model of a known name, so that a mistake on a command line is said at once.
"""

from pathlib import Path

from recbole_genrec.config.arguments.former import with_present_names
from recbole_genrec.config.arguments.schema import all_settings, check_values
from recbole_genrec.config.keys import COMMAND_LINE, TEST_KEYS, check_key, known_keys, model_kind, name_of
from recbole_genrec.config.metrics import check_metrics
from recbole_genrec.config.registry import check_model, is_model
from recbole_genrec.config.yaml_settings import named_file, read_yaml
from recbole_genrec.errors import GenRecError, shown, unknown_name


def model_list(model) -> list:
    """The models of a run: names or classes.

    Args:
        model: one, several, or names with commas between them.

    Raises:
        GenRecError: there is none, or one twice.
    """
    if isinstance(model, str):
        model = [name.strip() for name in model.split(",") if name.strip()]
    models = [model] if isinstance(model, type) else list(model or ())
    if not models:
        raise GenRecError("No model given: --model=GenRec, or several as --model=GenRec,SASRec.")
    names = list(map(name_of, models))
    for name in names:
        if names.count(name) > 1:
            raise GenRecError(f"Model {name!r} is given twice.")
    return models


def check_lists(**lists):
    """Refuse a list of names or numbers, given by its option's name, that is empty or holds one twice.

    Raises:
        GenRecError: one is empty, or does.
    """
    for name, values in lists.items():
        if not values:
            raise GenRecError(f"compare needs --{name}: one, or several with commas between them.")
        if len(set(values)) < len(values):
            raise GenRecError(f"--{name} holds {max(values, key=list(values).count)!r} twice.")


def check_names(model, dataset):
    """Refuse a model or a dataset that is missing, and a dataset that is a path.

    Raises:
        GenRecError: one is; the message names it.
    """
    for key, value in (("model", model), ("dataset", dataset)):
        if not value:
            raise GenRecError(f"No {key} given: add --{key}=... or the key {key!r} to a configuration file.")
    # logs, checkpoints and results are named after it
    if Path(str(dataset)).name != str(dataset) or dataset == "..":
        raise GenRecError(f"'dataset' must be the name of a folder below 'data_path', not {shown(dataset)}.")


def check_sources(sources, model, models, dataset) -> dict[str, int]:
    """Refuse unknown keys, keys of the command line that no model of a run reads, and values that do not fit.

    A file or a dictionary may be shared by several runs: :func:`.keys.idle_keys` lists what is not read.

    Args:
        sources: ``{name of the source: its settings}``, in rising order of precedence.
        model: whose settings these are, a name or a class.
        models: all models of the run, names or classes.
        dataset: its name.

    Returns:
        By key, the number of the source that gives the value.

    Raises:
        GenRecError: a key or value is not accepted; the message names it and its source.
    """
    read, readable, given_by = known_keys(models, dataset), model_kind(model).settings(), {}
    for number, (source, settings) in enumerate(sources.items()):
        known = read if source == COMMAND_LINE else read | all_settings().keys()
        for key, value in settings.items():
            if is_section(key, value, models):
                _check_section(f"{source}, section {key!r}", _model_called(key, models), value, dataset)
                if key == name_of(model):
                    given_by |= dict.fromkeys(value, number)
                continue
            check_key(key, source, known, models, value)
            check_values([readable[key]] if key in readable else all_settings().get(key), value, source)
            if key == "metrics":
                check_metrics(value)
            given_by[key] = number
    return given_by


def check_test(settings):
    """Refuse settings that a test of a finished run does not take; see :func:`recbole_genrec.runs.retest.retest`.

    Raises:
        GenRecError: there is one.
    """
    for key, value in settings.items():
        if key not in TEST_KEYS:
            raise unknown_name("setting of a test", key, TEST_KEYS)
        if key == "eval_args" and (not isinstance(value, dict) or set(value) != {"mode"}):
            raise GenRecError("Of 'eval_args' a test takes the 'mode' alone: the split is that of the training.")
        check_values(all_settings().get(key), value, COMMAND_LINE)
    check_metrics(settings.get("metrics", ()))


def is_section(key, value, models) -> bool:
    """Whether a key holds the settings of one model alone, after which it is named."""
    return isinstance(value, dict) and (key in map(name_of, models) or isinstance(key, str) and is_model(key))


def _check_section(source, model, settings, dataset):
    known, readable = known_keys([model], dataset), model_kind(model).settings()
    for key, value in settings.items():
        check_key(key, source, known, [model], value)
        check_values([readable[key]] if key in readable else (), value, source)


def _model_called(name, models):
    return next((model for model in models if name_of(model) == name), name)


def check_command_line(models, dataset, files, settings):
    """Refuse what is wrong with the command line of a run, as far as that shows without RecBole.

    Args:
        models: names. dataset: a name, or ``None`` where a file gives it.
        files: paths of YAML files.
        settings: by key, parsed.

    Returns:
        The name of the dataset, and its ``data_path``; ``None`` where that depends on the model.

    Raises:
        GenRecError: a name, file, key or value is not accepted.
    """
    for name in model_list(models):
        check_model(name)
    sources = {str(path): read_yaml(named_file(path)) for path in files} | {COMMAND_LINE: settings}
    sources = {source: with_present_names(settings, source)[0] for source, settings in sources.items()}
    given = {key: value for source in sources.values() for key, value in source.items()}
    dataset = dataset or given.get("dataset")
    for name in models:
        check_names(name, dataset)
        check_sources(sources, name, models, dataset)
    by_model = any("data_path" in value for value in given.values() if isinstance(value, dict))
    return str(dataset), None if by_model else given.get("data_path") or all_settings()["data_path"][0].default
