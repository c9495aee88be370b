"""`import ray`, where this folder's parent is on the path: makes `ray` another name of `ray_engine`."""

from ray_engine._private import alias

alias.install()
