"""The key-value table at the head: bytes by bytes, in name spaces."""

from ray_engine import _core
from ray_engine._private.session import session
from ray_engine.exceptions import RaySystemError


def _internal_kv_initialized() -> bool:
    return session.connected


def _internal_kv_get(key, *, namespace=None):
    """The value; None if there is none."""
    session.check_connected()
    return _core.kv_get(_text(namespace), _key(key))


def _internal_kv_exists(key, *, namespace=None) -> bool:
    session.check_connected()
    return _core.kv_exists(_text(namespace), _key(key))


def _internal_kv_put(key, value, overwrite: bool = True, *, namespace=None) -> bool:
    """Stores it, unless the key has a value and `overwrite` is False. Whether the key had a value."""
    session.check_connected()
    return not _core.kv_put(_text(namespace), _key(key), _encoded(value), overwrite)


def _internal_kv_del(key, *, del_by_prefix: bool = False, namespace=None) -> int:
    """Removes the key (or all that start with it); how many there were."""
    session.check_connected()
    keys = _core.kv_list(_text(namespace), _key(key)) if del_by_prefix else [_key(key)]
    return sum(_core.kv_del(_text(namespace), one) for one in keys)


def _internal_kv_list(prefix, *, namespace=None) -> list:
    session.check_connected()
    return _core.kv_list(_text(namespace), _key(prefix))


_RESERVED = b"@namespace_"


def _key(key) -> bytes:
    """Of a key or a prefix of keys."""
    key = _encoded(key)
    if key.startswith(_RESERVED):
        raise RaySystemError(f"Invalid key {key!r}: keys may not start with {_RESERVED.decode()!r}.")
    return key


def _encoded(text) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text or b"")


def _text(namespace) -> str:
    return namespace.decode() if isinstance(namespace, bytes) else namespace or ""
