"""`ray._common.utils`: small helpers."""

import asyncio
import binascii
import tempfile

import psutil


def hex_to_binary(text):
    return binascii.unhexlify(text)


def binary_to_hex(value):
    return value.hex()


def decode(value, allow_none=False, encode_type="utf-8"):
    if value is None and allow_none:
        return ""
    return value.decode(encode_type) if isinstance(value, bytes) else value


def get_or_create_event_loop():
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    try:
        return asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        return loop


def get_system_memory(*paths):
    return psutil.virtual_memory().total


def get_default_ray_temp_dir():
    return tempfile.gettempdir()


def reset_ray_address(temp_dir=None):
    """This engine leaves no address file behind."""
