"""`ray._common.network_utils`: addresses and ports."""

import socket


def build_address(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(address):
    host, separator, port = address.rpartition(":")
    return (host.strip("[]"), port) if separator else None


def find_free_port(family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
