"""Requirements: runtime_env["pip"], the Python packages that a job, task or actor needs.

Nothing is installed: compute nodes may have no network, and a thousand workers no business to. What a program asks for
must be there, in the environment that the engine runs in; if it is, its tasks run in ordinary workers. The one file
that knows the `packaging` library.
"""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

from ray_engine.exceptions import RuntimeEnvSetupError

_FIELD = "runtime_env['pip']"
_PARTS: dict[str, Any] = {"packages": (list, str), "pip_check": bool, "pip_version": str, "pip_install_options": list}
_OWN = "ray"  # always there: it is this package


def packages(pip: Any) -> tuple[str, ...]:
    """What this value of the field asks for, each once: a list, the path of a file, or a dictionary with either.

    Raises TypeError and ValueError for what cannot be a value of the field.
    """
    if isinstance(pip, dict):
        _check_parts(pip)
        pip = pip["packages"]
    if isinstance(pip, str):
        pip = _lines_of(Path(pip))
    if not isinstance(pip, list) or not all(isinstance(package, str) for package in pip):
        raise TypeError(f"{_FIELD} must be of type str or List[str], got {type(pip)}")
    return tuple(dict.fromkeys(line for line in map(_without_comment, pip) if line))


def _check_parts(pip):
    unknown = [name for name in pip if name not in _PARTS]
    if unknown:
        raise ValueError(f"{_FIELD} can only have these fields: {', '.join(_PARTS)}, but got: {list(pip)}")
    if "packages" not in pip:
        raise ValueError(f"{_FIELD} must include field 'packages', but got {pip}")
    for name, value in pip.items():
        if not isinstance(value, _PARTS[name]):
            kind = ValueError if name == "packages" else TypeError
            raise kind(f"{_FIELD}[{name!r}] must be of type {_PARTS[name]}, got {type(value)}")
    if not all(isinstance(option, str) for option in pip.get("pip_install_options", ())):
        raise TypeError(f"{_FIELD}['pip_install_options'] must be of type list[str], got {pip['pip_install_options']}")


def _lines_of(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"{path} is not a valid file")
    return path.read_text().splitlines()


def _without_comment(line: str) -> str:
    """Options of pip (where to find packages, how to install them) ask for nothing."""
    line = "" if line.lstrip().startswith("#") else line.partition(" #")[0].strip()
    return "" if line.startswith("-") and not line.startswith(("-r", "--requirement", "-e", "--editable")) else line


@functools.cache
def check(wanted: tuple[str, ...]) -> None:
    """Raises RuntimeEnvSetupError, which names what is missing and the cure, unless all this is installed here."""
    missing: dict[str, str] = {}
    for package in wanted:
        missing.update(_missing(package))
    if not missing:
        return
    found = ", ".join(f"{package} ({why})" for package, why in missing.items())
    words = " ".join(f"'{package}'" for package in missing)
    raise RuntimeEnvSetupError(
        f"{_FIELD} asks for what is not installed: {found}. ray-engine installs nothing when a program runs; do it "
        f"before, in the environment of {sys.executable}: pip install {words}"
    )


def _missing(text: str, extra: str = "") -> dict[str, str]:
    """{requirement: why it is not met}. `extra`: it is one of a package's that has been asked for with this part."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(text)
    except InvalidRequirement as error:
        return {text: f"it cannot be looked up by name: {str(error).splitlines()[0]}"}
    if wanted.name.lower() == _OWN or (wanted.marker and not wanted.marker.evaluate({"extra": extra})):
        return {}
    try:
        there = importlib.metadata.distribution(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return {text: "it is not there"}
    if not wanted.specifier.contains(there.version, prereleases=True):
        return {text: f"{there.version} is there"}
    missing: dict[str, str] = {}
    for part in wanted.extras:
        for needed in there.requires or ():
            missing.update(_missing(needed, part))
    return missing
