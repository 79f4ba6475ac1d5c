"""House rules that hold for every line of the package, read from its syntax trees.

Each rule is a function over a tree that gives line numbers; examples show what it finds and what it lets pass.
"""

import ast
import re
from pathlib import Path

import pytest

import recbole_genrec

PACKAGE = Path(recbole_genrec.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
#: rules that are not for all files: compat/ is there to patch; a decoder of transformers counts positions in a method,
#: and no argument of it takes those of a tree.
NOT_FOR = {"patches_of_recbole": ("compat/",), "methods_put_on_objects": ("compat/", "backbone/seq2seq.py")}
#: attributes that a library has for a function of its user: argcomplete's, of an option.
HOOKS = ("completer",)


def _is_recbole(name):
    return name == "recbole" or name.startswith("recbole.")


def _root(node):
    """The expression that a chain of attributes, items and ``vars(...)`` hangs off."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)) or _called(node) == "vars":
        node = node.args[0] if isinstance(node, ast.Call) else node.value
    return node


def _called(node):
    """The last name of a called function, such as ``import_module``; ``""`` where nothing is called by name."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", getattr(function, "id", ""))


def _names_recbole(node, names):
    """Whether an expression is a module or class of RecBole, or something that hangs off one."""
    if isinstance(node, (ast.Tuple, ast.List)):
        return any(_names_recbole(part, names) for part in node.elts)
    texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    by_text = _called(_root(node)) in ("import_module", "__import__") or ast.unparse(node).startswith("sys.modules[")
    if by_text:
        return any(map(_is_recbole, texts))
    if _called(node) == "getattr":
        return _names_recbole(node.args[0], names)
    return getattr(_root(node), "id", None) in names


def recbole_names(tree):
    """Names that stand for modules, classes and functions of RecBole anywhere in a file."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name.split(".")[0] for a in node.names if _is_recbole(a.name)}
        elif isinstance(node, ast.ImportFrom) and _is_recbole(node.module or ""):
            names |= {a.asname or a.name for a in node.names}
    while True:
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, (ast.Assign, ast.NamedExpr, ast.AnnAssign)):
                value, targets = node.value, getattr(node, "targets", None) or [node.target]
            elif isinstance(node, (ast.For, ast.comprehension)):
                value, targets = node.iter, [node.target]
            else:
                continue
            if value is not None and _names_recbole(value, names):
                parts = [part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
                found |= {part.id for part in parts if isinstance(part.ctx, ast.Store)}  # not ``mine`` in ``mine.x =``
        if found <= names:
            return names
        names |= found


def patches_of_recbole(tree):
    """Lines that change a module or class of RecBole."""
    names = recbole_names(tree)
    for node in ast.walk(tree):
        targets = []
        if isinstance(node, (ast.Assign, ast.Delete)):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For)):
            targets = [node.target]
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            targets = [item.optional_vars for item in node.items if item.optional_vars]
        parts = [part for target in targets for part in ast.walk(target)]
        attributes = [part for part in parts if isinstance(part, (ast.Attribute, ast.Subscript))]
        if any(_names_recbole(part.value, names) for part in attributes if not isinstance(part.ctx, ast.Load)):
            yield node.lineno
        if _called(node) == "update" and isinstance(node.func, ast.Attribute):
            changed = [node.func.value]
        else:
            changed = node.args[:1] if _called(node) in ("setattr", "delattr", "replace", "quiet") else []
        if any(_names_recbole(owner, names) for owner in changed):
            yield node.lineno


def methods_put_on_objects(tree):
    """Lines that put a function on an object that exists, in place of its method: ``trainer.fit = mine``.

    A reader of the object's class would not know. What has to be told or changed is a listener, an override or an
    argument. A decorator that completes the class it was given, ``cls``, builds a class.
    """
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    methods = {part for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for part in node.body}
    functions = {node.name for node in ast.walk(tree) if isinstance(node, kinds) and node not in methods}
    functions |= {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_function(node.value, ())
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
            targets = getattr(node, "targets", None) or [node.target]
            pairs = [pair for target in targets for pair in _pairs(target, node.value)]
        elif _called(node) in ("setattr", "__setattr__") and len(node.args) == 3:
            pairs = [(ast.Attribute(node.args[0], "", ast.Store()), node.args[2])]
        else:
            continue
        pairs = [(target, value) for target, value in pairs if getattr(target, "attr", "") not in HOOKS]
        on_objects = [value for target, value in pairs if isinstance(target, ast.Attribute) and not _is_class(target)]
        if any(_is_function(value, functions) for value in on_objects):
            yield node.lineno


def _pairs(target, value):
    """Targets of an assignment with their values, each alone."""
    if isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (ast.Tuple, ast.List)):
        return [pair for one, other in zip(target.elts, value.elts) for pair in _pairs(one, other)]
    return [(target, value)]


def _is_class(target):
    """Whether an attribute is one of the class that a decorator builds."""
    return isinstance(target.value, ast.Name) and target.value.id == "cls"


def _is_function(value, functions):
    """Whether an expression is a function: a ``lambda``, one of these names, or made of a function."""
    if isinstance(value, ast.IfExp):
        return _is_function(value.body, functions) or _is_function(value.orelse, functions)
    named = isinstance(value, ast.Name) and value.id in functions
    made = _called(value) in ("MethodType", "partial", "partialmethod")
    return named or made or isinstance(value, ast.Lambda)


def broad_handlers(tree):
    """Lines that catch every exception; one that raises it again just tidies up."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            kinds = [None] if node.type is None else getattr(node.type, "elts", [node.type])
            broad = any(kind is None or getattr(kind, "id", "") in ("Exception", "BaseException") for kind in kinds)
            last = node.body[-1]
            if broad and not (isinstance(last, ast.Raise) and last.exc is None):
                yield node.lineno
        elif _called(node) == "suppress" and {"Exception", "BaseException"} & {getattr(a, "id", "") for a in node.args}:
            yield node.lineno


def asserts(tree):
    """Lines with an ``assert``, which ``python -O`` leaves out."""
    return (node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert))


@pytest.mark.parametrize("rule", [patches_of_recbole, methods_put_on_objects, broad_handlers, asserts])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_the_package_keeps_the_rule(path, rule):
    if path.relative_to(PACKAGE).as_posix().startswith(NOT_FOR.get(rule.__name__, ())):
        return
    assert not list(rule(ast.parse(path.read_text("utf-8"))))


def test_compat_patches_in_ways_that_the_rule_sees():
    trees = {path.stem: ast.parse(path.read_text("utf-8")) for path in FILES if path.parent.name == "compat"}
    for tree in trees.values():  # there, modules come by ``recbole_module("...")``
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node) == "recbole_module":
                node.func, node.args = ast.Name("import_module"), [ast.Constant("recbole.x")]
    for name in ("naming", "numeric", "torch_calls", "evaluation", "tensorboard"):
        assert list(patches_of_recbole(trees[name])), name


@pytest.mark.parametrize("code", [
    "import recbole.trainer\nrecbole.trainer.Trainer = 1",
    "import recbole.trainer as t\nt.trainer.x = 1",
    "from recbole.trainer import trainer\ntrainer.get_tensorboard = lambda logger: None",
    "from recbole.trainer import Trainer\ndef f():\n    Trainer._valid_epoch += 1",
    "from recbole.trainer import Trainer\nsetattr(Trainer, 'fit', None)",
    "from recbole import trainer\ndel trainer.trainer.x",
    "from recbole import trainer\ntrainer.__dict__['x'] = 1",
    "from recbole import trainer\nvars(trainer)['x'] = 1",
    "from recbole import trainer\nvars(trainer).update(x=1)",
    "from recbole import trainer\nmine = trainer\nmine.x = 1",
    "from recbole import trainer\nmine, other = trainer, 2\nmine.x = 1",
    "from recbole import a, b\nfor module in (a, b):\n    module.x = 1",
    "module = import_module('recbole.trainer')\nmodule.x = 1",
    "importlib.import_module('recbole.trainer').x = 1",
    "sys.modules['recbole.trainer'].x = 1",
    "import recbole.trainer as t\ngetattr(t, 'Trainer').fit = 1",
    "from recbole import trainer\nfor trainer.x in (1, 2): pass",
    "from recbole import trainer\nwith open('x') as trainer.x: pass",
])  # fmt: skip
def test_a_patch_is_seen(code):
    assert list(patches_of_recbole(ast.parse(code)))


@pytest.mark.parametrize("code", [
    "from recbole.trainer import Trainer\nclass Mine(Trainer):\n    x = 1\n    def f(self):\n        self.x = 1",
    "from recbole.trainer import Trainer\ntrainer = Trainer()\ntrainer.x = 1",  # an object of one's own
    "from recbole.trainer import Trainer\nkinds = {}\nkinds[Trainer] = 1\nmine.x = Trainer",
    "from recbole.utils import init_logger\ninit_logger(config)",
    "import recbole_genrec.model as m\nm.x = 1",
])  # fmt: skip
def test_no_patch_is_seen_where_none_is(code):
    assert not list(patches_of_recbole(ast.parse(code)))


@pytest.mark.parametrize("code", [
    "def f(trainer):\n    def fit(): pass\n    trainer.fit = fit",
    "def f(trainer):\n    fit = lambda: 1\n    trainer.fit = fit",
    "trainer.fit = lambda *args: None",
    "def one(): pass\ndef two(): pass\na.one, a.two = one, two",
    "def f(self):\n    self.model.predict = lambda x: x",
    "def f(self):\n    self.predict = lambda x: x",
    "def mine(): pass\nsetattr(model, name, mine)",
    "setattr(model, 'predict', lambda: 1)",
    "object.__setattr__(model, 'predict', lambda: 1)",
    "model.predict = MethodType(mine, model)",
    "model.predict = functools.partial(mine, model)",
    "model.predict = (lambda: 1) if x else model.predict",
    "def mine(): pass\na.b = c.d = mine",
])  # fmt: skip
def test_a_method_put_on_an_object_is_seen(code):
    assert list(methods_put_on_objects(ast.parse(code)))


@pytest.mark.parametrize("code", [
    "def mine(): pass\nmodel.scores = mine()",
    "def f(self, predict):\n    self.predict = predict",
    "def make(cls):\n    def __init__(self): pass\n    cls.__init__ = __init__",
    "class A:\n    def models(self): pass\nclass B:\n    def __init__(self, models):\n        self.models = models",
    "key = lambda x: x\nvalues.sort(key=key)",
    "trainer.listeners = [lambda: 1]",
])  # fmt: skip
def test_no_method_is_seen_where_none_is(code):
    assert not list(methods_put_on_objects(ast.parse(code)))


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        ("except Exception:\n    pass", True),
        ("except (ValueError, Exception) as error:\n    raise OSError from error", True),
        ("except BaseException:\n    x = 1", True),
        ("except:\n    pass", True),
        ("except BaseException:\n    tidy()\n    raise", False),
        ("except (OSError, ValueError):\n    pass", False),
    ],
)
def test_a_handler_of_everything_is_seen(handler, found):
    tree = ast.parse(f"try:\n    g()\n{handler}")
    assert bool(list(broad_handlers(tree))) is found


def test_other_forms_of_the_rules_are_seen():
    assert list(broad_handlers(ast.parse("with suppress(Exception):\n    pass")))
    assert list(asserts(ast.parse("def f(x):\n    assert x, 'text'"))) == [2]


def names_of(path):
    """Names that a file defines at its top, and those in its classes as ``Class.name``."""
    for node in ast.parse(path.read_text("utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        for name in (getattr(target, "name", getattr(target, "id", None)) for target in targets):
            yield name
            for part in node.body if isinstance(node, ast.ClassDef) else ():
                part = getattr(part, "target", part)
                yield f"{name}.{getattr(part, 'name', getattr(part, 'id', None))}"


def exists(reference):
    """Whether a full reference such as ``recbole_genrec.config.keys.known_keys`` names something of the package."""
    parts = reference.split(".")[1:]
    for count in range(len(parts), 0, -1):
        place, name = PACKAGE.joinpath(*parts[:count]), ".".join(parts[count:])
        file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if file.is_file():
            imported = {
                alias.asname or alias.name
                for node in ast.walk(ast.parse(file.read_text("utf-8")))
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            return not name or name in {*names_of(file), *imported}
    return reference.split(".")[-1] in recbole_genrec.__all__


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_references_name_what_exists(path):
    found = re.findall(r":\w+:`~?(recbole_genrec\.[\w.]+)`", path.read_text("utf-8"))
    assert [reference for reference in found if not exists(reference)] == []


def test_a_reference_to_nothing_is_seen():
    assert exists("recbole_genrec.config.keys.known_keys") and exists("recbole_genrec.files.write")
    assert exists("recbole_genrec.runs.result.RunResult.write")
    assert not exists("recbole_genrec.config.keys.unknown") and not exists("recbole_genrec.trainer.genrec")
