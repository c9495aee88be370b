"""runtime_env: environment variables of jobs, tasks and actors."""

import os

import pytest
import ray_engine as ray
from ray_engine.runtime_env import RuntimeEnv
from ray_engine.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def variables(**values):
    return {"env_vars": values}


@pytest.fixture
def get():
    @ray.remote
    def get(*names):
        return [os.environ.get(name) for name in names]

    return get


def test_a_task_finds_its_variables(cluster, get):
    assert ray.get(get.options(runtime_env=variables(A="1", B="2")).remote("A", "B")) == ["1", "2"]
    assert ray.get(get.remote("A", "B")) == [None, None]
    assert ray.get(get.options(runtime_env=RuntimeEnv(env_vars={"A": "3"})).remote("A")) == ["3"]


def test_workers_are_shared_inside_one_environment_only(cluster):
    @ray.remote
    def who():
        return os.getpid()

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)

    def run(value=None):
        environment = variables(A=value) if value else None
        return ray.get(who.options(runtime_env=environment, scheduling_strategy=here).remote())

    one, other, none = run("1"), run("2"), run()
    assert len({one, other, none}) == 3
    assert run("1") == one


def test_children_inherit_and_override(cluster, get):
    @ray.remote(runtime_env=variables(A="parent", B="parent"))
    class Parent:
        def task(self):
            return ray.get(get.options(runtime_env=variables(B="child")).remote("A", "B"))

        def own(self):
            return os.environ["B"], ray.get_runtime_context().runtime_env

    parent = Parent.remote()
    assert ray.get(parent.task.remote()) == ["parent", "child"]
    assert ray.get(parent.own.remote()) == ("parent", variables(A="parent", B="parent"))


def test_variables_of_the_job(start, get):
    start(num_cpus=2, runtime_env=variables(A="job", B="job"))
    assert ray.get(get.remote("A", "B")) == ["job", "job"]
    assert ray.get(get.options(runtime_env=variables(B="task")).remote("A", "B")) == ["job", "task"]
    assert "A" not in os.environ  # they are for the workers


def test_references_to_variables(cluster, get):
    environment = variables(PATH="${PATH}:/somewhere", NEW="<${NO_SUCH_VARIABLE}>", PLAIN="$PATH")
    path, new, plain = ray.get(get.options(runtime_env=environment).remote("PATH", "NEW", "PLAIN"))
    assert path.endswith(":/somewhere") and len(path) > len(":/somewhere")
    assert (new, plain) == ("<>", "$PATH")


@pytest.mark.parametrize(
    "environment, error, text",
    [
        ("x", TypeError, "runtime_env"),
        ({"env_vars": ["A"]}, TypeError, "of type Dict"),
        ({"env_vars": {1: "x"}}, TypeError, "the key 1 is of type"),
        ({"env_vars": {"A": 1}}, TypeError, "the value 1 is of type"),
        ({"env_vars": {"A=B": "x"}}, ValueError, "cannot be an environment variable"),
        ({"env_vars": {"A": "x\0"}}, ValueError, "cannot be an environment variable"),
        ({"env_vars": {"A": "x" * 300_000}}, ValueError, "characters long"),
        ({"pip": 3}, TypeError, r"runtime_env\['pip'\] must be of type str or List\[str\]"),
        ({"pip": ["numpy", 3]}, TypeError, r"runtime_env\['pip'\]"),
        ({"pip": {"pip_check": True}}, ValueError, "must include field 'packages'"),
        ({"pip": {"packages": [], "pip_check": 1}}, TypeError, "pip_check"),
        ({"pip": {"packages": 1}}, ValueError, "packages"),
        ({"pip": {"packages": [], "pip_install_options": [1]}}, TypeError, "pip_install_options"),
        ({"pip": {"packages": [], "conda": 1}}, ValueError, "can only have these fields"),
        ({"pip": "no-such-file.txt"}, ValueError, "no-such-file.txt is not a valid file"),
        ({"working_dir": "."}, NotImplementedError, r"runtime_env\['working_dir'\]"),
    ],
)
def test_what_cannot_be_an_environment_is_refused_at_once(cluster, get, environment, error, text):
    with pytest.raises(error, match=text):
        get.options(runtime_env=environment)
    with pytest.raises(error, match=text):
        ray.remote(runtime_env=environment)(type("A", (), {}))


def test_a_job_with_a_wrong_environment_starts_nothing(start):
    with pytest.raises(NotImplementedError, match="conda"):
        start(num_cpus=1, runtime_env={"conda": "x"})
    assert not ray.is_initialized()


def test_packages_that_are_there_change_nothing(cluster):
    @ray.remote(runtime_env={"pip": ["numpy>=1", "ray[default]"]})
    def who():
        return os.getpid()

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    plain = who.options(runtime_env=None, scheduling_strategy=here)
    assert ray.get(who.options(scheduling_strategy=here).remote()) == ray.get(plain.remote())


def test_packages_that_are_missing_are_named_where_they_are_asked_for(cluster):
    missing = {"pip": ["numpy", "no-such-package==3"]}
    words = "'no-such-package==3'|pip install"
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match=words):
        ray.remote(runtime_env=missing)(lambda: 1).remote()
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match=words):
        ray.remote(runtime_env=missing)(type("A", (), {})).remote()


def test_a_job_without_its_packages_starts_nothing(start):
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="no-such-package"):
        start(num_cpus=1, runtime_env=RuntimeEnv(pip=["no-such-package"]))
    assert not ray.is_initialized()


def test_an_environment_as_an_object():
    environment = RuntimeEnv(env_vars={"A": "1"})
    environment.set("config", {"eager_install": False})
    assert environment.env_vars() == {"A": "1"}
    assert environment.to_dict() == {"env_vars": {"A": "1"}, "config": {"eager_install": False}}
    with pytest.raises(TypeError, match="the value 2"):
        RuntimeEnv(env_vars={"A": 2})
