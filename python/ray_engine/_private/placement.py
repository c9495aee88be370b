"""Placement: from what a program says about where something shall run to what the engine is asked for.

place() is pure but for the captured group: while a task runs whose placement group captures its children, what it
submits without a strategy of its own runs in that group too.
"""

import warnings

from ray_engine import _core
from ray_engine._private import labels, unavailable
from ray_engine._private.group_resources import group_of_task, of_group
from ray_engine._private.ids import NodeID, PlacementGroupID
from ray_engine._private.session import session


def place(what: str, options: dict, *amounts: dict):
    """(strategy, selectors and group for the engine; `amounts` as the engine knows them). `what`: for error messages.

    Each of `amounts` is a set of resources; in a placement group they turn into resources of that group.
    """
    from ray_engine.util import scheduling_strategies as strategies

    strategy = _strategy(options)
    selector = options["label_selector"] or {}
    request = {"selector": selector or None}
    if options["fallback_strategy"]:
        request["fallbacks"] = [fallback["label_selector"] for fallback in options["fallback_strategy"]]
    if isinstance(strategy, strategies.PlacementGroupSchedulingStrategy):
        return _in_group(what, request, strategy, amounts)
    if strategy == "SPREAD":
        request["strategy"] = strategy
    elif isinstance(strategy, strategies.NodeAffinitySchedulingStrategy):
        request.update(_on_node(strategy))
    elif isinstance(strategy, strategies.NodeLabelSchedulingStrategy):
        request["selector"] = {**selector, **_expressions(strategy.hard)}
        request["soft_selector"] = _expressions(strategy.soft)
    elif strategy not in (None, "DEFAULT"):
        raise unavailable.option("scheduling_strategy", strategy)
    elif "fallbacks" not in request and _is_node(selector.get(labels.NODE)):
        request["strategy"] = "node", selector[labels.NODE], False  # fails at once if it is not there
    return request, *amounts


def _is_node(label_value) -> bool:
    try:
        return not NodeID.from_hex(label_value or "").is_nil()
    except ValueError:
        return False


def _on_node(strategy) -> dict:
    if strategy._fail_on_unavailable:
        raise unavailable.option("_fail_on_unavailable", True)
    if strategy._spill_on_unavailable:
        return {"soft_selector": {labels.NODE: strategy.node_id}}
    return {"strategy": ("node", strategy.node_id, bool(strategy.soft))}


def _strategy(options):
    """The strategy that was given, by whichever option; else that of the group that captures this."""
    from ray_engine.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    strategy, group = options["scheduling_strategy"], options["placement_group"]
    if group != "default" and strategy is not None:
        raise ValueError("Placement groups should be specified via the scheduling_strategy option alone.")
    if group != "default":
        warnings.warn(
            "placement_group parameter is deprecated. Use scheduling_strategy=PlacementGroupSchedulingStrategy(...): "
            + documentation_url("ray-core/scheduling/placement-group.html"),
            DeprecationWarning,
            stacklevel=2,
        )
        return PlacementGroupSchedulingStrategy(
            group, options["placement_group_bundle_index"], options["placement_group_capture_child_tasks"]
        )
    index = options["placement_group_bundle_index"]
    if strategy is None and index != -1:
        raise ValueError(f"If placement group is not set, the value of bundle index must be -1, got {index}.")
    if strategy is None and session.captured_group is not None:
        return PlacementGroupSchedulingStrategy(session.captured_group, -1, True)
    return strategy


def documentation_url(page: str) -> str:
    """The page of Ray's documentation, as of the version of its API that programs see here."""
    return f"https://docs.ray.io/en/{documentation_version()}/{page}"


def documentation_version() -> str:
    import ray_engine

    return f"releases-{ray_engine.__version__}"


def _in_group(what, request, strategy, amounts):
    group, index = strategy.placement_group, strategy.placement_group_bundle_index
    if group is not None and not hasattr(group, "check_request"):
        raise TypeError(f"a placement group must be a PlacementGroup, got {type(group)}")
    if group is None or group.is_empty:
        if index != -1:
            raise ValueError(f"If placement group is not set, the value of bundle index must be -1, got {index}.")
        return request, *amounts
    group.check_request(index, amounts[0], what)
    capture = strategy.placement_group_capture_child_tasks
    request["group"] = group.id.binary()
    request["captures_children"] = session.captured_group is not None if capture is None else bool(capture)
    return request, *(of_group(resources, group.id.hex(), index) for resources in amounts)


def _expressions(matches: dict) -> dict:
    from ray_engine.util.scheduling_strategies import DoesNotExist, Exists, In, NotIn

    write = {
        In: lambda match: f"in({','.join(match.values)})",
        NotIn: lambda match: f"!in({','.join(match.values)})",
        Exists: lambda match: "exists()",
        DoesNotExist: lambda match: "!exists()",
    }
    return {label: write[type(match)](match) for label, match in matches.items()}


class _CapturedGroup:
    """As much of a PlacementGroup as placing something in it takes."""

    is_empty = False

    def __init__(self, id):
        self.id = id

    def check_request(self, index, resources, what):
        pass


def capture_by_task():
    """Called by the worker before a task that captures its children, and before the one after it."""
    task = _core.current_task()
    group = group_of_task(task) if task and task["captures_children"] else None
    captured = session.captured_group
    if group == (captured and captured.id.binary()):
        return
    session.captured_group = group and _CapturedGroup(PlacementGroupID(group))
    session.forget_callers()
