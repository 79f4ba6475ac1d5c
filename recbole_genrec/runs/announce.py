"""What a run says at its start, data and changed settings, and at its end: where things are, and what comes next."""

import shlex
from logging import getLogger

from rich.console import Console
from rich.markup import escape

from recbole_genrec.files.plain import plain
from recbole_genrec.runs.process import FILE_ONLY
from recbole_genrec.runs.result import result_file

_PROGRAM = "python -m recbole_genrec"
#: settings that say where a run reads and writes, or which run it is: the log names them elsewhere.
_PLACES = frozenset({"data_path", "checkpoint_dir", "results_dir", "resume", "state", "show_progress", "seed", "model"})


def announce(config):
    """Log model, data set and seed, and the settings that differ from the shipped ones; all of them in the log file."""
    given = _listed(changed_settings(config)) or "as shipped"
    getLogger().info(
        f"{config['model']} on {config['dataset']}, seed {config['seed']}, on {config['device']}. Settings: {given}"
    )
    if config.pretrained_defaults:
        used = {key: config[key] for key in config.pretrained_defaults if key not in config.external_config_dict}
        getLogger().info(
            f"The backbone {config['backbone']} is pretrained; defaults for fine-tuning it hold "
            f"(properties/pretrained/{config['model']}.yaml): {_listed(used)}"
        )
        _announce_export(config)
    getLogger().info(config, extra=FILE_ONLY)


def _announce_export(config):
    """Say before training that a pretrained model will not be a plain one, which 'export' would refuse afterwards."""
    if not hasattr(config.model_class, "not_plain"):
        return
    needed = config.model_class.not_plain(config)
    if needed:
        getLogger().info(
            "'export' will refuse this checkpoint: its scores need more than the language model. What can be exported "
            f"has {_listed(needed)}."
        )


def _listed(settings):
    return ", ".join(f"{key}={plain(value)}" for key, value in settings.items())


def changed_settings(config) -> dict:
    """The settings that the user gave and that differ from what is shipped, as ``{key: value}``."""
    shipped, given = config.internal_config_dict, config.external_config_dict
    return {
        key: plain(config[key])
        for key in given
        if key not in _PLACES and (key not in shipped or plain(config[key]) != plain(shipped[key]))
    }


def announce_data(data):
    """Log the size of the data set in one line; RecBole's statistics in the log file.

    Args:
        data: :class:`~recbole_genrec.interactions.split.SplitData`.
    """
    users, items = data.dataset.user_num - 1, data.dataset.item_num - 1
    getLogger().info(
        f"{data.dataset.dataset_name}: {users:,} users, {items:,} items, {data.n_interactions:,} interactions"
    )
    getLogger().info(data.statistics, extra=FILE_ONLY)


def announce_model(model):
    """Log the number of parameters in one line; the modules in the log file."""
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    share = "" if trained == total else f", of which {trained:,} are trained"
    getLogger().info(f"{type(model).__name__}: {total:,} parameters{share}")
    getLogger().info(model, extra=FILE_ONLY)


def print_ending(results, folder, user=None):
    """Print where the results and checkpoints are, and two commands that go on from there.

    Args:
        results: every model's :class:`~recbole_genrec.runs.result.RunResult`.
        folder: of the results.
        user: a raw user id of the data set, as an example.
    """
    lines = []
    for result in results:
        kept = f"checkpoint in {result.checkpoint}" if result.checkpoint else "no checkpoint"
        lines.append(f"{result.model}: results in {_json_of(result, folder)}, {kept}")
    lines += ["Next:", *(f"  {_PROGRAM} {command}" for command in next_commands(results, folder, user))]
    Console().print(escape("\n".join(lines)), soft_wrap=True, highlight=False)


def next_commands(results, folder, user=None) -> list[str]:
    """Two command lines that go on from a run, without the program's name, quoted for a shell.

    ``recommend`` takes the checkpoint of a GenRec; other runs are tested under the other protocol, or reported alone.
    """
    commands = [f"report --results={shlex.quote(str(folder))}"]
    kept = [result for result in results if result.checkpoint]
    recommenders = [result for result in kept if result.model == "GenRec"]
    if recommenders and user is not None:
        given = shlex.join(["--checkpoint", recommenders[0].checkpoint, "--user", str(user)])
        return [f"recommend {given} --exclude_seen", *commands]
    rankers = [result for result in kept if result.generation or result.outcomes]
    if rankers:
        run = shlex.quote(str(_json_of(rankers[0], folder)))
        return [f"test --run={run} --repeatable={not rankers[0].config['repeatable']}", *commands]
    return commands


def _json_of(result, folder):
    return result_file(folder, result.model, result.content(), "json")
