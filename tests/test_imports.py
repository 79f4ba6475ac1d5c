"""Imports go one way; this test reads them and holds the arrows. More rules: ``test_source_rules.py``."""

import ast
import re
from pathlib import Path

import pytest

import recbole_genrec

PACKAGE = Path(recbole_genrec.__file__).parent

#: floors of the house, lowest first; a module imports its own floor and those below.
FLOORS = [
    {"atomic_reader", "errors", "plain_text", "properties_path", "shapes", "strict_yaml", "threads"},
    {"distributed"},
    {"utils"},
    {"compat", "arguments"},
    {"indexing", "prompt", "decoding", "backbone", "chat", "converter"},
    {"catalogue", "config", "feature_columns", "setting_keys"},
    {"data", "checkpoint_files"},
    {"model"},
    {"checkpoint", "checkpoint_training", "schedule", "stopping", "trainer"},
    {"atomic_files", "clock", "cold_evaluation", "confidence", "curves", "identity", "outcomes", "process", "results"}
    | {"export", "model_card", "recommend"},
    {"report", "split_data"},
    {"quick_start", "tuning"},
    {"compare", "reopen", "retest"},
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
    """Names of the modules that a file imports, anywhere in it: by statements, with relative ones resolved, and by
    texts such as ``import_module("recbole_genrec.checkpoint")``, or an f-string that begins with a name."""
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
            # `from recbole_genrec import compat` names a room; `from recbole_genrec.data import x` names one already.
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "recbole_genrec" else (module,)
        elif isinstance(node, ast.Constant) and node not in statements and MODULE.match(str(node.value)):
            yield MODULE.match(node.value)[0].rstrip(".")


#: a text that names a module; in an f-string, its beginning.
MODULE = re.compile(r"(recbole_genrec|recbole|torch)(\.\w+)+\.?$|recbole\.$")


def rooms_imported(path):
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "recbole_genrec" and len(parts) > 1 and parts[1] != "__version__":
            yield parts[1]


def test_every_room_has_a_floor():
    assert {room for room, _ in modules()} <= set(FLOOR)


#: imports that go up all the same, each by a name in a text, and why.
UPWARD = {
    ("utils.py", "trainer"): "finds the trainer of a model by name",
    ("utils.py", "data"): "finds the dataset of a model by name",
    ("utils.py", "model"): "finds models by name",
    ("compat/torch_calls.py", "reopen"): "RecBole's load_data_and_model gives the runner's data",
    ("compat/torch_calls.py", "checkpoint"): "RecBole's torch.load is handed a checkpoint folder of this package",
}
#: files that import a module whose name no text of theirs shows, and why.
BY_NAME = {
    "__init__.py": "public names, from a table of modules",
    "compat/__init__.py": "RecBole's own modules, to be patched",
    "indexing/__init__.py": "schemes of this room, from a table of modules",
    "utils.py": "models, from the modules that it names",
}


def test_imports_never_go_up():
    found = {
        (path.relative_to(PACKAGE).as_posix(), other)
        for room, path in modules()
        for other in rooms_imported(path)
        if FLOOR[other] > FLOOR[room]
    }
    assert found == UPWARD.keys()  # one that is gone leaves the list, too


def unnamed_imports(tree):
    """Calls that import a module whose name is no plain text."""
    for node in ast.walk(tree):
        function = node.func if isinstance(node, ast.Call) else None
        if getattr(function, "attr", getattr(function, "id", "")) in ("import_module", "__import__"):
            if not isinstance(node.args[0], ast.Constant):
                yield node.lineno


def test_modules_are_imported_by_names_that_can_be_read():
    files = [
        path for path in sorted(PACKAGE.rglob("*.py")) if list(unnamed_imports(ast.parse(path.read_text("utf-8"))))
    ]
    assert {path.relative_to(PACKAGE).as_posix() for path in files} == BY_NAME.keys()


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import recbole_genrec.model.p5", "recbole_genrec.model.p5"),
        ("def f():\n    from recbole_genrec.model.p5 import P5", "recbole_genrec.model.p5"),
        ("from recbole_genrec import compat", "recbole_genrec.compat"),
        ("from ..model import p5", "recbole_genrec.model"),
        ("import_module('recbole_genrec.checkpoint').x()", "recbole_genrec.checkpoint"),
        ("import_module(name='recbole_genrec.checkpoint')", "recbole_genrec.checkpoint"),
        ("x = {'a': 'recbole_genrec.checkpoint'}", "recbole_genrec.checkpoint"),
        ("import_module(f'recbole_genrec.model.{name}')", "recbole_genrec.model"),
        ("import_module(f'recbole.{name}')", "recbole"),
        ("'recbole_genrec.model.p5 is a file'", None),
        ("print('recbole_genrec.model.p5 is a file')", None),
    ],
)
def test_an_import_is_seen(code, name):
    assert list(imports_of(ast.parse(code), ["data"])) == ([] if name is None else [name])


def test_an_import_by_an_unknown_name_is_seen():
    assert list(unnamed_imports(ast.parse("importlib.import_module(table[name])"))) == [1]
    assert not list(unnamed_imports(ast.parse("importlib.import_module('recbole')")))


#: modules that import each other in a circle, below ``recbole_genrec``, and why.
CIRCLES = {
    ("checkpoint", "compat.naming", "config", "setting_keys", "trainer", "trainer.genrec", "trainer.resuming")
    + (
        "trainer.stages",
        "trainer.untrained",
        "utils",
    ): "``utils`` finds classes by name, and a checkpoint reads its configuration",
    ("compat.torch_calls", "reopen"): "a patch hands RecBole's load_data_and_model to ``reopen``, which loads by it",
    ("model.promptllm", "model.promptllm_chat"): "PromptLLM gives its subclass where a server answers",
}


def circles():
    """Sets of modules that reach each other by imports of any kind."""
    graph = {}
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    names.pop("recbole_genrec")  # its public names come when they are asked for
    for name, path in names.items():
        found = set(imported(path))
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):  # `from recbole_genrec.data import loader`
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
        graph[name] = found & names.keys() - {name}
    reached = {name: set(others) for name, others in graph.items()}
    for middle in names:
        for name in names:
            if middle in reached[name]:
                reached[name] |= reached[middle]
    together = {frozenset(n for n in reached[name] if name in reached[n]) for name in names if name in reached[name]}
    return {tuple(sorted(name.removeprefix("recbole_genrec.") for name in circle)) for circle in together}


def test_no_modules_import_each_other_in_a_circle():
    assert circles() == CIRCLES.keys()


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
