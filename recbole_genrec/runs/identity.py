"""Which run a configuration stands for: the settings that decide its outcome, and those in which two runs differ."""

from dataclasses import asdict
from functools import cache

from recbole_genrec.config.arguments import ARGUMENT_GROUPS, plugin_keys
from recbole_genrec.config.arguments.former import with_present_names
from recbole_genrec.config.keys import PLACE_KEYS, model_kind
from recbole_genrec.config.registry import is_model
from recbole_genrec.files.plain import plain

#: settings that say where a run is carried out, or name columns, which a model reads or not.
_ELSEWHERE = frozenset(("device", "data_path", "load_col", "local_rank", "single_spec"))


def deciding_settings(settings):
    """The settings that decide the outcome of a run, with the plugin's defaults where they say nothing.

    Settings that its model does not read, given for other models of the comparison, are left out.

    Args:
        settings: a configuration as :func:`~recbole_genrec.files.plain.plain` gives it and a run's JSON holds it.
    """
    defaults, (settings, _) = _plugin_defaults(), with_present_names(settings)
    given = {key: value for key, value in settings.items() if key not in PLACE_KEYS | _ELSEWHERE}
    known = defaults | {key: value for key, value in given.items() if value is not None or key not in defaults}
    unread = _unread(settings.get("model"))
    return {key: value for key, value in known.items() if key not in unread}


def differences(stored, config):
    """Compare a run that was made with one that is asked for.

    A setting that the stored run does not know, since the package or RecBole has got it later, counts only where it is
    given.

    Args:
        stored: the configuration of the run that was made, from its JSON.
        config: a ``GenRecConfig``.

    Returns:
        ``{key: (stored value, value asked for)}``
    """
    old, new = deciding_settings(stored), deciding_settings(plain(config.final_config_dict))
    compared = old.keys() | (new.keys() & config.external_config_dict.keys())
    return {key: (old.get(key), new.get(key)) for key in sorted(compared) if old.get(key) != new.get(key)}


@cache
def _unread(model):
    """Keys of the plugin that a model does not read, by its name; none of a model that is not known here."""
    if not isinstance(model, str) or not is_model(model):
        return frozenset()
    return plugin_keys() - model_kind(model).settings().keys()


@cache
def _plugin_defaults():
    defaults = {}
    for group in ARGUMENT_GROUPS:
        defaults |= plain(asdict(group()))
    return {key: value for key, value in defaults.items() if key not in PLACE_KEYS and value is not None}
