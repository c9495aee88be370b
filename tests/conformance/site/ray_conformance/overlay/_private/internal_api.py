"""`ray._private.internal_api`: what the stores hold, as the state API tells it."""

from ray.util.state import list_objects


def memory_summary(address=None, stats_only=False, **kwargs):
    sizes = {row.object_id: row.object_size for row in list_objects(limit=10_000) if row.is_stored}
    return f"Plasma memory usage {sum(sizes.values()) >> 20} MiB, {len(sizes)} objects\n"
