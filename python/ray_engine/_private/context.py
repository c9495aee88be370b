"""RayContext: what init() returns.

A mapping of addresses (a form that Ray deprecates) and a context manager that shuts down at its end.
"""

import html
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ray_engine._version import __commit__, __version__

# Addresses that Ray names and that have no counterpart here.
_NO_COUNTERPART = (
    "redis_address", "object_store_address", "webui_url", "metrics_export_port", "dashboard_agent_listen_port",
)  # fmt: skip


class RayContext(Mapping[str, Any]):
    """`address_info`: a dictionary of addresses. `disconnect()` is ray.shutdown(), as is the end of `with`."""

    def __init__(self, info: dict[str, Any], disconnect: Callable[[], None]):
        self.disconnect = disconnect
        self.dashboard_url = None
        self.python_version = platform.python_version()
        self.ray_version = __version__
        self.ray_commit = __commit__
        address = info["socket_name"]
        self.address_info = {
            **dict.fromkeys(_NO_COUNTERPART),
            "node_ip_address": info["node_ip"],
            "raylet_socket_name": address,
            "session_dir": info["session"],
            "gcs_address": address,
            "address": address,
            "node_id": info["node_id"].hex(),
        }

    def __getitem__(self, key: str) -> Any:
        warnings.warn(
            f'Accessing values through ctx["{key}"] is deprecated. Use ctx.address_info["{key}"] instead.',
            DeprecationWarning,
            stacklevel=2,
        )
        return self.address_info[key]

    def __len__(self) -> int:
        return len(self.address_info)

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __enter__(self) -> "RayContext":
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def __repr__(self):
        address = self.address_info["address"]
        return (
            f"RayContext(address={address!r}, python_version={self.python_version!r}, ray_version={self.ray_version!r})"
        )

    def _repr_html_(self):
        rows = {
            "Python version": self.python_version,
            "Ray version": self.ray_version,
            "Address": self.address_info["address"],
        }
        cells = (
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>" for name, value in rows.items()
        )
        return f"<table>{''.join(cells)}</table>"
