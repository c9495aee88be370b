"""`import ray_engine.as_ray`, once: from then on `import ray` gives ray_engine, here and in this program's workers."""

from ray_engine._private import alias

alias.install()
