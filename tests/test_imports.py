"""Imports go one way: the rooms stand in the order of a run, and a file imports its own room and those before it.

Every import counts: statements anywhere in a file, also inside functions, and texts that name a module, such as
``import_module("recbole_genrec.model")``. A place, ``module:name``, is data of a table; only
:func:`recbole_genrec.config.registry.resolve` imports what it names. More rules: ``test_source_rules.py``.
"""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import recbole_genrec

PACKAGE = Path(recbole_genrec.__file__).parent

#: the house in the order of a run. ``recbole_genrec/__init__.py`` holds public names as places, and comes first.
ROOMS = (
    ["errors", "files", "compat", "distributed", "config", "plugin", "interactions", "vectors", "catalogue"]
    + ["prompt", "backbone", "decoding", "chat", "batches", "checkpoint", "model", "training", "evaluation", "runs"]
    + ["report", "serve", "quick_start", "cli", "__main__"]
)
#: names that lie loose at the root.
LOOSE = {"__init__", "__main__", "errors", "plugin", "quick_start"}
#: rooms that import nothing of the package but errors.
ALONE = ("files", "compat")
#: rooms that work where RecBole is not installed, and others where torch is not.
WITHOUT_RECBOLE = ("files", "vectors", "catalogue", "prompt", "backbone", "decoding", "chat", "checkpoint")
WITHOUT_TORCH = ("files", "chat", "cli", "interactions.converter")


def files():
    """Every module of the package as (dotted name below it, path)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "properties" not in path.relative_to(PACKAGE).parts:
            name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imported(path):
    """Names of the modules, and of names in them, that a file imports."""
    return imports_of(ast.parse(path.read_text("utf-8")), path.relative_to(PACKAGE).parts[:-1])


def imports_of(tree, folders=()):
    package = ["recbole_genrec", *folders]
    nodes = list(ast.walk(tree))
    statements = [node.value for node in nodes if isinstance(node, ast.Expr)]  # docstrings
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and node not in statements and MODULE.match(str(node.value)):
            yield MODULE.match(node.value)[0].rstrip(".")


#: a text that names a module; in an f-string, its beginning.
MODULE = re.compile(r"(recbole_genrec|recbole|torch)(\.\w+)+\.?$|recbole\.$")


def rooms_imported(path):
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "recbole_genrec" and parts[1] != "__version__":
            yield parts[1]


def test_imports_go_one_way():
    wrong = [
        f"{name} imports {other}"
        for name, path in files()
        if name != "__init__"
        for other in rooms_imported(path)
        if ROOMS.index(other) > ROOMS.index(name.split(".")[0])
    ]
    assert not wrong


def test_every_room_has_its_place_and_little_lies_loose():
    names = [name for name, _ in files()]
    assert {name.split(".")[0] for name in names} == {*ROOMS, "__init__"}
    assert {name for name, path in files() if path.parent == PACKAGE} == LOOSE


def test_no_two_files_have_one_name():
    counts = Counter(path.name for _, path in files())
    assert {name for name, count in counts.items() if count > 1} == {"__init__.py"}


@pytest.mark.parametrize("room", ALONE)
def test_rooms_that_import_nothing_of_the_package_but_errors(room):
    others = {other for name, path in files() if name.split(".")[0] == room for other in rooms_imported(path)}
    assert others <= {room, "errors"}


def roots_of(room):
    return {
        imports.split(".")[0]
        for name, path in files()
        if name == room or name.startswith(f"{room}.")
        for imports in imported(path)
    }


@pytest.mark.parametrize("room", WITHOUT_RECBOLE)
def test_rooms_that_need_no_recbole(room):
    assert roots_of(room) and "recbole" not in roots_of(room)


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_rooms_that_need_no_torch(room):
    assert roots_of(room) and "torch" not in roots_of(room)


def calls_of_imports(tree):
    """Calls that import a module whose name is no plain text, by line and beginning of the name."""
    for node in ast.walk(tree):
        function = node.func if isinstance(node, ast.Call) else None
        if getattr(function, "attr", getattr(function, "id", "")) in ("import_module", "__import__"):
            name = node.args[0]
            first = name.values[0] if isinstance(name, ast.JoinedStr) else name
            yield first.value if isinstance(first, ast.Constant) else None


def test_only_resolve_imports_by_a_name_that_cannot_be_read():
    unread = [name for name, path in files() if None in calls_of_imports(ast.parse(path.read_text("utf-8")))]
    assert unread == ["config.registry"]


def test_places_in_tables_exist():
    from recbole_genrec.config.registry import resolve

    places = set()
    for _, path in files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and re.fullmatch(r"recbole_genrec(\.\w+)+:\w+", str(node.value)):
                places.add(node.value)
    assert len(places) > 20
    for place in places:
        assert callable(resolve(place))


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import recbole_genrec.model.p5", "recbole_genrec.model.p5"),
        ("def f():\n    from recbole_genrec.model.p5 import P5", "recbole_genrec.model.p5.P5"),
        ("from recbole_genrec import compat", "recbole_genrec.compat"),
        ("from ..model import p5", "recbole_genrec.model.p5"),
        ("import_module('recbole_genrec.checkpoint').x()", "recbole_genrec.checkpoint"),
        ("import_module(name='recbole_genrec.checkpoint')", "recbole_genrec.checkpoint"),
        ("x = {'a': 'recbole_genrec.checkpoint'}", "recbole_genrec.checkpoint"),
        ("import_module(f'recbole_genrec.model.{name}')", "recbole_genrec.model"),
        ("import_module(f'recbole.{name}')", "recbole"),
        ("resolve('recbole_genrec.model.p5:P5')", None),
        ("'recbole_genrec.model.p5 is a file'", None),
        ("print('recbole_genrec.model.p5 is a file')", None),
    ],
)
def test_an_import_is_seen(code, name):
    assert list(imports_of(ast.parse(code), ["data"])) == ([] if name is None else [name])


def test_an_import_by_an_unknown_name_is_seen():
    assert list(calls_of_imports(ast.parse("importlib.import_module(table[name])"))) == [None]
    assert list(calls_of_imports(ast.parse("importlib.import_module('recbole')"))) == ["recbole"]
    assert list(calls_of_imports(ast.parse("import_module(f'recbole.{name}')"))) == ["recbole."]
    assert list(calls_of_imports(ast.parse("import_module(f'{name}.x')"))) == [None]


def circles():
    """Sets of modules that reach each other by imports of any kind."""
    names = dict(files())
    names.pop("__init__")  # its public names come when they are asked for
    graph = {}
    for name, path in names.items():
        graph[name] = set()
        for found in imported(path):
            found = found.removeprefix("recbole_genrec.")
            while found and found not in names:
                found = found.rpartition(".")[0]
            graph[name] |= {found} - {name, ""}
    reached = {name: set(others) for name, others in graph.items()}
    for middle in names:
        for name in names:
            if middle in reached[name]:
                reached[name] |= reached[middle]
    together = {frozenset(n for n in reached[name] if name in reached[n]) for name in names if name in reached[name]}
    return {tuple(sorted(circle)) for circle in together}


def test_no_modules_import_each_other_in_a_circle():
    assert circles() == set()
