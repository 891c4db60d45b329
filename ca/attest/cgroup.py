"""What a process's control group says of it: its systemd unit and its container. Pure.

A cgroup can be delegated to a user, who then names what is below it; so a unit is the outermost name that is no
slice (as systemd itself reads it), never one further down, and a container ID found here is only a claim: the
engine has to confirm it, and that container's own first process has to be at the same place (`is_within`).
Source: cgroups(7), /proc/PID/cgroup; systemd's unit names
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_CONTAINER: Final = re.compile(r"(?:docker-)?([0-9a-f]{64})(?:\.scope)?", re.ASCII)
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.@\\-]{1,255}\.(?:service|scope|socket|mount|timer|path)", re.ASCII)


def unit_selectors(text: str) -> frozenset[str]:
    """`systemd:id:nginx.service`; empty for what is no unit of the system's manager."""
    for controllers, path in _lines(text):
        if controllers in ("", "name=systemd"):
            parts = [part for part in path.split("/") if part]
            while parts and parts[0].endswith(".slice"):
                parts.pop(0)
            if parts and _UNIT.fullmatch(parts[0]) and not _CONTAINER.fullmatch(parts[0]):
                return frozenset({f"systemd:id:{parts[0]}"})
    return frozenset()


def container_id(text: str) -> str:
    """The claimed container, or "" when there is none, or two different ones."""
    found = {match[1] for _, _, match in _claims(text)}
    return found.pop() if len(found) == 1 else ""


def is_within(text: str, first: str) -> bool:
    """Does a process stand at the very place of the container whose first process has cgroup text `first`?"""
    there = {(controllers, place) for controllers, place, _ in _claims(first)}
    here = {(controllers, place) for controllers, place, _ in _claims(text)}
    return bool(here) and here <= there


def _claims(text: str) -> Iterator[tuple[str, str, re.Match[str]]]:
    """Per hierarchy: the path down to the innermost container."""
    for controllers, path in _lines(text):
        parts = path.split("/")
        for index in range(len(parts) - 1, -1, -1):
            if match := _CONTAINER.fullmatch(parts[index]):
                yield controllers, "/".join(parts[: index + 1]), match
                break


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """(controllers, path): `0::/system.slice/x.service`, `9:name=systemd:/…`."""
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            yield parts[1], parts[2]
