"""Scheduling strategies: where a task or actor is to run. Beside these, "DEFAULT" (pack, then spread) and "SPREAD"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray_engine._private.ids import NodeID

if TYPE_CHECKING:
    from ray_engine.util.placement_group import PlacementGroup


class PlacementGroupSchedulingStrategy:
    """In a bundle of a placement group; -1 is any of them.

    `placement_group_capture_child_tasks`: what the task or actor submits runs in the group too, where it names no
    strategy of its own; None: as it is for the task that submits this.
    """

    def __init__(
        self,
        placement_group: PlacementGroup | None,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ):
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks


class NodeAffinitySchedulingStrategy:
    """On the node with this id (hex). `soft`: on another one if that node is gone or can never run it.

    Raises ValueError for what is no node id.
    """

    def __init__(
        self, node_id: str | NodeID, soft: bool, _spill_on_unavailable: bool = False, _fail_on_unavailable: bool = False
    ):
        self.node_id = node_id if isinstance(node_id, str) else node_id.hex()
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable
        self._check()

    def _check(self):
        if not _is_node_id(self.node_id):
            raise ValueError(
                f"Invalid node_id '{self.node_id}'. Node ID must be a valid hex string. "
                "To get a list of all nodes and their IDs in your cluster, use ray.nodes()."
            )
        if self._spill_on_unavailable and not self.soft:
            raise ValueError(
                "_spill_on_unavailable cannot be set when soft is False. "
                "Please set soft to True to use _spill_on_unavailable."
            )
        if self._fail_on_unavailable and self.soft:
            raise ValueError(
                "_fail_on_unavailable cannot be set when soft is True. "
                "Please set soft to False to use _fail_on_unavailable."
            )


def _is_node_id(text) -> bool:
    try:
        return not NodeID.from_hex(text).is_nil()
    except ValueError:
        return False


class _Match:
    """What a label's value must be."""


class In(_Match):
    """One of these values. Raises ValueError without a value, or for one that is no string."""

    def __init__(self, *values: str):
        self.values = _check_values(values, "In")


class NotIn(_Match):
    """None of these values, or the node has no such label. Raises ValueError as In() does."""

    def __init__(self, *values: str):
        self.values = _check_values(values, "NotIn")


class Exists(_Match):
    """The node has the label."""


class DoesNotExist(_Match):
    """The node does not have the label."""


class NodeLabelSchedulingStrategy:
    """On a node whose labels match `hard`, and `soft` if there is one: {label: In(...), NotIn(...), ...}.

    Raises ValueError for matches that are none, or if there are none at all.
    """

    def __init__(self, hard: dict[str, _Match] | None, *, soft: dict[str, _Match] | None = None):
        self.hard = _check_matches(hard, "hard")
        self.soft = _check_matches(soft, "soft")
        if not self.hard and not self.soft:
            raise ValueError("The `hard` and `soft` parameter of NodeLabelSchedulingStrategy cannot both be empty.")


def _check_values(values, operator):
    if not values:
        raise ValueError(f"The variadic parameter of the {operator} operator must be a non-empty tuple of strings.")
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(
                f"Type of value in position {index} for the {operator} operator must be str but got {value} "
                f"of type {type(value)}."
            )
    return list(values)


def _check_matches(matches, name) -> dict:
    matches = matches or {}
    if not isinstance(matches, dict):
        raise ValueError(
            f"The {name} parameter of NodeLabelSchedulingStrategy must be a map, but got type {type(matches)}."
        )
    for key, match in matches.items():
        if not isinstance(key, str) or not isinstance(match, _Match):
            raise ValueError(
                f"The {name} parameter of NodeLabelSchedulingStrategy must map label names to In, NotIn, Exists or "
                f"DoesNotExist, but has {key!r}: {match!r}."
            )
    return dict(matches)


ALL = (PlacementGroupSchedulingStrategy, NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy)
