"""Replacing names of RecBole's modules."""

import sys
import types
import warnings
from contextlib import contextmanager
from functools import wraps


class ModuleProxy(types.ModuleType):
    """A module seen with some names replaced; every other name is the module's own."""

    def __init__(self, module, **replacements):
        super().__init__(module.__name__)
        vars(self).update(replacements)
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)


def recbole_module(name):
    """An imported module of RecBole, by its name inside it."""
    return sys.modules[f"recbole.{name}"]


def replace(owner, name):
    """Decorator: replace ``owner.name`` by ``replacement(original, ...)``."""
    original = getattr(owner, name)

    def put(replacement):
        @wraps(original)
        def patched(*args, **kwargs):
            return replacement(original, *args, **kwargs)

        setattr(owner, name, patched)
        return replacement

    return put


@contextmanager
def quiet_recbole():
    """Silence warnings about how RecBole uses other libraries; its user can do nothing about them."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning, SyntaxWarning):
            warnings.simplefilter("ignore", category)
        yield


def quiet(owner, name):
    """Call ``owner.name`` without the warnings that :func:`quiet_recbole` silences."""

    @replace(owner, name)
    def silenced(original, *args, **kwargs):
        with quiet_recbole():
            return original(*args, **kwargs)
