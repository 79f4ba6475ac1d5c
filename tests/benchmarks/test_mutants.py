"""Mutants are faults in code that still compiles, each in one place, and the same ones for the same seed."""

import ast
import importlib.util

import pytest

from benchmarks.mutants import __main__ as command
from benchmarks.mutants.faults import PACKAGE, Planted, code_nodes, mutants, mutated, variants

PATH = PACKAGE / "training" / "stopping.py"


@pytest.mark.parametrize(
    ("code", "faults"),
    [
        ("a + b", ["a - b"]),
        ("a < b", ["a <= b", "a >= b"]),
        ("a and b", ["a or b"]),
        ("not a", ["a"]),
        ("x = 1", ["x = 2", "x = 0"]),
        ("x = True", ["x = False"]),
        (
            "np.searchsorted(a, b, side='left')",
            ["np.searchsorted(b, a, side='left')", "np.searchsorted(a, b, side='right')"],
        ),
        ("max(a, b)", ["min(a, b)"]),
        ("a.any(1)", ["a.all(1)", "a.any(2)", "a.any(0)"]),
        ("x.y = z", ["pass"]),
        ("raise Error(f'{a + b}')", ["pass"]),
        ("[a for a in b if a]", ["[a for a in b]"]),
        ("f'{a + 1}'", []),
        ("'text' + a", []),
    ],
)
def test_what_stands_in_the_place_of_code(code, faults):
    found = []
    for number, (node, *_) in enumerate(code_nodes(ast.parse(code))):
        for which, _ in enumerate(variants(node)):
            tree = ast.parse(code)
            new_node, parent, field, place = list(code_nodes(tree))[number]
            new = list(variants(new_node))[which]
            if place is None:
                setattr(parent, field, new)
            else:
                getattr(parent, field)[place] = new
            found.append(ast.unparse(ast.fix_missing_locations(tree)))
    assert sorted(set(found) - {"pass"} if "pass" not in faults else set(found)) == sorted(faults)


def test_every_mutant_compiles_and_differs_from_the_file():
    found = mutants(PATH)
    sound = ast.dump(ast.parse(PATH.read_text("utf-8")))
    assert len({mutant["id"] for mutant in found}) > 10
    for mutant in found:
        tree = mutated(PATH, mutant["number"], mutant["which"])
        compile(tree, str(PATH), "exec")
        assert ast.dump(tree) != sound


def test_a_planted_module_is_found_in_the_place_of_the_file():
    planted = Planted(PATH, ast.parse("answer = 42"))
    spec = planted.find_spec("recbole_genrec.training.stopping", None)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.answer == 42 and module.__file__ == str(PATH)
    assert planted.find_spec("recbole_genrec.training.schedule", None) is None


def test_a_draw_follows_from_its_seed_and_has_every_file(monkeypatch, capsys):
    monkeypatch.setattr(command, "ROOMS", ["decoding", "evaluation/outcomes.py"])
    first, again, other = (command.draw(60, seed) for seed in (1, 1, 2))
    assert first == again and {m["id"] for _, m in first} != {m["id"] for _, m in other}
    room = {path.name for path in (PACKAGE / "decoding").glob("*.py") if mutants(path)}
    assert {path.name for path, _ in first} == room | {"outcomes.py"}
    assert 55 <= len(first) <= 80 and capsys.readouterr().out.startswith(f"{len(first)} of ")
