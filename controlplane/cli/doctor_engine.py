"""What `pylis doctor` asks of the engine, and looks at in the network namespaces of its containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from controlplane.docker.findings import (
    INJECT,
    ROLE,
    SIDECAR_OF,
    Finding,
    Inside,
    Level,
    agents,
    clock,
    containers,
    volumes,
)

ENVOY: Final = "envoyproxy/envoy:v1.40.0"
_SECONDS: Final = 20
_NO_NAMES: Final = ("default", "bridge", "host", "none")  # networks in which Docker's DNS knows nobody
# asks a DNS server for the address of a name: exit status 0 when it has one. Source: RFC 1035, section 4
_ASK: Final = """
import socket, struct, sys
server, name = sys.argv[1:]
labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split("."))
asked = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack(">2H", 1, 1)
with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(3)
    s.connect((server, 53))
    s.send(asked)
    answer = s.recv(4096)
sys.exit(0 if answer[3] & 15 == 0 and struct.unpack(">H", answer[6:8])[0] else 1)
"""


def engine(version: str) -> Iterator[Finding]:
    """`version`: the control plane's; "" where it is not known."""
    docker = shutil.which("docker")
    if docker is None:
        text = "no docker here: containers are not looked at"
        yield Finding(Level.WARNING, "engine", text, "apt install docker.io")
        return
    running = _run(docker, "version", "-f", "{{.Server.Version}}")
    if running is None:
        following = "systemctl start docker   (and: is this user in group docker?)"
        yield Finding(Level.FAILED, "engine", "it does not answer", following)
        return
    yield Finding(Level.WELL, "engine", f"version {running.strip()}")
    yield from _clock(docker)
    yield _compose(docker)
    yield from _agents(docker, version)
    inspected = _inspected(docker, f"{INJECT}=true", SIDECAR_OF)
    seen = {str(one["Id"]): _inside(one) for one in inspected if one["State"]["Running"]}
    yield from containers(inspected, seen, ENVOY)
    yield from volumes((_run(docker, "volume", "ls", "-q", "--filter", "dangling=true") or "").split())


def _inspected(docker: str, *labels: str) -> list[dict[str, Any]]:
    ids: set[str] = set()
    for label in labels:
        ids |= set((_run(docker, "ps", "-aq", "--no-trunc", "--filter", f"label={label}") or "").split())
    return json.loads(_run(docker, "inspect", *sorted(ids)) or "[]") if ids else []


def _clock(docker: str) -> Iterator[Finding]:
    """All containers of an engine have its clock; it may be another machine's."""
    said = (_run(docker, "info", "-f", "{{.SystemTime}}") or "").strip()
    if said:
        behind = (
            time.time()
            - datetime.fromisoformat(said[:19] + said[-6:].replace("Z", "+00:00")[-6:]).timestamp()
        )
        if abs(behind) > 2:
            yield clock("the engine, as this machine sees it", behind)


def _agents(docker: str, version: str) -> Iterator[Finding]:
    found = _inspected(docker, f"{ROLE}=agent")
    statuses: dict[str, dict[str, Any] | None] = {}
    for one in found:
        if one["State"]["Running"]:
            said = _run(docker, "exec", one["Id"], "pylis", "docker", "status", "-o", "json", fails=True)
            try:
                statuses[one["Id"]] = json.loads(said or "")
            except ValueError:
                statuses[one["Id"]] = None
    yield from agents(found, statuses, version)


def _compose(docker: str) -> Finding:
    v2 = _run(docker, "compose", "version", "--short")
    if v2:
        return Finding(Level.WELL, "compose", f"docker compose {v2.strip()}")
    v1 = shutil.which("docker-compose")
    found = _run(v1, "version", "--short") if v1 else None
    if found:
        return Finding(Level.WELL, "compose", f"docker-compose {found.strip()}")
    return Finding(Level.WARNING, "compose", "not installed", "apt install docker-compose")


def _inside(container: dict[str, Any]) -> Inside:
    """Nothing is seen where this user, on this machine, cannot look."""
    nsenter, nft = shutil.which("nsenter"), shutil.which("nft")
    pid = container["State"]["Pid"]
    path = f"/proc/{pid}/ns/net"
    if os.geteuid() != 0 or nsenter is None or not os.path.exists(path):
        return Inside()
    enter = (nsenter, f"--net={path}")
    rules = None
    if nft is not None:
        listed = _run(*enter, nft, "list", "table", "inet", "pylis")
        rules = listed is not None and "out_guard" in listed
    server, name = _server(pid), str(container["Name"]).lstrip("/")
    if container["HostConfig"]["NetworkMode"] in _NO_NAMES or not server:
        return Inside(rules)
    return Inside(rules, _run(*enter, sys.executable, "-c", _ASK, server, name) is not None)


def _server(pid: int) -> str:
    """The first DNS server of a container; "" where it names none. Source: resolv.conf(5)"""
    try:
        lines = Path(f"/proc/{pid}/root/etc/resolv.conf").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    words = (line.split() for line in lines)
    return next((one[1] for one in words if len(one) > 1 and one[0] == "nameserver"), "")


def _run(*command: str, fails: bool = False) -> str | None:
    """None when it cannot be run, or fails; unless `fails`, for what answers in either case."""
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 or fails else None
