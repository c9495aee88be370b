"""The resources of a placement group: what is reserved for it counts under names of its own, whole and per bundle.

    CPU_group_ID: CPUs of any of its bundles; CPU_group_2_ID: of its bundle 2. ID is the group's id in hex.

Pure.
"""

PLACE = "bundle"  # what a bundle has one of, for what needs no resource
_TAKEN = 0.001  # of that, by each such


def of_group(resources, group: str, index: int) -> dict:
    """Resources as they are named in a bundle of the group; index -1: in any."""
    own = {}
    for name, amount in (resources or {PLACE: _TAKEN}).items():
        own[f"{name}_group_{group}"] = amount
        if index >= 0:
            own[f"{name}_group_{index}_{group}"] = amount
    return own


def plain(resources: dict) -> dict:
    """Resources of a group under the names of those they are made of."""
    found = {}
    for name, amount in resources.items():
        kind, in_group, _ = name.partition("_group_")
        if not in_group or kind != PLACE:
            found[kind] = amount
    return found


def group_of_task(task) -> bytes | None:
    """The id of the group whose resources the task has."""
    for name in (task or {}).get("resources", ()):
        if "_group_" in name:
            return bytes.fromhex(name.rpartition("_")[2])
    return None
