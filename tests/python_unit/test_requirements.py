"""runtime_env["pip"]: what a program asks for, and whether it is installed."""

import importlib.metadata

import pytest
from ray_engine._private import requirements
from ray_engine.exceptions import RuntimeEnvSetupError


def test_a_list_a_file_or_a_dictionary(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text("# ours\n--index-url https://example.org/simple\nnumpy >= 1  # arrays\n\npsutil\nnumpy >= 1\n")
    wanted = ("numpy >= 1", "psutil")
    assert requirements.packages(["numpy >= 1", "psutil", "psutil"]) == wanted
    assert requirements.packages(str(file)) == wanted
    assert requirements.packages({"packages": list(wanted), "pip_version": "==24", "pip_check": True}) == wanted
    assert requirements.packages({"packages": str(file)}) == wanted
    assert requirements.packages([]) == ()


@pytest.mark.parametrize(
    "wanted",
    [
        "numpy",
        "NumPy",
        "numpy>=1",
        "numpy @ https://example.org/numpy.zip",
        "ray==2.9",
        "nothing; python_version < '3'",
    ],
)
def test_what_is_there(wanted):
    requirements.check((wanted,))


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("no-such-package>=2", "it is not there"),
        ("numpy<0.1", f"{importlib.metadata.version('numpy')} is there"),
        ("./a/folder", "cannot be looked up by name"),
        ("-r other.txt", "cannot be looked up by name"),
    ],
)
def test_what_is_not_there_is_named_with_the_reason(wanted, why):
    with pytest.raises(RuntimeEnvSetupError) as info:
        requirements.check(("numpy", wanted))
    assert f"{wanted} (" in str(info.value) and why in str(info.value)
    assert f"pip install '{wanted}'" in str(info.value)


class Package:
    """A distribution that is installed."""

    version = "1.0"
    requires = ["numpy", "no-such-package>=2; extra == 'more'"]


def test_the_parts_of_a_package(monkeypatch):
    real = importlib.metadata.distribution
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Package if name == "mine" else real(name))
    requirements.check(("mine",))
    requirements.check(("mine[other]",))
    with pytest.raises(RuntimeEnvSetupError, match="no-such-package>=2"):
        requirements.check(("mine[more]",))
