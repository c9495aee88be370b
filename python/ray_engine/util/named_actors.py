"""Names of actors."""

from typing import Any, Literal, overload

from ray_engine import _core
from ray_engine._private.session import session


@overload
def list_named_actors(all_namespaces: Literal[False] = False) -> list[str]: ...
@overload
def list_named_actors(all_namespaces: bool) -> list[Any]: ...
def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """Names of the living named actors of this name space; of all, as {"name": ..., "namespace": ...}.

    Raises RaySystemError where the process is in no session.
    """
    session.check_connected()
    found = _core.list_named_actors("" if all_namespaces else session.namespace)
    if all_namespaces:
        return [{"name": name, "namespace": namespace} for namespace, name in found]
    return [name for _, name in found]
