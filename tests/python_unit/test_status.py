"""The report of `ray-engine status`, made of rows without a session; the command line around it."""

import subprocess
import sys

import pytest
from ray_engine._private import command_line, status

ID = b"\x12" * 28
NAME = f"node_{ID.hex()}"


def node(total, available=None, **changes):
    row = {"id": ID, "alive": True, "hostname": "host", "death_reason": "", "total": total}
    return {**row, "available": total if available is None else available, **changes}


def demand(count, refusals="", **resources):
    return {"count": count, "resources": resources, "need": str(resources), "refusals": refusals}


def group(state, *bundles, strategy=0):
    return {"state": state, "strategy": strategy, "bundles": list(bundles)}


def lines(nodes=(), demands=(), groups=(), **options):
    return status.report(list(nodes), list(demands), list(groups), "now", **options).splitlines()


def section(title, *args, **options):
    """The lines between this title and the next one."""
    found = lines(*args, **options)
    start = found.index(title) + 1
    end = next((at for at in range(start, len(found)) if not found[at].startswith(" ")), len(found))
    return found[start:end]


def test_an_empty_session():
    assert section("Active:") == [" (no active nodes)"]
    assert section("Pending Demands:") == [" (no resource demands)"]


def test_nodes_living_and_lost():
    nodes = [node({"CPU": 1.0}), node({}, alive=False, death_reason="its engine was killed")]
    assert section("Active:", nodes) == [f" 1 {NAME}"]
    assert section("Recent failures:", nodes) == [f" {NAME}: its engine was killed"]


def test_usage_is_summed_over_nodes():
    nodes = [
        node({"CPU": 4.0, "memory": 2.0 * 2**30, "node:1.2.3.4": 1.0}, {"CPU": 2.5, "memory": 1.5 * 2**30}),
        node({"CPU": 2.0, "GPU": 1.0}),
    ]
    assert section("Total Usage:", nodes) == [" 1.5/6.0 CPU", " 0.0/1.0 GPU", " 512.00MiB/2.00GiB memory"]
    assert lines(nodes, verbose=True)[-3:] == [" Usage:", "  0.0/2.0 CPU", "  0.0/1.0 GPU"]


def test_what_a_placement_group_holds_but_nobody_uses_is_not_in_use():
    total = {"CPU": 4.0, "CPU_group_0_ab": 2.0, "CPU_group_ab": 2.0}
    free = {"CPU": 2.0, "CPU_group_0_ab": 1.5, "CPU_group_ab": 1.5}
    assert section("Total Usage:", [node(total, free)]) == [" 0.5/4.0 CPU"]


def test_demands_by_resources_with_reasons():
    demands = [
        demand(2, "node 0 (host): CPU 0 free of 1, 1 needed", CPU=1.0),
        demand(1, "node 0 (host): CPU 1, 2 needed", CPU=2.0),
        demand(3, "node 0 (host): CPU 0 free of 1, 1 needed\nnode 1 (other): not the node asked for", CPU=1.0),
    ]
    assert section("Pending Demands:", (), demands) == [
        " {'CPU': 1.0}: 5+ pending tasks/actors",
        "   node 0 (host): CPU 0 free of 1, 1 needed",
        "   node 1 (other): not the node asked for",
        " {'CPU': 2.0}: 1+ pending tasks/actors",
        "   node 0 (host): CPU 1, 2 needed",
    ]


def test_demands_inside_a_placement_group():
    inside = demand(2, CPU_group_0_ab=1.0, CPU_group_ab=1.0, bundle_group_ab=0.001)
    assert section("Pending Demands:", (), [inside, demand(1, CPU=1.0)]) == [
        " {'CPU': 1.0}: 3+ pending tasks/actors (2+ using placement groups)"
    ]


def test_placement_groups_that_wait():
    groups = [
        group(0, {"CPU": 1.0}, {"CPU": 1.0}, {"GPU": 1.0}),
        group(1, {"CPU": 1.0}),
        group(3, {"CPU": 1.0}, strategy=3),
    ]
    assert section("Pending Demands:", (), (), groups) == [
        " {'CPU': 1.0} * 2, {'GPU': 1.0} * 1 (PACK): 1+ pending placement groups",
        " {'CPU': 1.0} * 1 (STRICT_SPREAD): 1+ pending placement groups",
    ]


# ---- the command line -----------------------------------------------------------------------------------------------


def ask(program, *words):
    return subprocess.run([sys.executable, "-m", "ray_engine._ask", program, *words], capture_output=True, text=True)


@pytest.mark.parametrize("word", sorted(command_line._INSTEAD))
def test_commands_that_are_not_there_say_what_to_use(word, capsys):
    assert command_line.main("ray", [word, "--head"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"ray {word}: ") and len(said.err) > 60


def test_version_and_wrong_words():
    said = ask("ray", "--version")
    assert (said.returncode, said.stdout) == (0, "ray, version 2.60.0\n")
    for words in ([], ["nothing"], ["list"], ["list", "birds"], ["list", "actors", "--limit=many"]):
        said = ask("ray", *words)
        assert said.returncode == 2 and "usage: ray" in said.stderr


def test_no_session_to_ask():
    said = ask("ray", "status", "--address=ray-engine/0/nobody/0")
    assert said.returncode == 1 and "nobody" in said.stderr and "Traceback" not in said.stderr
    said = ask("ray", "status", "--address=nonsense")
    assert said.returncode == 1 and "nonsense" in said.stderr and "Traceback" not in said.stderr
