"""The bounds of pyproject.toml, and what tries releases beyond them."""

from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks.latest import above_bounds, raised, requirements, unbounded

PROJECT = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")


def test_every_requirement_has_an_upper_bound():
    for requirement in requirements(PROJECT):
        assert requirement.extras or any(part.operator == "<" for part in requirement.specifier), requirement


def test_what_is_installed_is_within_the_bounds():
    installed = {r.name.replace("_", "-").lower(): version(r.name) for r in requirements(PROJECT)}
    assert above_bounds(requirements(PROJECT), installed) == {}


@pytest.mark.parametrize(
    ("line", "free"),
    [("a-b>=1,<2", "a-b>=1"), ("a[x]", "a[x]"), ("a", "a"), ("a>=1.2,<1.3", "a>=1.2"), ("a<8", "a")],
)
def test_a_bound_is_taken_off(line, free):
    assert unbounded(Requirement(line)) == free


def test_a_release_above_its_bound_is_named():
    wanted = [Requirement("a>=1,<2"), Requirement("B_c<3"), Requirement("d<1")]
    assert above_bounds(wanted, {"a": "2.1", "b-c": "2.9", "e": "1"}) == {"a": "2.1"}


@pytest.mark.parametrize(
    ("bound", "release", "new"),
    [("<5.25", "5.26.1", "<5.27"), ("<0.22", "0.22.0", "<0.23"), ("<3", "4.1.2", "<5"), ("<1.10", "2.0.0", "<2.1")],
)
def test_a_raised_bound_admits_the_release(bound, release, new):
    text = f'["mine>=0.1,{bound}", "mine-too>=1,{bound}"]\n["mine{bound}"]\n'
    changed = raised(text, "mine", release)
    assert changed == f'["mine>=0.1,{new}", "mine-too>=1,{bound}"]\n["mine{new}"]\n'
    assert Requirement(f"mine{new}").specifier.contains(release)


def test_a_package_without_a_bound_cannot_be_raised():
    with pytest.raises(ValueError, match="no upper bound for 'other'"):
        raised(PROJECT, "other", "1")
