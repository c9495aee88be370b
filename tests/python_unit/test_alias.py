"""`import ray` as another name: the same module objects, whichever name comes first."""

import os
import subprocess
import sys

import ray_engine

ALIAS = os.path.join(os.path.dirname(ray_engine.__file__), "_alias")


def _run(code):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ALIAS, *filter(None, sys.path)])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_ray_is_ray_engine():
    _run("import ray, ray_engine; assert ray is ray_engine")


def test_submodules_imported_by_the_alias_first():
    _run(
        "import ray.util.queue\n"
        "from ray.util import ActorPool\n"
        "import ray, ray_engine.util, ray_engine.util.queue\n"
        "assert ray.util.queue is ray_engine.util.queue\n"
        "assert ActorPool is ray_engine.util.ActorPool\n"
    )


def test_submodules_imported_by_the_own_name_first():
    _run(
        "import ray_engine.util.queue\n"
        "import ray.util.queue, ray.exceptions, sys\n"
        "assert ray.util.queue is sys.modules['ray_engine.util.queue']\n"
        "assert ray.exceptions is sys.modules['ray_engine.exceptions']\n"
    )


def test_modules_keep_their_own_spec():
    _run("import ray.util.queue as q; assert q.__spec__.name == q.__name__ == 'ray_engine.util.queue'")


def test_what_programs_take_from_inside_ray():
    _run(
        "import ray\n"
        "assert ray._raylet.ObjectRefGenerator is ray.ObjectRefGenerator\n"
        "from ray._raylet import ObjectRef, RAY_NODE_ID_KEY\n"
        "assert ray._private.services.get_node_ip_address is ray.util.get_node_ip_address\n"
        "assert callable(ray._private.internal_api.free) and not hasattr(ray._private, 'raylet_client')\n"
    )


def test_missing_submodule_is_an_import_error():
    _run(
        "import ray\n"
        "try:\n    import ray.no_such_thing\n"
        "except ModuleNotFoundError as error:\n    assert 'ray.no_such_thing' in str(error)\n"
        "else:\n    raise SystemExit('imported')\n"
    )


def test_one_line_installs_the_alias():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    code = "import ray_engine.as_ray, ray, ray_engine; assert ray is ray_engine"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
