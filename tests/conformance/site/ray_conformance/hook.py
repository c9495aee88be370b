"""Import hook: answers `import ray.<anything>` that nobody else can answer.

First comes what the engine itself has; names that its modules lack are served as stubs. Then come our small
versions of Ray's test utilities and of a few private modules (overlay/). `ray.tests.<name>` is the file of that name in
the checkout; so are programs that come with Ray and are run by tests. Everything else is an empty module whose names
fail when they are used (stubs.py).
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys

from ray_conformance.stubs import Missing, StubModule

OVERLAY = os.path.join(os.path.dirname(__file__), "overlay")
# Packages whose parts are reachable as attributes without an import, as in Ray; None: all of them.
ATTRIBUTES = {"ray": {"_private", "_raylet", "_common", "tests"}, "ray_engine._private": None}
ATTRIBUTES["ray_engine"] = ATTRIBUTES["ray"]
PROGRAMS = {("experimental", "raysort"), ("experimental", "shuffle")}  # files and folders of the checkout


def install():
    sys.meta_path.insert(0, _Packages())
    sys.meta_path.append(_Fallback())


class _Fallback(importlib.abc.MetaPathFinder):
    """Last on sys.meta_path: sees only names that nobody else has."""

    def find_spec(self, fullname, path=None, target=None):
        parts = fullname.split(".")
        if parts[0] not in ("ray", "ray_engine") or len(parts) == 1:
            return None
        if tuple(parts[1:]) in PROGRAMS and os.path.isdir(_in_checkout(parts[1:])):
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [_in_checkout(parts[1:])]
            return spec
        source = _source_of(parts[1:])
        if source:
            spec = importlib.util.spec_from_file_location(fullname, source, loader=_StubbedLoader(fullname, source))
            if spec.submodule_search_locations is not None:
                spec.submodule_search_locations = []  # so that the names below are asked for here too
            return spec
        return importlib.machinery.ModuleSpec(fullname, _StubLoader(), is_package=True)


def _in_checkout(parts):
    return os.path.join(os.environ.get("RAY_CONFORMANCE_PACKAGE", ""), *parts)


def _source_of(parts):
    candidates = [os.path.join(OVERLAY, *parts) + ".py", os.path.join(OVERLAY, *parts, "__init__.py")]
    if parts[0] == "tests" and len(parts) == 2:
        candidates.append(os.path.join(os.environ.get("RAY_CONFORMANCE_TESTS", ""), parts[1] + ".py"))
    if tuple(parts[:2]) in PROGRAMS:
        candidates.append(_in_checkout(parts) + ".py")
    return next((path for path in candidates if os.path.isfile(path)), None)


class _StubLoader(importlib.abc.Loader):
    def create_module(self, spec):
        return StubModule(spec.name)

    def exec_module(self, module):
        module.__path__ = []


class _StubbedLoader(importlib.machinery.SourceFileLoader):
    """Runs a source file in a module that serves what the file does not define as stubs."""

    def create_module(self, spec):
        return StubModule(spec.name)


class _Packages(importlib.abc.MetaPathFinder):
    """First on sys.meta_path: packages are found as usual, then their private parts become reachable as attributes."""

    def __init__(self):
        self.busy = set()

    def find_spec(self, fullname, path=None, target=None):
        ours = fullname.startswith("ray_engine.") and fullname != "ray_engine._core"
        if not (ours or fullname in ATTRIBUTES) or fullname in self.busy:
            return None
        self.busy.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.busy.remove(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Extended(spec.loader)
        return spec


class _Extended(importlib.abc.Loader):
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        add_attributes(sys.modules.get(module.__name__, module))

    def __getattr__(self, name):
        return getattr(self.loader, name)


def add_attributes(module):
    """Adds a module-level __getattr__ in front of the one the package has."""
    own = module.__dict__.get("__getattr__")
    if getattr(own, "is_conformance", False):
        return
    names = ATTRIBUTES.get(module.__name__, ())

    def __getattr__(name):
        if name in names if names is not None else not name.startswith("__"):
            return importlib.import_module(f"{module.__name__}.{name}")
        if own is not None:
            return own(name)
        if not name.startswith("__"):
            return Missing(f"ray{module.__name__.removeprefix('ray_engine')}.{name}")
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    __getattr__.is_conformance = True
    module.__getattr__ = __getattr__
