"""Wrong command lines, files and environments: a clear message, a code, no hang."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import environment
from tests.python import leaks

OK = "import ray_engine as ray\nray.init()\nprint(ray.get(ray.put('fine')))\n"


@pytest.mark.parametrize("ranks", [None, 2])
def test_missing_script(run, ranks):
    job = run("no_such_script.py", ranks=ranks)
    assert job.code not in (0, None)
    assert "no_such_script.py" in job.stderr


@pytest.mark.parametrize("ranks", [None, 2])
def test_syntax_error(run, script, ranks):
    job = run(script("def :\n"), ranks=ranks)
    assert job.code == 1
    assert "SyntaxError" in job.stderr


def test_missing_module(run):
    job = run("-m", "no_such_module_anywhere")
    assert job.code != 0
    assert "no_such_module_anywhere" in job.stderr


def test_nothing_to_run(run):
    job = run()
    assert job.code == 2
    assert "--help" in job.stderr


@pytest.mark.parametrize("ranks", [None, 2])
def test_unknown_option(run, script, ranks):
    job = run("--num-cpu", 2, script(OK), ranks=ranks)
    assert job.code == 2
    assert "--num-cpu" in job.stderr and "num-cpus" in job.stderr


@pytest.mark.parametrize(
    "option, value",
    [
        ("--num-cpus", "many"),
        ("--num-cpus", "-1"),
        ("--object-store-memory", "big"),
        ("--object-store-memory", "12"),
        ("--resources", "a"),
        ("--resources", "CPU=3"),
        ("--memory", "-5"),
        ("--num-cpus", "99999999999999999999"),
        ("--resources", "A=1,A=2"),
        ("--config", "/tmp"),
        ("--log-dir", "/proc/none/logs"),
    ],
)
def test_wrong_value(run, script, option, value):
    job = run(f"{option}={value}", script(OK))
    assert job.code == 2
    assert option in job.stderr and value in job.stderr


def test_option_without_its_value(run):
    job = run("--num-cpus")
    assert job.code == 2
    assert "--num-cpus" in job.stderr


@pytest.mark.parametrize("option", ["--resources", "--node-name"])
def test_option_with_an_empty_value(run, script, option):
    job = run(f"{option}=", "--num-cpus=1", script(OK))
    assert job.code == 2
    assert f"{option} lacks its value" in job.stderr


def test_help_after_a_command(run):
    for words in (("start", "--help"), ("node", "-h"), ("sessions", "--help")):
        job = run(*words)
        assert job.code == 0 and "--num-cpus" in job.stdout
    job = run("status", "--help")
    assert job.code == 0 and "--verbose" in job.stdout
    job = run("start", "-V")
    assert job.code == 0 and job.stdout.startswith("ray-engine ")


def test_options_after_the_script_belong_to_it(run, script):
    job = run(script("import sys\nprint(sys.argv[1:])\n"), "--num-cpus", "x")
    assert (job.code, job.stdout) == (0, "['--num-cpus', 'x']\n")


def test_environment_sets_options(run, script):
    program = script("import ray_engine as ray\nray.init()\nprint(ray.cluster_resources()['CPU'])\n")
    assert run(program, env={"RAY_ENGINE_NUM_CPUS": "3"}).stdout == "3.0\n"
    assert run("--num-cpus", 5, program, env={"RAY_ENGINE_NUM_CPUS": "3"}).stdout == "5.0\n"
    job = run(program, env={"RAY_ENGINE_NUM_CPUS": "three"})
    assert job.code == 2 and "RAY_ENGINE_NUM_CPUS" in job.stderr


@pytest.mark.parametrize("ranks", [None, 2])
def test_misspelt_variables_are_warned_about_once(run, script, ranks):
    job = run(script(OK), env={"RAY_ENGINE_NUM_CPU": "3"}, ranks=ranks)
    assert (job.code, job.stdout) == (0, "fine\n")
    assert job.stderr.count("RAY_ENGINE_NUM_CPU is unknown") == 1 and "RAY_ENGINE_NUM_CPUS?" in job.stderr


def test_log_folder_is_made_with_its_parents(run, script):
    job = run("--log-dir", "a/b/c", script(OK))
    assert (job.code, job.stdout) == (0, "fine\n"), job.output
    (log,) = (job.out.parent / "a/b/c").iterdir()
    assert log.suffix == ".log"


def test_config_file(run, script, tmp_path):
    program = script("import ray_engine as ray\nray.init()\nprint(ray.cluster_resources()['CPU'])\n")
    config = tmp_path / "engine.conf"
    config.write_text("# of this machine\nnum-cpus = 4\n")
    assert run("--config", config, program).stdout == "4.0\n"
    assert run("--config", config, "--num-cpus", 6, program).stdout == "6.0\n"
    config.write_text("num-cpu = 4\n")
    job = run("--config", config, program)
    assert job.code == 2 and "num-cpu" in job.stderr
    job = run("--config", tmp_path / "none.conf", program)
    assert job.code == 2 and "none.conf" in job.stderr


def test_help_and_version(run):
    job = run("--help")
    assert job.code == 0
    assert all(
        option in job.stdout for option in ("--num-cpus", "--virtual-nodes", "--exit-file", "--object-store-memory")
    )
    job = run("--version")
    assert job.code == 0
    assert all(name in job.stdout for name in ("MPI", "UCX", "HDF5"))


def test_many_ranks_but_mpi_says_one(run, script):
    """An environment of several ranks with an MPI that was not started by it: an error, never several drivers."""
    for env in ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1"}, {"PMI_SIZE": "4", "PMI_RANK": "1"}):
        job = run(script(OK), env=env)
        assert job.code not in (0, None), job.output
        assert "fine" not in job.stdout
        assert "MPI" in job.stderr


@pytest.mark.parametrize(
    "env",
    [
        {"OMPI_COMM_WORLD_SIZE": "4"},
        {"MV2_COMM_WORLD_SIZE": "4", "MV2_COMM_WORLD_RANK": "0"},
        {"PMI_SIZE": "4"},
        {"PMIX_RANK": "0"},
    ],
)
def test_many_ranks_without_a_number(run, script, env):
    job = run(script(OK), env=env)
    assert (job.code, job.stdout) == (72, ""), job.output
    assert next(iter(env)) in job.stderr and "unset" in job.stderr


@pytest.fixture
def own_mounts(tmp_path):
    """own_mounts(options): a prefix that runs with a small /dev/shm and $TMPDIR mounted with these options."""
    if os.getuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("needs to make mounts of its own: be root, outside of a restricted container")

    def prepare(options, fill):
        folder, wrapper = tmp_path / "small", tmp_path / "wrapper.sh"
        folder.mkdir()
        mounts = "".join(f"mount -t tmpfs -o {options} tmpfs {place}\n" for place in ("/dev/shm", folder))
        fills = "".join(f"dd if=/dev/zero of={place}/fill bs=4k 2>/dev/null\n" for place in ("/dev/shm", folder))
        wrapper.write_text(f'{mounts}{fills if fill else ""}export TMPDIR={folder}\nexec "$@"\n')
        return ["unshare", "--mount", "sh", str(wrapper)]

    return prepare


@pytest.mark.parametrize("options, fill", [("ro", False), ("size=8k", True)], ids=["read-only", "full"])
def test_temporary_folders_that_cannot_be_written(run, script, own_mounts, options, fill):
    """The engine needs neither temporary files nor /dev/shm."""
    job = run(script(OK), prefix=own_mounts(options, fill))
    assert (job.code, job.stdout) == (0, "fine\n"), job.output


def test_store_larger_than_memory(run, script):
    job = run("--object-store-memory", "900T", script(OK))
    assert job.code not in (0, None)
    assert "object" in job.stderr and "memory" in job.stderr


def test_ranks_of_different_builds(script, launcher, tmp_path):
    """One rank runs another build of the engine: it is said which, and nobody waits for ever."""
    here, other = Path(launcher).resolve().parent, tmp_path / "bin"
    shutil.copytree(here, other, ignore=lambda _, names: [name for name in names if name.endswith("_test")])
    (tmp_path / "python").symlink_to(here.parent / "python")
    program = (other / "ray-engine").read_bytes()
    (build,) = set(re.findall(rb"\d+\.\d+\.\d+\+[0-9a-z.]+", program))
    (other / "ray-engine").write_bytes(program.replace(build, build[:-4] + b"test"))
    mark = leaks.new_mark()
    ranks = ["-n", "1", launcher, script(OK), ":", "-n", "1", str(other / "ray-engine"), script(OK)]
    done = subprocess.run(
        ["mpirun", "--oversubscribe", *ranks], capture_output=True, text=True, timeout=120, env=environment({})
    )
    assert done.returncode != 0 and "fine" not in done.stdout
    assert "different builds" in done.stderr and build.decode() in done.stderr, done.stderr
    leaks.Machine(mark).check()
