"""Loads and removes rules in a container's network namespace, and in no other, whatever the engine says.

A namespace is the container's when its address is a local one there: that of this machine has none of them.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import subprocess
from pathlib import Path
from typing import Final

from agent import rules

_SECONDS: Final = 10


class NamespaceError(Exception):
    """The rules could not be loaded; the text says why."""


def load(pid: int, address: str) -> None:
    """Idempotent, in one transaction. Raises: NamespaceError, also when the process has ended."""
    _nft(pid, address, rules.container())


def remove(pid: int, address: str) -> None:
    """Raises: NamespaceError."""
    _nft(pid, address, rules.removal())


def is_loaded(pid: int, address: str) -> bool:
    """Raises: NamespaceError."""
    done = _run(pid, address, ["nft", "list", "table", "inet", rules.TABLE], "")
    return done.returncode == 0 and "out_guard" in done.stdout and "in_guard" in done.stdout


def has_ipv6(pid: int) -> bool:
    """Is there any IPv6 address, the loopback's included? Source: proc(5), /proc/net/if_inet6"""
    try:
        return bool(Path(f"/proc/{pid}/net/if_inet6").read_text().strip())
    except OSError:
        return False


def _nft(pid: int, address: str, text: str) -> None:
    done = _run(pid, address, ["nft", "-f", "-"], text)
    if done.returncode != 0:
        reason = next((line for line in done.stderr.splitlines() if "rror" in line), done.stderr.strip())
        raise NamespaceError(f"nft: {reason}")


def _run(pid: int, address: str, command: list[str], text: str) -> subprocess.CompletedProcess[str]:
    """The namespace is opened before it is looked at: the pid may be another's a moment later."""
    path = f"/proc/{pid}/ns/net"
    try:
        opened = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise NamespaceError(f"the namespace of process {pid} cannot be opened: {error.strerror}") from error
    try:
        if not _has(pid, address) or not os.path.samestat(os.fstat(opened), os.stat(path)):
            raise NamespaceError(f"the namespace of process {pid} does not have {address}: not touched")
        return subprocess.run(
            ["nsenter", f"--net=/proc/self/fd/{opened}", *command],  # noqa: S607 - where it is differs by distribution
            input=text, capture_output=True, text=True, timeout=_SECONDS, check=False, pass_fds=(opened,),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NamespaceError(f"{command[0]} in the namespace of process {pid}: {error}") from error
    finally:
        os.close(opened)


def _has(pid: int, address: str) -> bool:
    """Source: proc(5): fib_trie lists local IPv4 addresses, if_inet6 IPv6 ones in hexadecimal."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == 6:
        return parsed.packed.hex() in Path(f"/proc/{pid}/net/if_inet6").read_text()
    lines = Path(f"/proc/{pid}/net/fib_trie").read_text().splitlines()
    return any(
        line.strip() == f"|-- {address}" and "host LOCAL" in below
        for line, below in itertools.pairwise(lines)
    )
