"""Questions to a running session from a shell: `ray-engine status`, `ray-engine list actors`, `ray status`, ...

The session is the one that init(address="auto") would join, or that of --address. To ask, the program joins it as a
driver, so that it is one of its jobs meanwhile.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import sys
from typing import Any

from ray_engine import _core
from ray_engine._private import cluster_state, internal_api, lifecycle, status
from ray_engine._version import __version__
from ray_engine.util import state

_LISTS: dict[str, Any] = {
    "actors": state.list_actors,
    "jobs": state.list_jobs,
    "nodes": state.list_nodes,
    "objects": state.list_objects,
    "placement-groups": state.list_placement_groups,
    "tasks": state.list_tasks,
    "workers": state.list_workers,
}
_SUMMARIES = {"actors": state.summarize_actors, "tasks": state.summarize_tasks}
# Commands of Ray that have no counterpart, and what to use for them.
_INSTEAD = {
    "start": "a session comes with its program (`mpirun -n 4 ray-engine app.py`); `ray-engine start` begins one "
    "without a program, `ray-engine node --join=auto` adds a node on this machine",
    "stop": "a session ends with its program; one of `ray-engine start` ends by Ctrl-C or SIGTERM",
    "logs": "what tasks print appears at the driver; --log-dir keeps what the engines say",
    "job": "start the program by `mpirun -n 4 ray-engine app.py`, or where a session runs with RAY_ADDRESS=auto",
    "submit": "start the program by `mpirun -n 4 ray-engine app.py`, or where a session runs with RAY_ADDRESS=auto",
    "up": "nodes come from the allocation: use mpirun or srun",
    "down": "nodes go with the allocation",
    "dashboard": "`ray-engine status` and `ray-engine list` say what a dashboard would",
}


def main(program: str, words: list[str]) -> int:
    """Answers the question; returns the exit code. `program`: what the user has called it, "ray-engine" or "ray"."""
    if words and words[0] in _INSTEAD:
        print(f"{program} {words[0]}: ray-engine has no such command; {_INSTEAD[words[0]]}.", file=sys.stderr)
        return 1
    options = _parser(program).parse_args(words)
    logging.disable(logging.INFO)
    os.environ.pop("RAY_ENGINE_DRIVER_FD", None)  # the socket of whoever has started this program
    try:
        lifecycle.init(options.address, log_to_driver=False)
    except (ConnectionError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    try:
        print(options.answer(options))
        return 0
    except (ValueError, state.RayStateApiException) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    finally:
        lifecycle.shutdown()


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program, description="Asks a running session of ray-engine.")
    parser.add_argument("--version", action="version", version=f"{program}, version {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, help: str, answer: Any) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=help, description=help)
        one.add_argument("--address", default="auto", help="of the session; auto: the one that runs here")
        one.set_defaults(answer=answer)
        return one

    one = command("status", "nodes, resources in use, and what waits and why", _status)
    one.add_argument("-v", "--verbose", action="store_true", help="also the resources of each node")
    one = command("list", "rows of one kind, as JSON", _list)
    one.add_argument("kind", choices=sorted(_LISTS))
    one.add_argument("-f", "--filter", action="append", default=[], metavar="FIELD=VALUE", help="or FIELD!=VALUE")
    one.add_argument("--limit", type=int, default=100, help="rows at the most (100)")
    one = command("summary", "how many are in which state, by class or function, as JSON", _summary)
    one.add_argument("kind", choices=sorted(_SUMMARIES))
    one = command("memory", "who holds which objects, and what the object stores hold and have spilled", _memory)
    one.add_argument("--group-by", choices=["NODE_ADDRESS", "STACK_TRACE"], default="NODE_ADDRESS")
    one.add_argument("--sort-by", choices=["OBJECT_SIZE", "PID", "REFERENCE_TYPE"], default="OBJECT_SIZE")
    one.add_argument("--limit", type=int, default=50, metavar="N", help="lines of a group at the most (50)")
    one.add_argument("--stats-only", action="store_true", help="only what the stores hold")
    one = command("timeline", "writes when tasks ran, for chrome://tracing or ui.perfetto.dev", _timeline)
    one.add_argument("file", nargs="?", default="timeline.json")
    return parser


def _status(options: argparse.Namespace) -> str:
    time = str(datetime.datetime.now())
    nodes = _core.cluster()
    stored = {row["node_id"]: row["used"] for row in _core.store_rows()}
    for node in nodes:  # the scheduler does not give this resource out: the stores know what is in use
        used = stored.get(node["id"].hex(), 0)
        node["available"]["object_store_memory"] = node["total"].get("object_store_memory", 0) - used
    return status.report(nodes, _core.demand_rows(), _core.groups(), time, options.verbose)


def _list(options: argparse.Namespace) -> str:
    rows = _LISTS[options.kind](filters=[_filter(text) for text in options.filter], limit=options.limit)
    return _json([dict(row.items()) for row in rows])


def _filter(text: str) -> tuple[str, Any, str]:
    for operator in ("!=", "="):
        field, found, value = text.partition(operator)
        if found:
            return field, operator, value
    raise ValueError(f"a filter is FIELD=VALUE or FIELD!=VALUE, got {text!r}")


def _summary(options: argparse.Namespace) -> str:
    return _json(_SUMMARIES[options.kind]()["cluster"])


def _memory(options: argparse.Namespace) -> str:
    return internal_api.memory_summary(
        group_by=options.group_by, sort_by=options.sort_by, stats_only=options.stats_only, num_entries=options.limit
    )


def _timeline(options: argparse.Namespace) -> str:
    cluster_state.timeline(options.file)
    return f"wrote {options.file}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str)
