"""Who may include whom: the direction of use of the folders, and one foreign library per file."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

GROUND = {"engine/base", "engine/wire"}
ALLOWED = {
    "engine/base": {"engine/base"},
    "engine/wire": GROUND,
    "engine/transport": GROUND | {"engine/transport"},
    "objectstore": GROUND | {"engine/transport", "objectstore"},
    "scheduler": GROUND | {"scheduler"},
    "engine/core": GROUND | {"engine/transport", "objectstore", "engine/core"},
    "engine/node": GROUND | {"engine/transport", "objectstore", "scheduler", "engine/node"},
    "engine/launch": GROUND | {"engine/transport", "engine/launch"},
    "python/bindings": GROUND | {"engine/transport", "objectstore", "engine/core", "python/bindings"},
}

# A foreign library: what its headers look like, and the only files that may include them.
FOREIGN = {
    "MPI": (r"mpi\.h", r"engine/launch/[^/]*mpi[^/]*"),
    "UCX": (r"uc[pts]/.*", r"engine/transport/[^/]*ucx[^/]*"),
    "HDF5": (r"(hdf5|H5\w+)\.h", r"objectstore/spill_container\.cc"),
    "CUDA and NCCL": (r"(cuda\w*|nccl\w*)\.h", r"objectstore/device[^/]*"),
    "Python": (r"(Python\.h|nanobind/.*)", r"python/bindings/.*"),
    "CLI11": (r"CLI/.*", r"engine/(base|launch|node)/.*"),
    "Boost": (r"boost/(?!intrusive/).*", r"engine/launch/.*"),
    "Boost.Intrusive": (r"boost/intrusive/.*", r"(scheduler|objectstore)/.*"),
    "hwloc": (r"hwloc.*", r"engine/.*"),
    "xxHash": (r"xxh.*\.h", r".*"),
    "spdlog": (r"spdlog/.*", r"engine/(base|launch|node)/.*"),
}


def sources():
    return [path for folder in ALLOWED for path in sorted((ROOT / folder).glob("*.*")) if path.suffix in (".h", ".cc")]


def includes(path, form):
    return re.findall(rf"^\s*#\s*include\s+{form}", path.read_text(), re.MULTILINE)


def own_includes(path):
    return includes(path, r'"((?:engine|scheduler|objectstore|python)/[^"]+)"')


def foreign_libraries(path):
    headers = includes(path, r'[<"]([^>"]+)[>"]')
    return {name for name, (header, _) in FOREIGN.items() if any(re.fullmatch(header, h) for h in headers)}


def relative(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("folder", ALLOWED)
def test_folder_includes_only_what_lies_below_it(folder):
    files = [path for path in sources() if relative(path.parent) == folder]
    assert files, f"{folder} has no sources"
    wrong = [
        f"{relative(path)} includes {header}"
        for path in files
        for header in own_includes(path)
        if str(Path(header).parent) not in ALLOWED[folder]
    ]
    assert not wrong, "\n".join(wrong)


def test_foreign_libraries_stay_in_their_files():
    wrong = [
        f"{relative(path)} includes {name}"
        for path in sources()
        for name in foreign_libraries(path)
        if not re.fullmatch(FOREIGN[name][1], relative(path))
    ]
    assert not wrong, "\n".join(wrong)


def test_a_file_knows_at_most_one_foreign_library():
    wrong = {relative(path): sorted(foreign_libraries(path)) for path in sources() if len(foreign_libraries(path)) > 1}
    assert not wrong


def test_headers_have_no_cycle():
    graph = {relative(path): own_includes(path) for path in sources() if path.suffix == ".h"}
    done = set()

    def visit(header, trail):
        assert header not in trail, " -> ".join([*trail, header])
        if header in done:
            return
        for below in graph.get(header, []):
            visit(below, [*trail, header])
        done.add(header)

    for header in graph:
        visit(header, [])
    assert done
