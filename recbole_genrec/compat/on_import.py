"""Call a function when a module is imported for the first time."""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec


def after_import(name, call):
    """Call ``call`` right after the top-level module ``name`` is imported; at once if it has been imported already."""
    if name in sys.modules:
        call()
    else:
        sys.meta_path.insert(0, _Finder(name, call))


class _Finder(MetaPathFinder):
    """Lets the other finders find one module, and wraps its loader."""

    def __init__(self, name, call):
        self.name, self.call = name, call

    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec


class _Loader(Loader):
    """Loads a module as its own loader does, then makes the finder's call."""

    def __init__(self, loader, finder):
        self._loader, self._finder = loader, finder

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
            self._finder.call()

    def __getattr__(self, name):  # such as get_source: a spec is also used without an import
        return getattr(self._loader, name)
