"""A real training process, killed at any moment, leaves what the next one needs to end with the same numbers."""

import os

import pytest

from benchmarks.kills import kill_runs

KILLS = 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that share what is imported")
def test_killed_runs_end_with_the_same_result(tmp_path):
    rows = kill_runs(tmp_path, KILLS, seed=7)
    assert all(row["ended"] and row["equal"] and not row["left"] for row in rows)
    assert sum(row["killed"] for row in rows) > KILLS // 2  # the others had ended by then
