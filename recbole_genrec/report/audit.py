"""An audit of a run: what its test gave groups of users, and whether they differ by more than chance."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from recbole_genrec.errors import GenRecError
from recbole_genrec.evaluation.group_metrics import exposure, group_figures, largest_differences, row_values
from recbole_genrec.evaluation.probe import FOLDS, probe
from recbole_genrec.evaluation.user_groups import group_users
from recbole_genrec.evaluation.user_states import user_states
from recbole_genrec.files.atomic_file import AtomicFile
from recbole_genrec.files.plain import plain
from recbole_genrec.files.user_table import read_users
from recbole_genrec.files.write import write_text
from recbole_genrec.report.audit_named import check_named, named_lists
from recbole_genrec.report.audit_tables import audit_markdown
from recbole_genrec.report.statistics import holm
from recbole_genrec.report.stored_runs import Run
from recbole_genrec.runs.result import is_failed, read_run
from recbole_genrec.runs.stored_model import opened_model


@dataclass(frozen=True)
class AuditSettings:
    """How users are put into groups, and what is measured.

    Attributes:
        by: columns of the ``.user`` file.
        bins: see :func:`~recbole_genrec.evaluation.user_groups.group_users`.
        least: groups of fewer users are listed, but neither measured nor compared.
        topk: length of the lists.
        data_path: the folder that holds the dataset's folder; None for where it was in training.
        probe: whether a classifier tries to read the columns off the model's states of users.
        named: columns whose values are named in the prompt.
        named_users: how many users are asked with values named, drawn by the run's seed; None for 100.
        sentences: a YAML file of the sentences; None for the shipped one.
    """

    by: list[str]
    bins: int | list[float] = 4
    least: int = 20
    topk: int = 10
    data_path: str | None = None
    probe: bool = False
    named: list[str] | tuple[str, ...] = ()
    named_users: int | None = None
    sentences: str | None = None

    def __post_init__(self):
        if not self.by:
            raise GenRecError("--by names no column, such as --by=gender,age.")
        for key in ("named_users", "sentences"):
            if getattr(self, key) is not None and not self.named:
                raise GenRecError(f"--{key} needs --named, such as --named=gender.")


def audit(run, by, output=None, **options):
    """Audit a run, and write ``<run>.audit.json`` and ``<run>.audit.md``.

    Args:
        run: path of the run's JSON; its relative paths hold from the folder in which it was made.
        by: columns of the ``.user`` file.
        output: folder of the files; None for that of the run.
        options: the others of :class:`AuditSettings`.

    Returns:
        Paths of the two files, and the audit as the JSON holds it.

    Raises:
        GenRecError: the run has no outcomes with lists, there is no ``.user`` file or no such column, a column has one
            value alone, or what needs the model finds no checkpoint.
    """
    path, settings = Path(run), AuditSettings(list(dict.fromkeys(by)), **options)
    stored = _read(path)
    if settings.named:
        check_named(stored.model)
    outcomes = _outcomes(path, stored, settings.topk)
    users, owner = np.unique(outcomes.users, return_inverse=True)
    groups = groups_of(stored, users, settings.by, settings)
    content = {key: getattr(stored, key) for key in ("model", "dataset", "seed")}
    content |= {"run": str(path), "topk": settings.topk, "users": len(users), "least": settings.least}
    content["attributes"] = _attributes(outcomes, owner, groups, settings, stored.seed)
    if settings.probe:
        content["probe"] = _probed(path, stored, settings)
    if settings.named:
        asked = _values(groups_of(stored, users, dict.fromkeys(settings.named), settings), settings.least)
        content["named"] = named_lists(path, stored, asked, settings)
    content = plain(content)
    folder = Path(output) if output else path.parent
    paths = [folder / f"{path.stem}.audit.{ending}" for ending in ("json", "md")]
    write_text(paths[0], json.dumps(content, indent=2) + "\n")
    write_text(paths[1], audit_markdown(content))
    return paths, content


def _read(path):
    if is_failed(path):
        raise GenRecError(f"{path} tells of a run that failed: there is nothing to audit.")
    return read_run(path)


def _outcomes(path, stored, length):
    """The outcomes of a run with lists of some length."""
    outcomes = Run(path, stored).outcomes()
    if outcomes is None:
        raise GenRecError(
            f"An audit of {path} needs the outcomes of its test, {path.with_suffix('.npz')}, which are not there: "
            "`test --run` makes them again."
        )
    if outcomes.lists is None:
        raise GenRecError(f"{path.with_suffix('.npz')} keeps counts instead of lists: an audit needs the lists.")
    longest = outcomes.lists.shape[1]
    if not 1 <= length <= longest:
        raise GenRecError(f"--topk={length}: the lists of {path} have {longest} items; give 1 to {longest}.")
    return outcomes


def groups_of(stored, users, columns, settings):
    """Groups of users by column.

    Args:
        stored: the run's result.
        users: tokens ``[U]``.
        columns: of the ``.user`` file.
        settings: :class:`AuditSettings`.
    """
    config = {"field_separator": "\t", "encoding": None, "USER_ID_FIELD": "user_id", **stored.config}
    if settings.data_path is not None:
        folder = Path(settings.data_path) / stored.dataset
    elif config.get("data_path"):
        folder = Path(config["data_path"])
    else:
        raise GenRecError("The run does not say where its dataset was: name the folder with --data_path.")
    file = AtomicFile.of(folder / f"{stored.dataset}.user", config)
    table = read_users(file, config["USER_ID_FIELD"], columns, "--by")
    return [group_users(table, column, users.tolist(), settings.bins) for column in columns]


def _attributes(outcomes, owner, groups, settings, seed):
    """What every column shows, p-values corrected for the number of columns and metrics."""
    values = row_values(outcomes, settings.topk)
    found = [_attribute(outcomes, values, owner, group, settings, seed) for group in groups]
    tested = [difference for attribute in found for difference in attribute["differences"].values()]
    for difference, corrected in zip(tested, holm([difference["p"] for difference in tested])):
        difference["p_corrected"] = corrected
    return {group.column: attribute for group, attribute in zip(groups, found)}


def _attribute(outcomes, values, owner, groups, settings, seed):
    """Figures of the groups by one column, and differences between them, p-values as they are."""
    sizes, large = groups.sizes, groups.large(settings.least)
    of_row = groups.group[owner]
    measured = {}
    for at in large:
        rows = of_row == at
        own = {name: value[rows] for name, value in values.items()}
        figures = group_figures(own, owner[rows], seed)
        shown = exposure(outcomes.lists[rows, : settings.topk], outcomes.item_counts)
        measured[groups.names[at]] = {"users": sizes[at], "metrics": figures, **shown}
    renumbered = np.full(len(groups.names) + 1, -1)  # the last is for users without a value, group -1
    renumbered[large] = np.arange(len(large))
    differences = {}
    if len(large) > 1:
        differences = largest_differences(values, owner, renumbered[groups.group], seed)
    return {
        "groups": measured,
        "small": {name: sizes[at] for at, name in enumerate(groups.names) if at not in large},
        "without_value": (groups.group < 0).sum(),
        "differences": {name: _named(difference, groups, large) for name, difference in differences.items()},
    }


def _named(difference, groups, large):
    """A difference with the names of its groups, as JSON holds it."""
    content = asdict(difference)
    content["p"] = content.pop("p_value")
    return content | {key: groups.names[large[content[key]]] for key in ("highest", "lowest")}


def _values(groups, least):
    """The values of every column that are named: those of the groups that are compared."""
    asked = {}
    for group in groups:
        asked[group.column] = [group.names[at] for at in group.large(least)]
        if len(asked[group.column]) < 2:
            raise GenRecError(f"--named: {group.column!r} has no two groups of {least} users; see --least.")
    return asked


def _probed(path, stored, settings):
    """What a probe reads of every column off the model's states; None where there are no two large groups."""
    changes = {} if settings.data_path is None else {"data_path": settings.data_path}
    with opened_model(path, stored, changes) as (config, data, model):
        ids, states = user_states(model, data.parts[2], config["eval_batch_size"])
        tokens = np.asarray(data.dataset.id2token(data.dataset.uid_field, ids), str)
        read = set(getattr(model, "user_columns", ()))
    found = {}
    for groups in groups_of(stored, tokens, settings.by, settings):
        large = groups.large(max(settings.least, FOLDS))
        taken = np.isin(groups.group, large)
        found[groups.column] = None
        if len(large) > 1:
            probed = probe(states[taken], np.searchsorted(large, groups.group[taken]), stored.seed)
            found[groups.column] = asdict(probed) | {
                "groups": [groups.names[at] for at in large],
                "read_by_model": groups.column in read,
            }
    return found
