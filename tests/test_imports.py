"""Imports go one way; this test reads them and holds the arrows."""

import ast
from pathlib import Path

import pytest

import recbole_genrec

PACKAGE = Path(recbole_genrec.__file__).parent

#: floors of the house, lowest first; a module imports its own floor and those below.
FLOORS = [
    {"atomic_reader", "errors", "plain_text", "properties_path", "shapes", "strict_yaml"},
    {"distributed"},
    {"utils"},
    {"compat", "arguments"},
    {"indexing", "prompt", "decoding", "backbone", "chat", "converter"},
    {"config", "catalogue", "feature_columns"},
    {"data", "checkpoint_files"},
    {"model"},
    {"checkpoint", "checkpoint_training", "schedule", "stopping", "trainer"},
    {"atomic_files", "clock", "cold_evaluation", "confidence", "identity", "outcomes", "process", "results"}
    | {"export", "model_card", "recommend"},
    {"report", "split_data"},
    {"quick_start", "tuning"},
    {"compare", "retest"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SIBLINGS = {"indexing", "prompt", "decoding", "backbone", "chat", "converter"}


def modules():
    """Every module of the package as (room, path); the package's own ``__init__`` is no room."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",) and parts[0] != "properties":
            yield parts[0], path


def imported(path):
    """Names of the modules that a file imports, anywhere in it, with relative imports resolved."""
    package = ["recbole_genrec", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            # `from recbole_genrec import compat` names a room; `from recbole_genrec.data import x` names one already.
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "recbole_genrec" else (module,)


def rooms_imported(path):
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "recbole_genrec" and len(parts) > 1 and parts[1] != "__version__":
            yield parts[1]


def test_every_room_has_a_floor():
    assert {room for room, _ in modules()} <= set(FLOOR)


def test_imports_never_go_up():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {other}"
        for room, path in modules()
        for other in rooms_imported(path)
        if FLOOR[other] > FLOOR[room]
    ]
    assert not wrong


def test_siblings_import_neither_each_other_nor_recbole():
    wrong = []
    for room, path in modules():
        if room in SIBLINGS:
            wrong += [f"{room}: {other}" for other in rooms_imported(path) if other in SIBLINGS - {room}]
            wrong += [f"{room}: {name}" for name in imported(path) if name.split(".")[0] == "recbole"]
    assert not wrong


@pytest.mark.parametrize("room", ["converter", "chat"])
def test_rooms_that_need_no_torch(room):
    roots = {name.split(".")[0] for other, path in modules() if other == room for name in imported(path)}
    assert roots and "torch" not in roots


def test_only_compat_replaces_names_in_recbole():
    # setattr and assignments to attributes of an imported RecBole module are patches
    for room, path in modules():
        if room == "compat":
            continue
        tree = ast.parse(path.read_text("utf-8"))
        aliases = {
            alias.asname or alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
            if alias.name.split(".")[0] == "recbole"
        }
        targets = [t for node in ast.walk(tree) if isinstance(node, ast.Assign) for t in node.targets]
        patched = [t.attr for t in targets if isinstance(t, ast.Attribute) and getattr(t.value, "id", None) in aliases]
        assert not patched, path
