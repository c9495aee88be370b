"""Python imports this at the start of every process that has it on its path: drivers, workers, scripts of tests."""

import ray_conformance.hook

ray_conformance.hook.install()
