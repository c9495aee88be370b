"""Placement groups: resources reserved together, in bundles, on one node or on several.

A bundle lies on one node. A group is there once all its bundles are; what runs in it is given resources of the bundles
by PlacementGroupSchedulingStrategy.
"""

import os
import warnings
from typing import Any

from ray_engine import _core
from ray_engine._private import labels, lifecycle
from ray_engine._private.group_resources import PLACE, group_of_task
from ray_engine._private.ids import PlacementGroupID
from ray_engine._private.session import session

VALID_PLACEMENT_GROUP_STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
_STATES = ("PENDING", "CREATED", "REMOVED", "RESCHEDULING")


class PlacementGroup:
    """A handle to a placement group; can be passed around. placement_group() makes a group."""

    @staticmethod
    def empty() -> "PlacementGroup":
        """The group that stands for none."""
        return PlacementGroup(PlacementGroupID.nil())

    def __init__(self, id: PlacementGroupID, bundle_cache: list[dict[str, float]] | None = None):
        self.id = id
        self.bundle_cache = bundle_cache

    @property
    def is_empty(self) -> bool:
        """Whether this stands for no group."""
        return self.id.is_nil()

    def ready(self) -> "_core.ObjectRef[PlacementGroup]":
        """A reference that is there once the group is; get() of it gives the group.

        It raises TaskPlacementGroupRemoved if the group is removed first. ValueError for the empty group.
        """
        import ray_engine as ray
        from ray_engine.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self._check_not_empty()
        strategy = PlacementGroupSchedulingStrategy(self)
        return ray.remote(_itself).options(num_cpus=0, scheduling_strategy=strategy, max_retries=-1).remote(self)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Whether the group is there within this time (seconds). ValueError for the empty group."""
        import ray_engine as ray

        self._check_not_empty()
        known = _core.wait_for_group(self.id.binary(), float(timeout_seconds))
        if known is not None:
            return known
        return len(ray.wait([self.ready()], timeout=timeout_seconds)[0]) == 1

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """The resources of each bundle."""
        if self.bundle_cache is None:
            self._check_not_empty()
            self.bundle_cache = _look_up(self.id)["bundles"]
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """The number of bundles."""
        return len(self.bundle_specs)

    def check_request(self, index: int, resources: dict[str, float], what: str) -> None:
        """Raises ValueError if `what`, with these resources, can never run in bundle `index` (-1: in any)."""
        check_placement_group_index(self, index)
        bundles = self.bundle_specs if index == -1 else [self.bundle_specs[index]]
        if not any(all(bundle.get(name, 0) >= resources[name] for name in resources) for bundle in bundles):
            asked = {name: int(amount) if amount == int(amount) else amount for name, amount in resources.items()}
            raise ValueError(
                f"Cannot schedule {what} with the placement group because the resource request {asked} cannot fit "
                f"into any bundles for the placement group, {bundles}."
            )

    def _check_not_empty(self):
        if self.is_empty:
            raise ValueError("this is the empty placement group, which has no bundles")

    def __eq__(self, other):
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"PlacementGroup({self.id.hex()})"


def _itself(group):
    return group


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    *,
    topology_strategy: dict[str, str] | None = None,
) -> PlacementGroup:
    """Reserves `bundles` (dictionaries of resources) together; returns at once.

    `strategy`: PACK (few nodes) and SPREAD (many) as far as it goes, STRICT_PACK (one node) and STRICT_SPREAD (one node
    each) or not at all. `lifetime`: "detached" outlives the job; else the group ends with it, or with the actor that
    made it. `name`: what get_placement_group() finds. `bundle_label_selector`: {label: value} of the node, one for each
    bundle. `topology_strategy`: {label: strategy}, instead of `strategy`, for which the label "ray.io/node-id" stands.
    One other label may come with STRICT_PACK: {"ray.io/gpu-domain": "STRICT_PACK"} keeps all bundles on nodes that have
    one value of that label in common; nodes without the label get none.

    Raises ValueError for bundles that are empty or negative and for an unknown strategy, RaySystemError for a name that
    is taken.
    """
    lifecycle.ensure_connected()
    validate_placement_group(
        bundles, strategy, lifetime, _soft_target_node_id, bundle_label_selector, topology_strategy
    )
    strategy, domain_label = _strategy(strategy, topology_strategy)
    selectors = bundle_label_selector or [{} for _ in bundles]
    task = _core.current_task() or {}
    group = PlacementGroupID(os.urandom(PlacementGroupID.size() - 4) + session.job_id.binary())
    _core.create_group(
        id=group.binary(),
        name=name or "",
        namespace=session.namespace,
        detached=lifetime == "detached",
        strategy=VALID_PLACEMENT_GROUP_STRATEGIES.index(strategy),
        domain_label=domain_label,
        bundles=list(zip(bundles, selectors, strict=True)),
        bound_to_process=bool(task.get("actor_id")),
    )
    return PlacementGroup(group, [{name: float(amount) for name, amount in bundle.items()} for bundle in bundles])


def validate_placement_group(
    bundles: list,
    strategy: str | None = None,
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list | None = None,
    topology_strategy: dict | None = None,
) -> None:
    """Raises ValueError if placement_group() cannot be called with these."""
    strategy, _ = _strategy(strategy, topology_strategy)
    if _soft_target_node_id is not None and strategy != "STRICT_PACK":
        raise ValueError(f"_soft_target_node_id currently only works with STRICT_PACK but got {strategy}")
    _validate_bundles(bundles)
    if bundle_label_selector is not None:
        _validate_bundle_label_selector(bundle_label_selector)
        if len(bundle_label_selector) != len(bundles):
            raise ValueError(
                f"Invalid bundle label selector {bundle_label_selector}: one per bundle is needed, and there are "
                f"{len(bundles)} bundles."
            )
    if lifetime not in (None, "detached"):
        raise ValueError(f"placement group `lifetime` argument must be either `None` or 'detached', got {lifetime!r}")


def _strategy(strategy, topology_strategy) -> tuple[str, str]:
    """The strategy for the nodes, and the label of which all of them must have one value ("": no such label)."""
    if topology_strategy is None:
        return _valid_strategy(strategy or "PACK"), ""
    if strategy is not None:
        raise ValueError(
            f"strategy and topology_strategy cannot be given together: topology_strategy={{{labels.NODE!r}: strategy}} "
            "says both."
        )
    if not isinstance(topology_strategy, dict):
        raise ValueError(f"topology_strategy must be a dictionary, got {topology_strategy!r}.")
    domains = [label for label in topology_strategy if label != labels.NODE]
    for label, value in topology_strategy.items():
        if not isinstance(label, str) or not label:
            raise ValueError(f"The keys of topology_strategy are names of labels, got {label!r}.")
        if _valid_strategy(value) != "STRICT_PACK" and label != labels.NODE:
            raise ValueError(f"STRICT_PACK is the only strategy for the label {label!r}, got {value}.")
    if len(domains) > 1:
        raise ValueError(f"topology_strategy takes one label beside {labels.NODE!r}, got {domains}.")
    return topology_strategy.get(labels.NODE, "PACK"), domains[0] if domains else ""


def _valid_strategy(strategy) -> str:
    if strategy not in VALID_PLACEMENT_GROUP_STRATEGIES:
        raise ValueError(
            f"Invalid placement group strategy {strategy}; valid ones are "
            f"{', '.join(VALID_PLACEMENT_GROUP_STRATEGIES)}."
        )
    return strategy


def _validate_bundles(bundles):
    if not isinstance(bundles, list):
        raise ValueError(f"Placement group bundles must be a list, got {type(bundles)}.")
    if not bundles:
        raise ValueError("Bundles must be a non-empty list of resource dictionaries.")
    for bundle in bundles:
        _check_bundle(bundle)


def _check_bundle(bundle):
    right = isinstance(bundle, dict) and all(
        isinstance(name, str) and isinstance(amount, (int, float)) for name, amount in bundle.items()
    )
    if not right:
        raise ValueError(f"Bundles must be a non-empty list of resource dictionaries, got the bundle {bundle!r}.")
    if PLACE in bundle:
        raise ValueError(f"{PLACE!r} is the engine's own name for a place in a bundle. Bundle: {bundle}")
    if not any(bundle.values()):
        raise ValueError(f"Bundles cannot be an empty dictionary or resources with only 0 values. Bundle: {bundle}")
    if any(amount < 0 for amount in bundle.values()):
        raise ValueError(f"The amounts of a bundle must not be negative. Bundle: {bundle}")
    if "object_store_memory" in bundle:
        _check_store_memory(bundle)


def _check_store_memory(bundle):
    if not float(bundle["object_store_memory"]).is_integer():
        raise ValueError(f"object_store_memory is a number of bytes. Bundle: {bundle}")
    warnings.warn(
        "Setting 'object_store_memory' for bundles is deprecated: it keeps no room in the store free.",
        DeprecationWarning,
        stacklevel=6,
    )


def _validate_bundle_label_selector(selectors):
    if not isinstance(selectors, list):
        raise ValueError(f"Placement group bundle label selectors must be a list, got {type(selectors)}.")
    for selector in selectors:
        texts = isinstance(selector, dict) and all(isinstance(text, str) for pair in selector.items() for text in pair)
        if not texts:
            raise ValueError(f"A bundle label selector must be a list of string dictionary, got {selector!r} in it.")
        problem = labels.selector_problem(selector)
        if problem:
            raise ValueError(f"Invalid label selector provided in bundle_label_selector: {problem}")


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Ends all tasks and actors that run in the group and gives its resources back. Removing it twice does nothing."""
    lifecycle.ensure_connected()
    _core.remove_group(placement_group.id.binary())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of that name in this namespace. Raises ValueError if there is none."""
    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    lifecycle.ensure_connected()
    found = _core.groups(name=placement_group_name, namespace=session.namespace)
    if not found:
        raise ValueError(f"Failed to look up placement group with name: {placement_group_name}")
    return PlacementGroup(PlacementGroupID(found[0]["id"]), found[0]["bundles"])


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """What is known about one group; without an argument about all, by their ids in hex.

    A dictionary with placement_group_id, name, bundles, bundles_to_node_id, strategy and state (PENDING, CREATED,
    REMOVED or RESCHEDULING). Raises ValueError for a group that there never was.
    """
    lifecycle.ensure_connected()
    if placement_group is not None:
        return _table_row(_look_up(placement_group.id))
    return {PlacementGroupID(group["id"]).hex(): _table_row(group) for group in _core.groups()}


def _look_up(id: PlacementGroupID) -> dict:
    found = _core.groups(id=id.binary())
    if not found:
        raise ValueError(f"there is no placement group {id.hex()}")
    return found[0]


def _table_row(group) -> dict:
    return {
        "placement_group_id": PlacementGroupID(group["id"]).hex(),
        "name": group["name"],
        "bundles": dict(enumerate(group["bundles"])),
        "bundles_to_node_id": dict(enumerate(group["nodes"])),
        "strategy": VALID_PLACEMENT_GROUP_STRATEGIES[group["strategy"]],
        "state": _STATES[group["state"]],
        "stats": {},
    }


def get_current_placement_group() -> PlacementGroup | None:
    """The group that the task or actor of this process runs in; None if in none."""
    lifecycle.ensure_connected()
    id = group_of_task(_core.current_task())
    return None if id is None else PlacementGroup(PlacementGroupID(id))


def check_placement_group_index(placement_group: PlacementGroup, bundle_index: int) -> None:
    """Raises ValueError if the group has no bundle of this index; -1 stands for any, and is right for no group too."""
    if placement_group.is_empty:
        if bundle_index != -1:
            raise ValueError(
                f"If placement group is not set, the value of bundle index must be -1, got {bundle_index}."
            )
    elif not -1 <= bundle_index < placement_group.bundle_count:
        raise ValueError(
            f"placement group bundle index {bundle_index} is invalid. Valid placement group indexes: "
            f"0-{placement_group.bundle_count}"
        )
