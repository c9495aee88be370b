"""`import ray` as a second name of this package.

install() makes `ray` and every `ray.x.y` the same module objects as `ray_engine` and `ray_engine.x.y`.
"""

import importlib
import importlib.abc
import importlib.util
import sys

_NAME, _PACKAGE = "ray", "ray_engine"


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ray.x by importing ray_engine.x."""

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith(_NAME + "."):
            return None
        try:
            known = importlib.util.find_spec(_real(fullname))
        except ModuleNotFoundError:
            known = None
        return known and importlib.util.spec_from_loader(
            fullname, self, is_package=known.submodule_search_locations is not None
        )

    def create_module(self, spec):
        module = importlib.import_module(_real(spec.name))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        # The import system has just given the module the alias's spec; it keeps its own.
        module.__spec__ = module.__spec__.loader_state
        _name_all()  # its parts too: importing one later would put the module in the place of what the package calls so


def _real(fullname: str) -> str:
    return _PACKAGE + fullname[len(_NAME) :]


def install():
    package = importlib.import_module(_PACKAGE)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    sys.modules[_NAME] = package
    _name_all()


def _name_all():
    """Gives every module of the package that is loaded its second name."""
    for name, module in list(sys.modules.items()):
        if name.startswith(_PACKAGE + "."):
            sys.modules.setdefault(_NAME + name[len(_PACKAGE) :], module)
