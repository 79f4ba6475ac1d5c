"""Broken and hostile input: each reader against the fuzzer's own; and the fuzzer against faults that are planted."""

import json
import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("openai", reason="needs the extra 'chat'")

from benchmarks.fuzz import __main__ as runner
from benchmarks.fuzz.target import REFUSED, REPORTED, RIGHT, Target
from benchmarks.fuzz.targets import TARGETS
from recbole_genrec.chat import client
from recbole_genrec.checkpoint import checkpoint
from recbole_genrec.checkpoint import folder as checkpoint_files
from recbole_genrec.decoding import softmax
from recbole_genrec.files import strict_yaml
from recbole_genrec.files.checked_blocks import CheckedBlocks
from recbole_genrec.interactions import atomic_tables as tables
from recbole_genrec.interactions.converter.malformed import MalformedRows

BY_NAME = {kind.name: kind for kind in TARGETS}
#: cases that take a while; of the others there are more.
FEW = {
    "whole runs": 1,
    "values of settings": 25,
    "titles and histories": 12,
    "edited checkpoint": 20,
    "damaged checkpoint": 20,
}


@pytest.mark.filterwarnings("ignore")  # of transformers, about files that somebody has edited
@pytest.mark.parametrize("name", BY_NAME)
def test_every_case_ends_well(name, tmp_path):
    target = BY_NAME[name](tmp_path / "target")

    @settings(
        max_examples=FEW.get(name, 50),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32 - 1))
    def case(seed):
        assert target.run(random.Random(seed)) in (RIGHT, REPORTED, REFUSED)

    case()


def _nothing(*args, **kwargs):
    return None


FAULTS = {
    "rows without a time": ("atomic .inter", tables.AtomicTables, "_check_values", _nothing),
    "cells that end at a NUL": ("atomic .inter", CheckedBlocks, "_first_nul", staticmethod(lambda _: -1)),
    "keys that come twice": ("configuration", strict_yaml, "_check", _nothing),
    "prompts with such keys": ("prompt files", strict_yaml, "_check", _nothing),
    "malformed rows that nobody counts": ("MovieLens dumps", MalformedRows, "add", _nothing),
    "reviews that nobody counts": ("Amazon dumps", MalformedRows, "add", _nothing),
    "changes that the manifest shows": (
        "damaged checkpoint",
        checkpoint_files,
        "fingerprint",
        lambda path: json.loads((path.parents[0] / "manifest.json").read_text())["files"].get(path.name),
    ),
    "weights of another model": ("edited checkpoint", checkpoint, "misfit", _nothing),
    "counts of tokens that are none": ("server replies", client, "is_count", lambda value: value is not None),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path, monkeypatch):
    name, owner, attribute, change = FAULTS[fault]
    target = BY_NAME[name](tmp_path / "target")
    monkeypatch.setattr(owner, attribute, change)
    if fault.startswith("changes"):
        monkeypatch.setattr(checkpoint_files, "READ", ())
    assert any(runner.run_case(target, 1, number, 20)[1] for number in range(400))


def test_scores_that_are_no_numbers_are_found(tmp_path, monkeypatch):
    target = BY_NAME["titles and histories"](tmp_path / "target")
    monkeypatch.setattr(softmax, "_padded_child_logits", _nan(softmax._padded_child_logits))
    monkeypatch.setattr(softmax, "check_scores", _nothing)
    assert any(runner.run_case(target, 1, number, 20)[1] for number in range(100))


def _nan(compute):
    def nan(*args):
        values, edge, mask = compute(*args)
        return values * float("nan"), edge, mask

    return nan


class Endless(Target):
    name = "endless"

    def case(self, draw):
        while True:
            time.sleep(0.01)


def test_a_case_without_an_end_is_found(tmp_path):
    outcome, found = runner.run_case(Endless(tmp_path), 1, 0, 0.1)
    assert outcome == "findings" and "no end within 0.1 seconds" in found


def test_the_command_counts_and_keeps_findings(tmp_path, monkeypatch):
    arguments = ["--quick", "--targets", "command line", "configuration", "--findings", str(tmp_path / "found")]
    arguments += ["--output", str(tmp_path / "fuzz.json")]
    assert runner.main(arguments) == 0
    rows = json.loads((tmp_path / "fuzz.json").read_text("utf-8"))["rows"]
    assert [row["target"] for row in rows] == ["configuration", "command line", "all"]
    assert all(row["cases"] == row[RIGHT] + row[REPORTED] + row[REFUSED] for row in rows)
    assert rows[-1]["cases"] == 40 and not (tmp_path / "found").exists()

    monkeypatch.setattr(strict_yaml, "_check", _nothing)
    assert runner.main([*arguments, "--seed", "3"]) == 1
    kept = sorted((tmp_path / "found").glob("configuration-*"))
    number = kept[0].name.rpartition("-")[2]
    assert (kept[0] / "traceback.txt").is_file() and (kept[0] / "mine.yaml").is_file()
    assert runner.main([*arguments, "--targets", "configuration", "--seed", "3", "--only", number]) == 1  # once more
