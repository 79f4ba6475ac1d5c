"""Search spaces that several models share, and the settings that a seed draws from them.

A file of YAML has an entry for each dimension, with its values and, where they differ from its name, the settings that
get them, a factor each or 1::

    learning_rate: {log: [5.0e-4, 4.0e-3]}                   # between both, evenly in the logarithm
    weight_decay: {uniform: [0.0, 0.1]}
    dropout: {choice: [0.1, 0.3], keys: [embedding_dropout, hidden_dropout]}
    width: {choice: [64, 128], keys: {scratch_hidden_size: 1, scratch_intermediate_size: 3}}

Trial number n draws each dimension by the seed, the dimension's name and n alone. So trials of two models are alike in
the dimensions that both have, and more trials begin with those of fewer.
"""

from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from zlib import crc32

import numpy as np

from recbole_genrec.config.keys import check_key, known_keys
from recbole_genrec.config.yaml_settings import read_yaml
from recbole_genrec.errors import GenRecError, listed, shown, unknown_name
from recbole_genrec.files.properties import properties_folder

#: how a dimension's values are given.
KINDS = ("choice", "uniform", "log")
#: settings that are the same for all trials, and those that a search decides itself.
_FIXED = ("model", "dataset", "seed", "results_dir", "repeatable", "sample_users")


@dataclass(frozen=True)
class Dimension:
    """What one number decides.

    Attributes:
        kind: one of :data:`KINDS`.
        values: those to choose from, or both ends.
        keys: the settings that get the value, with the factor that it is multiplied by.
    """

    kind: str
    values: tuple
    keys: dict

    def at(self, share):
        """The settings at ``share``, from 0 to below 1."""
        if self.kind == "choice":
            value = self.values[int(share * len(self.values))]
        else:
            low, high = map(log, self.values) if self.kind == "log" else self.values
            value = low + share * (high - low)
            value = float(f"{exp(value) if self.kind == 'log' else value:.3g}")
        return {key: value if factor == 1 else value * factor for key, factor in self.keys.items()}


def space_file(model, folder=None):
    """Path of a model's space: ``<Model>.yaml`` in a folder, by default the shipped one."""
    return Path(folder or properties_folder() / "search") / f"{model}.yaml"


def read_shared_space(path, known):
    """Read a space.

    Args:
        path: the YAML file. known: keys that a run of its model has.

    Returns:
        :class:`Dimension` by name.

    Raises:
        GenRecError: the file cannot be read, or an entry is not accepted; the message names file and entry.
    """
    if not Path(path).is_file():
        raise GenRecError(f"There is no search space {str(path)!r}: --spaces=FOLDER names a folder that has one.")
    space, owner = {}, {}
    for name, entry in read_yaml(path).items():
        space[name] = _dimension(name, entry, f"{path}, {name!r}")
        for key in space[name].keys:
            check_key(key, str(path), known)
            if key in _FIXED:
                raise GenRecError(f"{path}, {name!r}: {key!r} is the same for all trials.")
            if key in owner:
                raise GenRecError(f"{path}: both {owner[key]!r} and {name!r} decide {key!r}.")
            owner[key] = name
    if not space:
        raise GenRecError(f"The search space {str(path)!r} is empty.")
    return space


def _dimension(name, entry, where):
    kinds = [kind for kind in KINDS if kind in entry] if isinstance(entry, dict) else []
    if len(kinds) != 1:
        raise GenRecError(f"{where} needs one of {listed(KINDS)} with a list of values, not {shown(entry)}.")
    for key in entry.keys() - {*kinds, "keys"}:
        raise unknown_name(f"entry of {where}:", key, (*KINDS, "keys"))
    values, keys = entry[kinds[0]], entry.get("keys", [name])
    if not isinstance(values, list) or not values:
        raise GenRecError(f"{where}: {kinds[0]!r} takes a list of values, not {shown(values)}.")
    if kinds[0] != "choice":
        numbers = len(values) == 2 and all(isinstance(value, (int, float)) for value in values)
        if not numbers or values[0] >= values[1] or (kinds[0] == "log" and values[0] <= 0):
            raise GenRecError(f"{where}: {kinds[0]!r} takes [low, high], not {shown(values)}.")
    keys = dict.fromkeys(keys, 1) if isinstance(keys, list) else keys
    if not isinstance(keys, dict) or not keys or not all(isinstance(factor, (int, float)) for factor in keys.values()):
        raise GenRecError(f"{where}: 'keys' takes a list of settings, or a factor for each, not {shown(keys)}.")
    if any(factor != 1 for factor in keys.values()) and not all(isinstance(value, (int, float)) for value in values):
        raise GenRecError(f"{where}: factors take numbers, not {shown(values)}.")
    return Dimension(kinds[0], tuple(values), keys)


def check_alike(spaces):
    """Refuse a dimension that has other values for one model than for another.

    Args:
        spaces: by model, what :func:`read_shared_space` gives.

    Raises:
        GenRecError: there is one; the message names it.
    """
    first = {}
    for model, space in spaces.items():
        for name, dimension in space.items():
            other, values = first.setdefault(name, (model, (dimension.kind, dimension.values)))
            if values != (dimension.kind, dimension.values):
                raise GenRecError(
                    f"The search spaces share {name!r}, but it is {_shown(*values)} for {other} and "
                    f"{_shown(dimension.kind, dimension.values)} for {model}. Give both the same, or another name."
                )


def check_spaces(models, dataset, settings, spaces=None):
    """Read the spaces of models.

    Args:
        models: names. dataset: its name. settings: given for all trials. spaces: folder; ``None``: the shipped one.

    Returns:
        By model, its dimensions by name.

    Raises:
        GenRecError: a space is missing or not accepted, two differ where they should be alike, or a setting that is
            given is drawn.
    """
    read = {model: read_shared_space(space_file(model, spaces), known_keys([model], dataset)) for model in models}
    check_alike(read)
    for model, space in read.items():
        for dimension in space.values():
            for key in dimension.keys:
                if key in settings:
                    raise GenRecError(f"--{key} is given for all trials, but the search space of {model} draws it.")
    return read


def _shown(kind, values):
    return f"{kind} {list(values)}"


def draw(space, seed, number):
    """The settings of trial ``number``, from 0, by key."""
    drawn = {}
    for name, dimension in space.items():
        shares = np.random.default_rng([seed, crc32(name.encode())]).random(number + 1)
        drawn |= dimension.at(float(shares[number]))
    return drawn
