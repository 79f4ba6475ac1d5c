"""What a run asks of the process that it runs in: logs, and memory that is kept."""

import ctypes
import logging
import platform
import sys
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path

from recbole.utils import init_logger

from recbole_genrec.distributed import threads
from recbole_genrec.distributed.world import current
from recbole_genrec.errors import GenRecError, without_passwords

#: ``extra`` of log records that only the log file gets.
FILE_ONLY = {"file_only": True}


@contextmanager
def recbole_logging(config, console=True):
    """RecBole's log file and console output for the length of a run; without ``console``, warnings alone show there.

    RecBole leaves its handlers on the root logger and colorama's wrappers on the standard streams (logger.py:100);
    a second run in the same process would write into the first one's file.
    """
    root, streams = getLogger(), (sys.stdout, sys.stderr)
    if not current().is_first:
        with _silent(root):
            yield
        return
    level, before = root.level, list(root.handlers)
    for handler in before:
        root.removeHandler(handler)
    init_logger(config)
    own = list(root.handlers)
    for handler in own:
        handler.addFilter(_hide_passwords)
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(_for_the_console)
        if not console and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.WARNING)
    for handler in before:
        root.addHandler(handler)
    try:
        yield
    except GenRecError:
        _remove_logs(own)
        raise
    finally:
        for handler in own:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
        sys.stdout, sys.stderr = streams


def _for_the_console(record):
    """Leave out what only the log file gets."""
    return not getattr(record, "file_only", False)


def _hide_passwords(record):
    """Let a line of the log show no password: libraries warn with the addresses of mirrors and proxies in full."""
    text = record.getMessage()
    shown = without_passwords(text)
    if shown != text:
        record.msg, record.args = shown, ()
    return True


@contextmanager
def _silent(root):
    """No logs of a process that is not the first, on the console or in files."""
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


@contextmanager
def wandb_run(config):
    """A run of Weights & Biases for one model, where ``log_wandb`` asks for it; RecBole's trainers write to it.

    RecBole would start one itself, whose configuration holds the whole ``Config`` object, and never end it: the next
    model would go on in it. One that is under way already is used and left open.
    """
    if not config["log_wandb"]:
        yield
        return
    import wandb

    from recbole_genrec.checkpoint.checkpoint import plain_settings  # it imports transformers

    own = wandb.run is None
    if own:
        name = f"{config['model']}-{config['dataset']}-{config['seed']}"
        wandb.init(project=config["wandb_project"], name=name, config=plain_settings(config))
    try:
        yield
    finally:
        if own:
            wandb.finish()


def _remove_logs(handlers):
    """Remove the log of a run that was refused: it says no more than the error."""
    for handler in handlers:
        if isinstance(handler, logging.FileHandler):
            handler.close()
            Path(handler.baseFilename).unlink()


def ready_cpu(config):
    """Log how a run's threads compute, and tune memory where the run asks for it and computes on the CPU."""
    getLogger().info(threads.described(), extra=FILE_ONLY)
    if config["tune_malloc"] and config["device"].type == "cpu":
        tune_malloc()


def tune_malloc():
    """Let glibc keep freed memory: tensors of a batch come and go, and each return to the system costs page faults.

    SASRec on ml-100k trained 1.7 times faster with it, on two CPU cores. Nothing happens on other systems.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return
    mmap_threshold, trim_threshold = -3, -1  # malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    libc = ctypes.CDLL("libc.so.6")
    accepted = libc.mallopt(mmap_threshold, 1 << 30), libc.mallopt(trim_threshold, (1 << 31) - 1)
    if not all(accepted):
        logging.getLogger().warning("glibc refused the malloc settings; training is slower without them.")
