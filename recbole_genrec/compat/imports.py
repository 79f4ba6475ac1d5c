"""Stand-ins for modules that RecBole imports, and a global setting that its import must not change."""

import sys
import types
from contextlib import contextmanager
from importlib.util import find_spec

import torch


class Tune(types.ModuleType):
    """``ray.tune`` as RecBole uses it: ``report``, which means something only inside a process that ray started."""

    def report(self, **metrics):
        """Report a trial's metrics to the real ``ray.tune`` where it is loaded; else do nothing."""
        if "ray.tune" in sys.modules:
            sys.modules["ray.tune"].report(**metrics)


def kmeans(*args, **kwargs):
    """Stand in for the function of ``kmeans_pytorch``, which is not installed.

    Raises:
        ImportError: always, with the name of the package.
    """
    raise ImportError("LDiffRec with clustering needs the package kmeans_pytorch.")


@contextmanager
def stub_modules():
    """Let RecBole import without ray (quick_start.py:20) and, 1.2.0, without kmeans_pytorch (ldiffrec.py:29).

    ray before 2.7 does not import on today's setuptools and has no wheel for Python 3.12; transformers and accelerate
    probe for it, so the stubs go at once.
    """
    stubs = {"ray": types.ModuleType("ray"), "ray.tune": Tune("ray.tune")}
    stubs["ray"].tune = stubs["ray.tune"]
    if find_spec("kmeans_pytorch") is None:
        stubs["kmeans_pytorch"] = types.ModuleType("kmeans_pytorch")
        stubs["kmeans_pytorch"].kmeans = kmeans
    stubs = {name: stub for name, stub in stubs.items() if name not in sys.modules}
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in stubs:
            del sys.modules[name]


@contextmanager
def no_anomaly_detection():
    """sine.py:25 turns autograd's anomaly detection on for the whole process, on import, whichever model is trained.

    It checks every gradient for NaN: half of the time of a step of SASRec or BERT4Rec on a CPU.
    """
    before = torch.is_anomaly_enabled()
    try:
        yield
    finally:
        torch.autograd.set_detect_anomaly(before)
