"""Who a caller of the socket is, as selectors: the kernel, the agent's own children, systemd, the Docker engine.

What costs (hashing an executable, asking the engine) is done only where a registration looks at it, once for a
caller, and never blocks the loop. What was read counts only if the caller still runs afterwards: the pid was
not somebody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

from agent.caller import Caller, Sessions
from agent.docker_engine import DockerEngine, EngineError
from agent.process import session
from ca.attest import cgroup, docker, supervised, unix

MAX_EXECUTABLE: Final = 1 << 30
_CHUNK: Final = 1 << 20
_MAX_HASHES: Final = 1024
log = structlog.get_logger()


class WorkloadAttestation:
    """`wanted()` are the selectors that registrations look at."""

    def __init__(
        self, sessions: Sessions, wanted: Callable[[], Iterable[str]], engine: DockerEngine | None = None
    ) -> None:
        self._sessions = sessions
        self._wanted = wanted
        self._engine = engine or DockerEngine()
        self._hashes: dict[tuple[int, int, int, int], str] = {}  # of executables, by identity of the file

    async def selectors(self, caller: Caller) -> frozenset[str]:
        """Empty when the process is gone or unknown."""
        if caller.pid <= 0 or caller.pidfd < 0:
            return frozenset()
        found = unix.selectors(caller.facts())
        workload = self._sessions(session(caller.pid) or 0)
        if workload is not None:
            found |= supervised.selectors(*workload)
        wanted = {kind for selector in self._wanted() if (kind := _costly(selector))}
        if "unix:sha256" in wanted:
            found |= await self._sha256(caller.pid)
        if wanted & {"systemd", "docker"}:
            found |= await self._group(caller, ask_engine="docker" in wanted)
        return found if caller.is_alive else frozenset()

    async def _sha256(self, pid: int) -> frozenset[str]:
        """Of the file that runs, whatever stands at its path by now."""
        try:
            digest = await asyncio.to_thread(self._hash, pid)
        except OSError:
            return frozenset()
        return frozenset({f"unix:sha256:{digest}"}) if digest else frozenset()

    def _hash(self, pid: int) -> str:
        with Path(f"/proc/{pid}/exe").open("rb") as file:
            stat = os.fstat(file.fileno())
            key = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_ctime_ns)  # a ctime cannot be set back
            if stat.st_size > MAX_EXECUTABLE:
                return ""
            if key not in self._hashes:
                digest = hashlib.sha256()
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                if len(self._hashes) >= _MAX_HASHES:
                    self._hashes.clear()
                self._hashes[key] = digest.hexdigest()
            return self._hashes[key]

    async def _group(self, caller: Caller, *, ask_engine: bool) -> frozenset[str]:
        text = _cgroup(caller.pid)
        found = cgroup.unit_selectors(text)
        claimed = cgroup.container_id(text)
        if not claimed or not ask_engine:
            return found
        if caller.container is None or caller.container[0] != claimed:
            said = await self._container(claimed, text)
            if said is None:
                return found
            caller.container = (claimed, said)
        return found | caller.container[1]

    async def _container(self, claimed: str, text: str) -> frozenset[str] | None:
        """What the engine says of it, if the caller stands where that container does; None: ask again later."""
        try:
            container = await self._engine.container(claimed)
            first = docker.first_process(container)
            if not first or not cgroup.is_within(text, _cgroup(first)):
                log.warning("caller.container_not_confirmed", container=claimed[:12])
                return None
            image = await self._engine.image(docker.image_id(container))
        except EngineError as error:
            log.warning("docker.not_asked", error=str(error))
            return None
        return docker.selectors(container, image)


def _costly(selector: str) -> str:
    """The kind of a selector that is not read for nothing; "" for any other."""
    kind, _, rest = selector.partition(":")
    if kind == "unix":
        return "unix:sha256" if rest.startswith("sha256:") else ""
    return kind if kind in ("docker", "systemd") else ""


def _cgroup(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cgroup").read_text(errors="replace")
    return ""
