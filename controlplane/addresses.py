"""Addresses as `host:port`, and what a certificate says of hosts (an edge: it asks for this host's name)."""

from __future__ import annotations

import ipaddress
import socket


def server_names(hosts: set[str]) -> tuple[list[str], list[str]]:
    """DNS names and IP addresses for the certificate; a wildcard address stands for this host's name."""
    names: list[str] = []
    addresses: list[str] = []
    for host in sorted(hosts):
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            names.append(host)
            continue
        if address.is_unspecified:
            names.append(socket.gethostname().lower())
        else:
            addresses.append(host)
    return names, addresses


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
