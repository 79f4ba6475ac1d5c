"""Small faults in Python code: what may stand in the place of a node of a syntax tree; a module with one planted."""

import ast
import copy
import importlib.abc
import importlib.util
import re
from collections import Counter
from importlib.machinery import SourceFileLoader
from pathlib import Path

PACKAGE = Path(importlib.util.find_spec("recbole_genrec").origin).parent
SWAPPED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or,
    ast.Or: ast.And, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
PAIRS = ["min max", "minimum maximum", "any all", "argmin argmax", "zeros ones", "floor ceil", "left right"]
NAMES = dict(pair for a, b in map(str.split, PAIRS) for pair in ((a, b), (b, a)))


def code_nodes(node, parent=None, field=None, place=None):
    """Every node that a mutant may change, with where it hangs; no docstrings, annotations or texts of errors."""
    yield node, parent, field, place
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "exc", "format_spec", "bases"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if isinstance(child, ast.AST) and not text and not isinstance(child, ast.JoinedStr):
                yield from code_nodes(child, node, name, index)


def variants(node):
    """What may stand in the place of a node."""
    if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in SWAPPED:
        sides = [getattr(node, side, None) for side in ("left", "right")]
        if not any(isinstance(s, ast.JoinedStr) or isinstance(getattr(s, "value", 0), str) for s in sides):
            yield changed(node, op=SWAPPED[type(node.op)]())
    if isinstance(node, ast.Compare):
        yield changed(node, ops=[SWAPPED[type(node.ops[0])](), *node.ops[1:]])
        if isinstance(node.ops[0], (ast.Lt, ast.Gt, ast.LtE, ast.GtE)):
            opposite = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt}[type(node.ops[0])]
            yield changed(node, ops=[opposite(), *node.ops[1:]])
    if isinstance(node, (ast.If, ast.While, ast.IfExp)):
        yield changed(node, test=ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.UnaryOp):
        yield node.operand
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool):
            yield changed(node, value=not value)
        elif isinstance(value, (int, float)):
            yield from (changed(node, value=value + step) for step in (1, -1))
        elif value in NAMES:
            yield changed(node, value=NAMES[value])
    if isinstance(node, ast.Name) and node.id in NAMES:
        yield changed(node, id=NAMES[node.id])
    if isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield changed(node, attr=NAMES[node.attr])
    name = getattr(getattr(node, "func", None), "attr", getattr(getattr(node, "func", None), "id", ""))
    starred = any(isinstance(part, ast.Starred) for part in getattr(node, "args", ())) if name else True
    if not starred and len(node.args) > 1 and not re.search("min|max|gcd|equal", name):  # these know no order
        yield changed(node, args=[node.args[1], node.args[0], *node.args[2:]])
    if isinstance(node, ast.comprehension) and node.ifs:
        yield changed(node, ifs=node.ifs[1:])
    assigned = isinstance(node, ast.Assign) and isinstance(node.targets[0], (ast.Attribute, ast.Subscript))
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if assigned or called or isinstance(node, (ast.AugAssign, ast.Raise, ast.Continue, ast.Break)):
        yield ast.Pass()


def changed(node, **values):
    """A copy of a node with other fields."""
    new = copy.copy(node)
    for name, value in values.items():
        setattr(new, name, value)
    return new


def mutants(path):
    """Every mutant of a file.

    Each has ``id``, ``key`` (without a place), ``lines`` whose tests are asked, and numbers of node and variant.
    """
    found, lines, same = [], (0, 0), Counter()
    for number, (node, parent, *_) in enumerate(code_nodes(ast.parse(path.read_text("utf-8")))):
        if isinstance(node, ast.FunctionDef):  # its defaults count wherever its body runs
            lines = node.lineno, node.end_lineno
        elif isinstance(node, ast.stmt) and isinstance(parent, (ast.Module, ast.ClassDef)):
            lines = 0, 0  # run by the import: all tests of the file
        elif isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            lines = node.lineno, max(node.lineno, body[0].lineno - 1) if body else node.end_lineno
        for which, new in enumerate(variants(node)):
            texts = [" ".join(ast.unparse(ast.fix_missing_locations(part)).split())[:100] for part in (node, new)]
            text = f"{path.relative_to(PACKAGE)}: {texts[0]}  ->  {texts[1]}"
            same[text] += 1
            place = f":{node.lineno}:{node.col_offset}:" if hasattr(node, "col_offset") else ":"
            mutant = {
                "id": text.replace(":", place, 1),
                "key": f"{text} {same[text]}",
                "number": number,
                "which": which,
            }
            found.append(mutant | {"lines": lines})
    return found


def mutated(path, number, which):
    """The syntax tree of a file with a mutant in it."""
    tree = ast.parse(path.read_text("utf-8"))
    node, parent, field, place = list(code_nodes(tree))[number]
    new = ast.copy_location(list(variants(node))[which], node)
    if place is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[place] = new
    return ast.fix_missing_locations(tree)


class Planted(importlib.abc.MetaPathFinder, SourceFileLoader):
    """Finds one module of the package, with a mutant in it."""

    def __init__(self, path, tree):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        super().__init__(".".join(parts).removesuffix(".__init__"), str(path))
        self.tree = tree

    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname):
        return compile(self.tree, self.path, "exec")
