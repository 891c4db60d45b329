"""Keeps workloads running: for each its Envoy and its command, restarted when they end, taken over after a crash.

What runs is written to `processes.json` (pid and start time), so an agent that was killed finds its children again
and restarts none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from agent import envoy, process
from agent.process import Process
from agent.workloads import WorkloadSpec
from ca.keystore import write_private

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
HEALTHY_SECONDS: Final = 30.0
TAIL_LINES: Final = 5
log = structlog.get_logger()


@dataclass(slots=True)
class Slot:
    """One supervised process of one workload."""

    spec: WorkloadSpec
    role: str  # "envoy" or "app"
    command: Callable[[], list[str]]
    current: Process | None = None
    restarts: int = 0
    state: str = "waiting"
    detail: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """`ready(spec)` waits until a workload may start; `changed` is called when something worth reporting happens."""

    def __init__(
        self,
        directory: Path,
        envoy_command: Callable[[WorkloadSpec], list[str]] | None,
        environment: Mapping[str, str],
        ready: Callable[[WorkloadSpec], Any],
        changed: Callable[[], None],
        drain_seconds: float,
    ) -> None:
        self._directory = directory
        self._envoy_command = envoy_command
        self._environment = environment
        self._ready = ready
        self._changed = changed
        self._drain_seconds = drain_seconds
        self._slots: dict[tuple[str, str], Slot] = {}
        self._remembered = _remembered(directory / "processes.json")

    def workload_of_session(self, session: int) -> tuple[str, str] | None:
        """Every process is the leader of its own session: its pid is the session's id."""
        for slot in self._slots.values():
            if slot.current is not None and slot.current.is_alive and slot.current.pid == session:
                return slot.spec.namespace, slot.spec.name
        return None

    async def apply(self, specs: tuple[WorkloadSpec, ...]) -> None:
        """Starts what is new, stops what is gone or changed."""
        wanted = {(s.full_name, role): (s, role) for s in specs for role in self._roles(s)}
        gone = [key for key, slot in self._slots.items() if key not in wanted or wanted[key][0] != slot.spec]
        await asyncio.gather(*(self._stop(self._slots.pop(key)) for key in gone))
        for key, (spec, role) in wanted.items():
            if key not in self._slots:
                slot = self._slots[key] = Slot(spec, role, self._command(spec, role))
                slot.current = self._adopt(spec, role)
                slot.task = asyncio.ensure_future(self._keep(slot))
        self._save()

    async def stop(self) -> None:
        """Drains and ends everything."""
        slots, self._slots = list(self._slots.values()), {}
        await asyncio.gather(*(self._stop(slot) for slot in slots))
        with contextlib.suppress(FileNotFoundError):
            (self._directory / "processes.json").unlink()

    def status(self) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for (name, role), slot in self._slots.items():
            entry = found.setdefault(name, {"namespace": slot.spec.namespace, "name": slot.spec.name})
            pid = slot.current.pid if slot.current and slot.current.is_alive else None
            entry[role] = {"pid": pid, "state": slot.state, "restarts": slot.restarts, "detail": slot.detail}
        return list(found.values())

    def _roles(self, spec: WorkloadSpec) -> list[str]:
        envoy_role = ["envoy"] if spec.sidecar and self._envoy_command else []
        return [*envoy_role, *(["app"] if spec.command else [])]

    def _command(self, spec: WorkloadSpec, role: str) -> Callable[[], list[str]]:
        if role == "app":
            return lambda: list(spec.command)
        make = self._envoy_command
        if make is None:
            raise ValueError("no Envoy in this agent")
        return lambda: make(spec)

    def _adopt(self, spec: WorkloadSpec, role: str) -> Process | None:
        remembered = self._remembered.pop(f"{spec.full_name}:{role}", None)
        if remembered is None:
            return None
        found = process.adopt(*remembered)
        if found is not None:
            log.info("process.adopted", workload=spec.full_name, role=role, pid=found.pid)
        return found

    async def _keep(self, slot: Slot) -> None:
        pause = FIRST_PAUSE
        while True:
            if slot.current is None:
                self._report(slot, "waiting", "for its identity")
                await self._ready(slot.spec)
                try:
                    slot.current = self._start(slot)
                except OSError as error:
                    self._report(slot, "failed", f"cannot be started: {error.strerror}: {error.filename}")
                    await asyncio.sleep(LONGEST_PAUSE)
                    continue
            self._report(slot, "running", "")
            began = asyncio.get_running_loop().time()
            await slot.current.ended.wait()
            code, slot.current = slot.current.exit_code, None
            detail = f"exited with {'unknown code' if code is None else code}{_tail(slot)}"
            log.warning("process.ended", workload=slot.spec.full_name, role=slot.role, code=code)
            if not slot.spec.restart and slot.role == "app":
                self._report(slot, "ended", detail)
                return
            if asyncio.get_running_loop().time() - began > HEALTHY_SECONDS:
                pause = FIRST_PAUSE
            slot.restarts += 1
            self._report(slot, "restarting", detail)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _start(self, slot: Slot) -> Process:
        logs = slot.spec.logs
        if slot.role == "envoy":
            started = process.start(
                slot.command(), self._environment, "", logs.get("access", ""), logs.get("envoy", "")
            )
        else:
            env = {**self._environment, **slot.spec.env}
            log_path = logs.get("app", "")
            started = process.start(slot.command(), env, slot.spec.cwd, log_path, log_path)
        log.info("process.started", workload=slot.spec.full_name, role=slot.role, pid=started.pid)
        return started

    async def _stop(self, slot: Slot) -> None:
        if slot.task is not None:
            slot.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await slot.task
        if slot.current is None or not slot.current.is_alive:
            return
        if slot.role == "envoy" and self._drain_seconds > 0:
            await envoy.drain(envoy.admin_socket(self._directory, slot.spec), self._drain_seconds)
        await slot.current.stop(5.0)

    def _report(self, slot: Slot, state: str, detail: str) -> None:
        if (slot.state, slot.detail) != (state, detail):
            slot.state, slot.detail = state, detail
            self._save()
            self._changed()

    def _save(self) -> None:
        running = {
            f"{name}:{role}": [slot.current.pid, slot.current.start_time]
            for (name, role), slot in self._slots.items()
            if slot.current is not None and slot.current.is_alive
        }
        write_private(self._directory / "processes.json", json.dumps(running).encode())


def environment() -> dict[str, str]:
    """What children inherit: everything but the agent's own settings, which may hold a token."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYLIS_")}


def _remembered(path: Path) -> dict[str, tuple[int, int]]:
    try:
        return {name: (int(pid), int(start)) for name, (pid, start) in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _tail(slot: Slot) -> str:
    """The last lines of the log: usually they say why."""
    path = slot.spec.logs.get("app" if slot.role == "app" else "envoy", "")
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except (OSError, ValueError):
        return ""
    return "".join(f"\n    {line}" for line in lines[-TAIL_LINES:])
