"""Keeps workloads running: for each its Envoy and its command, restarted when they end.

What runs is written to `processes.json` (pid, start time, what was asked for), so an agent that was killed
finds its children again: it restarts none of them, and ends those that nobody asks for any more.

    order of a stop: Envoy drains, the command ends, Envoy ends; so requests under way still find both
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
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
GRACE_SECONDS: Final = 5.0
TAIL_LINES: Final = 5
log = structlog.get_logger()


@dataclass(slots=True)
class Slot:
    """One supervised process of one workload. `detail` and `exit_code` tell of its last end."""

    spec: WorkloadSpec
    role: str  # "envoy" or "app"
    command: Callable[[], list[str]]
    current: Process | None = None
    restarts: int = 0
    state: str = "waiting"
    detail: str = ""
    exit_code: int | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """`ready(spec)` waits until a workload may start; `changed` is called when there is news."""

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
        """Starts what is new, stops what is gone or changed. If it is cancelled, `stop` still ends all."""
        wanted = {(s.full_name, role): (s, role) for s in specs for role in self._roles(s)}
        gone = [key for key, slot in self._slots.items() if key not in wanted or wanted[key][0] != slot.spec]
        strangers = self._adopt(wanted)
        await asyncio.gather(self._stop_all([self._slots[key] for key in gone]), *map(_end, strangers))
        for key in gone:
            del self._slots[key]
        for key, (spec, role) in wanted.items():
            slot = self._slots.setdefault(key, Slot(spec, role, self._command(spec, role)))
            if slot.task is None:
                slot.task = asyncio.ensure_future(self._keep(slot))
        self._save()

    async def stop(self) -> None:
        """Drains and ends everything."""
        await self._stop_all(list(self._slots.values()))
        self._slots.clear()
        with contextlib.suppress(FileNotFoundError):
            (self._directory / "processes.json").unlink()

    def missing(self, spec: WorkloadSpec) -> str:
        """Which of the workload's processes does not run, and why; "" when all do."""
        for role in self._roles(spec):
            slot = self._slots.get((spec.full_name, role))
            if slot is None or slot.current is None or not slot.current.is_alive:
                what = "its sidecar" if role == "envoy" else "its application"
                return f"{what} does not run"
        return ""

    def status(self) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for (name, role), slot in self._slots.items():
            entry = found.setdefault(name, {"namespace": slot.spec.namespace, "name": slot.spec.name})
            pid = slot.current.pid if slot.current and slot.current.is_alive else None
            entry[role] = {
                "pid": pid,
                "state": slot.state,
                "restarts": slot.restarts,
                "exitCode": slot.exit_code,
                "detail": slot.detail,
            }
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

    def _adopt(self, wanted: Mapping[tuple[str, str], tuple[WorkloadSpec, str]]) -> list[Process]:
        """Takes over what an earlier agent left running; returns what is wanted no more, or differently."""
        strangers: list[Process] = []
        remembered, self._remembered = self._remembered, {}
        for key, (pid, started, asked) in remembered.items():
            found = process.adopt(pid, started)
            if found is None:
                continue
            spec, role = wanted.get(key, (None, ""))
            if spec is None or _fingerprint(spec) != asked:
                strangers.append(found)
                continue
            self._slots[key] = Slot(spec, role, self._command(spec, role), found)
            log.info("process.adopted", workload=spec.full_name, role=role, pid=found.pid)
        return strangers

    async def _keep(self, slot: Slot) -> None:
        pause = FIRST_PAUSE
        while True:
            if slot.current is None:
                self._report(slot, "waiting", slot.detail or "for its identity")
                await self._ready(slot.spec)
                try:
                    slot.current = self._start(slot)
                except (OSError, ValueError) as error:
                    self._report(slot, "failed", f"cannot be started: {_why(error)}")
                    await asyncio.sleep(LONGEST_PAUSE)
                    continue
            self._report(slot, "running", slot.detail if slot.restarts else "")
            began = asyncio.get_running_loop().time()
            await slot.current.ended.wait()
            code, slot.current = slot.current.exit_code, None
            slot.exit_code = code
            detail = f"{_ending(code)}{_tail(slot)}"
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

    async def _stop_all(self, slots: list[Slot]) -> None:
        tasks = [slot.task for slot in slots if slot.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        sidecars = [slot for slot in slots if slot.role == "envoy"]
        await asyncio.gather(*(self._drain(slot) for slot in sidecars))
        await asyncio.gather(*(_end(slot.current) for slot in slots if slot.role == "app"))
        await asyncio.gather(*(_end(slot.current) for slot in sidecars))
        for slot in sidecars:
            envoy.forget(self._directory, slot.spec)

    async def _drain(self, slot: Slot) -> None:
        if slot.current is not None and slot.current.is_alive and self._drain_seconds > 0:
            await envoy.drain(envoy.admin_socket(self._directory, slot.spec), self._drain_seconds)

    def _report(self, slot: Slot, state: str, detail: str) -> None:
        if (slot.state, slot.detail) != (state, detail):
            slot.state, slot.detail = state, detail
            self._save()
            self._changed()

    def _save(self) -> None:
        running = {
            f"{name}:{role}:{_fingerprint(slot.spec)}": [slot.current.pid, slot.current.start_time]
            for (name, role), slot in self._slots.items()
            if slot.current is not None and slot.current.is_alive
        }
        try:
            write_private(self._directory / "processes.json", json.dumps(running).encode())
        except OSError as error:  # a full disk is no reason to stop a workload
            log.warning("processes.not_saved", error=error.strerror)


def environment() -> dict[str, str]:
    """What children inherit: everything but the agent's own settings, which may hold a token."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYLIS_")}


async def _end(running: Process | None) -> None:
    if running is not None:
        await running.stop(GRACE_SECONDS)


def _fingerprint(spec: WorkloadSpec) -> str:
    """Equal for equal wishes, in this agent and the next."""
    return hashlib.sha256(json.dumps(asdict(spec), sort_keys=True).encode()).hexdigest()[:16]


def _remembered(path: Path) -> dict[tuple[str, str], tuple[int, int, str]]:
    """(workload, role) → pid, start time, fingerprint of what was asked for."""
    try:
        written = {tuple(key.split(":")): value for key, value in json.loads(path.read_text()).items()}
        return {
            (name, role): (int(pid), int(at), asked) for (name, role, asked), (pid, at) in written.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _why(error: OSError | ValueError) -> str:
    return f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)


def _ending(code: int | None) -> str:
    if code is None:
        return "ended; it was taken over, so its exit code is unknown"
    return f"killed by signal {-code}" if code < 0 else f"exited with {code}"


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
