"""Watches the workloads that have a readiness probe, and tells of each whether it is ready; a task a workload."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from agent.readiness import Health, Probe, probe
from agent.workloads import WorkloadSpec

LEAVING: Final = "is stopping"
_STARTING_SECONDS: Final = 0.1  # between two looks while it is not ready
Told = tuple[tuple[str, str], ...]


class Watch:
    """`running(spec)`: why its processes are not all there, "" when they are; `configured(spec)`: its sidecar is.

    `tell` is called with all that is watched (`told`), whenever something of it changed.
    """

    def __init__(
        self,
        running: Callable[[WorkloadSpec], str],
        configured: Callable[[WorkloadSpec], Awaitable[bool]],
        tell: Callable[[Told], None],
    ) -> None:
        self._running = running
        self._configured = configured
        self._tell = tell
        self._health: dict[str, Health] = {}
        self._tasks: dict[str, tuple[WorkloadSpec, asyncio.Task[None]]] = {}
        self.told: Told = ()
        self._leaving = False

    def follow(self, specs: Iterable[WorkloadSpec]) -> None:
        """These, and no others, from now on."""
        wanted = {spec.full_name: spec for spec in specs if spec.readiness is not None}
        for name in [name for name, (spec, _) in self._tasks.items() if wanted.get(name) != spec]:
            self._tasks.pop(name)[1].cancel()
            del self._health[name]
        for name, spec in wanted.items():
            if name not in self._tasks and spec.readiness is not None:
                self._health[name] = Health(spec.readiness.failure_threshold)
                self._tasks[name] = (spec, asyncio.ensure_future(self._look(spec, spec.readiness)))
        self._say()

    def processes_changed(self) -> None:
        """A process that ended is known at once; what it takes to be ready again is found by looking."""
        for name, (spec, _) in self._tasks.items():
            if why := self._running(spec):
                self._health[name].stopped(why)
        self._say()

    def leave(self) -> None:
        """Nothing is ready any more: to be said before anything stops."""
        self._leaving = True
        self._say()

    async def stop(self) -> None:
        tasks = [task for _, task in self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _look(self, spec: WorkloadSpec, what: Probe) -> None:
        health = self._health[spec.full_name]
        while True:
            if why := self._running(spec):
                health.stopped(why)
            elif health.reason and not await self._configured(spec):
                health.stopped("its sidecar is not configured yet")
            else:
                health.answered(await probe(what))
            self._say()
            await asyncio.sleep(min(what.period, _STARTING_SECONDS) if health.reason else what.period)

    def _say(self) -> None:
        now = tuple(
            sorted((name, LEAVING if self._leaving else one.reason) for name, one in self._health.items())
        )
        if now != self.told:
            self.told = now
            self._tell(now)
