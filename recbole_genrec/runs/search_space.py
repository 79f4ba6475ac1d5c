"""RecBole's search-space files, read without evaluating code and without RecBole.

A file has a line for each key, ``key type values``::

    learning_rate loguniform -7,-4          bounds of the logarithm
    hidden_dropout uniform 0.0,0.5
    scratch_hidden_size quniform 32,96,32   a multiple of the third number
    item_indexing choice ['title','semantic']
"""

import ast
from pathlib import Path

from recbole_genrec.config.keys import check_key
from recbole_genrec.config.yaml_settings import parse_value
from recbole_genrec.errors import GenRecError, unknown_name

#: how many numbers each type takes; ``choice`` takes a list.
NUMBERS = {"uniform": 2, "quniform": 3, "loguniform": 2}


def read_space(path, known, algo="exhaustive"):
    """Read a search-space file in RecBole's format; no line is evaluated as code.

    Args:
        path: the file.
        known: keys that a run has.
        algo: ``exhaustive`` takes choices alone.

    Returns:
        What ``HyperTuning`` takes as ``params_dict``: by type, by key, the values.

    Raises:
        GenRecError: the file cannot be read, or a line is not accepted; the message names file and line.
    """
    if not path:
        raise GenRecError("'tune' needs a search space: --params_file=FILE, with lines such as 'epochs choice [5,10]'.")
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GenRecError(f"Cannot read the search space {str(path)!r}: {error}.") from None
    space, seen = {}, {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{path}, line {number}"
        key, kind, values = _parse_line(line, where)
        check_key(key, where, known)
        if key in ("model", "dataset", "results_dir"):
            raise GenRecError(f"{where}: {key!r} is the same for all trials.")
        if key in seen:
            raise GenRecError(f"{where}: {key!r} stands in line {seen[key]} already.")
        if kind != "choice" and algo == "exhaustive":
            raise GenRecError(f"{where}: 'algo: exhaustive' takes 'choice' alone; {kind!r} goes with random or bayes.")
        seen[key] = number
        space.setdefault(kind, {})[key] = values
    if not space:
        raise GenRecError(f"The search space {str(path)!r} is empty.")
    return space


def _parse_line(line, where):
    """Key, type and values of a line."""
    parts = line.split(None, 2)
    if len(parts) < 3:
        raise GenRecError(f"{where}: {line.strip()!r} is not of the form 'key type values'.")
    key, kind, text = parts
    if kind == "choice":
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values = None
        if not isinstance(values, list) or not values:
            raise GenRecError(f"{where}: 'choice' takes a list such as [0.1,0.2] or ['a','b'], not {text.strip()!r}.")
        # RecBole evaluates texts as its command line does: '[64,32]' is a list
        return key, kind, [parse_value(key, value) if isinstance(value, str) else value for value in values]
    if kind not in NUMBERS:
        raise unknown_name(f"type in {where}:", kind, ("choice", *NUMBERS))
    try:
        values = [float(value) for value in text.split(",")]
    except ValueError:
        values = []
    if len(values) != NUMBERS[kind] or values[0] >= values[1]:
        wanted = "low,high,step" if kind == "quniform" else "low,high"
        raise GenRecError(f"{where}: {kind!r} takes {wanted}, not {text.strip()!r}.")
    return key, kind, values
