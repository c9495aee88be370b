"""What the built programs are linked with: a crash of user code must not reach MPI, a login node needs no fabric."""

import re
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[2] / "build" / "release"
MPI, PMIX, UCX, HDF5, PYTHON = "libmpi", "libpmix", "libuc", "libhdf5", "libpython"


def needed(program):
    listing = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", listing)


@pytest.mark.parametrize(
    "program, banned",
    [
        ("bin/ray-engine", [MPI, PMIX, UCX, HDF5, PYTHON]),
        ("bin/ray-engine-node", [MPI, PMIX, PYTHON]),
        ("bin/libray_engine_mpi.so", [UCX, HDF5, PYTHON]),
        ("bin/libray_engine_pmix.so", [MPI, UCX, HDF5, PYTHON]),
        ("python/ray_engine/_core.*.so", [MPI, PMIX, UCX, HDF5]),
    ],
)
def test_program_is_not_linked_with(program, banned):
    (path,) = BUILD.glob(program)
    libraries = needed(path)
    assert "libc.so.6" in libraries
    assert not [library for library in libraries if library.startswith(tuple(banned))]


def test_fabric_and_spill_are_linked_into_the_node_engine():
    libraries = needed(BUILD / "bin" / "ray-engine-node")
    assert any(library.startswith("libucp") for library in libraries)
    assert any(library.startswith(HDF5) for library in libraries)
