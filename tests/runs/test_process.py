"""What a run leaves of its process: handlers and streams as before, a log of its own, no thread."""

import logging
import sys
import threading
from pathlib import Path

import pytest

from recbole_genrec import GenRecError, run_recbole_genrec
from recbole_genrec.distributed import threads
from recbole_genrec.runs import process


def test_no_thread_goes_on_writing_after_a_run(settings):
    before = set(threading.enumerate())
    run_recbole_genrec("SASRec", "tiny", config_dict=settings)
    assert not [thread for thread in set(threading.enumerate()) - before if "Writer" in type(thread).__name__]


def test_handlers_and_streams_are_as_before(settings):
    root = logging.getLogger()
    before = list(root.handlers), root.level, sys.stdout, sys.stderr
    run_recbole_genrec("SASRec", "tiny", config_dict=settings)
    assert (list(root.handlers), root.level, sys.stdout, sys.stderr) == before


def test_every_run_has_a_log_of_its_own(settings):
    run_recbole_genrec("SASRec", "tiny", config_dict=settings)
    run_recbole_genrec("SASRec", "tiny", config_dict={**settings, "seed": 3})
    logs = list(Path("log/SASRec").iterdir())
    assert len(logs) == 2
    assert all("best" in log.read_text("utf-8") or "epoch 1" in log.read_text("utf-8") for log in logs)
    assert all(log.read_text("utf-8").count(threads.described()) == 1 for log in logs)


def test_a_refused_run_leaves_no_log(settings):
    with pytest.raises(GenRecError, match="'topk' asks for 99"):
        run_recbole_genrec("SASRec", "tiny", config_dict={**settings, "topk": 99})
    assert not [path for path in Path("log").rglob("*") if path.is_file()]


def test_malloc_settings_are_accepted_or_skipped(caplog):
    process.tune_malloc()
    assert not caplog.records
