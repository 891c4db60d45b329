"""Keeps every labelled container behind a sidecar: looks at all there is, and does what is missing.

    order for one container   rules, report, identity, sidecar
    so                        nothing of it leaves in plain text, and its sidecar finds its identity at once

An event only says when to look (and loads the rules of a container that has just started, ahead of the rest). What
is there is believed, never what was remembered: a restart of the agent or of the engine is one more look.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from agent.docker import namespace, sidecar
from agent.docker.container import (
    AGENT,
    SIDECAR_OF,
    STARTED,
    Container,
    Unfit,
    addresses,
    is_app,
    reported,
    unfit,
)
from agent.docker.engine import Engine, EngineError, EngineReplacedError
from agent.docker.namespace import NamespaceError
from agent.docker.reconcile import plan
from agent.docker.sidecar import Node, Wanted
from agent.holdings import Holdings
from ca.node_report import FoundWorkload

LOOK_SECONDS: Final = 30.0
FAILED_SECONDS: Final = 1.0
IDENTITY_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 5.0
SETTLE_PAUSE: Final = 0.2
AT_ONCE: Final = 4  # sidecars made side by side
_ONE_MESH: Final = "give each agent of an engine a mesh of its own (--mesh NAME, and the label pylis.io/mesh)"
log = structlog.get_logger()


@dataclass(slots=True)
class Meshed:
    """What stands for one container; `problem` "" when all is well."""

    container: Container
    workload: FoundWorkload
    problem: str = ""


class Mesher:
    """`report` is told all workloads; `changed` is called after each look. `load(pid, address)` loads the rules."""

    def __init__(
        self,
        engine: Engine,
        node: Node,
        holdings: Holdings,
        report: Callable[[tuple[FoundWorkload, ...]], None],
        changed: Callable[[], None],
        load: Callable[[int, str], None] = namespace.load,
    ) -> None:
        self._load = load
        self._engine = engine
        self._node = node
        self._holdings = holdings
        self._report = report
        self._changed = changed
        self._wake = asyncio.Event()
        self._ruled: dict[str, str] = {}  # container id → the life of it whose rules are loaded
        self._known: dict[str, frozenset[str]] = {}  # container id → selectors of its processes
        self._ended = threading.Event()
        self._in_hand: set[asyncio.Future[None]] = set()  # what the engine is asked to make or remove
        self.meshed: dict[str, Meshed] = {}
        self.unfit: tuple[Unfit, ...] = ()
        self.error = ""

    def selectors_of(self, container: str) -> frozenset[str]:
        """Of an app, its own; of a sidecar, its app's; of any other container, none."""
        return self._known.get(container, frozenset())

    async def run(self) -> None:
        """Until cancelled. Raises: EngineReplacedError."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop,), daemon=True, name="engine-events").start()
        try:
            await self._keep()
        finally:
            self._ended.set()

    async def _keep(self) -> None:
        pause = 0.0
        while True:
            self._wake.clear()
            try:
                complete = await self._look()
                self.error, pause = "", (LOOK_SECONDS if complete else FAILED_SECONDS)
            except EngineReplacedError:
                raise
            except EngineError as error:
                self.error, pause = str(error), FAILED_SECONDS
                log.warning("engine.failed", error=str(error))
            self._changed()
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def settle(self) -> None:
        """At the end: what has no app any more goes; what has one stays, so that it can go on without this agent."""
        await asyncio.gather(*self._in_hand, return_exceptions=True)
        end = asyncio.get_running_loop().time() + SETTLE_SECONDS
        while True:
            try:
                running = {app.id for app in await asyncio.to_thread(self._engine.apps, self._node.mesh)}
                for one in await asyncio.to_thread(self._engine.sidecars, self._node.owner):
                    if one.labels[SIDECAR_OF] not in running:
                        await asyncio.to_thread(self._engine.remove, one.id)
            except EngineReplacedError:
                return
            except EngineError as error:  # as for one that the engine removes already: look again
                log.warning("engine.failed", error=str(error))
            else:
                return
            if asyncio.get_running_loop().time() > end:
                return
            await asyncio.sleep(SETTLE_PAUSE)

    async def _do(self, call: Callable[..., None], *arguments: Any) -> None:
        """In a thread, which goes on to its end when this is cancelled: `settle` waits for it."""
        doing = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
        self._in_hand.add(doing)
        doing.add_done_callback(self._in_hand.discard)
        await asyncio.shield(doing)

    async def _look(self) -> bool:
        """Is everything done that there was to do?"""
        apps = await asyncio.to_thread(self._engine.apps, self._node.mesh)
        refused = {app.id: why for app in apps if (why := unfit(app)) is not None}
        for why in set(refused.values()) - set(self.unfit):
            log.warning("container.unfit", container=why.container, reason=why.reason)
        self.unfit = tuple(refused.values())
        fit = [app for app in apps if app.id not in refused]
        ruled = await asyncio.gather(*(asyncio.to_thread(self._rule, app) for app in fit))
        meshed = {
            app.id: Meshed(app, reported(app, ipv6=namespace.has_ipv6(app.pid)), problem)
            for app, problem in zip(fit, ruled, strict=True)
        }
        self._known |= {one.container.id: one.container.selectors for one in meshed.values()}
        self.meshed = meshed
        self._ruled = {id_: life for id_, life in self._ruled.items() if id_ in meshed}
        self._report(
            tuple(sorted((m.workload for m in meshed.values()), key=lambda w: (w.namespace, w.name)))
        )
        wanted = {one.container.id: self._wanted(one) for one in meshed.values() if not one.problem}
        return await self._place(wanted) and not any(ruled)

    def _rule(self, app: Container) -> str:
        """Loads the rules of a life of a container once; what went wrong, or ""."""
        if self._ruled.get(app.id) == app.started:
            return ""
        try:
            self._load(app.pid, addresses(app)[0])
        except NamespaceError as error:
            log.warning("rules.failed", container=app.name, error=str(error))
            return str(error)
        self._ruled[app.id] = app.started
        log.info("rules.loaded", container=app.name)
        return ""

    def _wanted(self, one: Meshed) -> Wanted:
        w = one.workload
        return sidecar.wanted(one.container, w.namespace, w.name, w.service_account, self._node)

    async def _place(self, wanted: dict[str, Wanted]) -> bool:
        there = await asyncio.to_thread(self._engine.sidecars, self._node.owner)
        for one in there:
            if (app := one.labels[SIDECAR_OF]) in self.meshed:
                self._known[one.id] = self._known[app]
        actions = plan(wanted, there)
        for gone in actions.remove:
            await self._do(self._engine.remove, gone)
        kept = {one.id for one in there} - set(actions.remove)
        self._known = {id_: known for id_, known in self._known.items() if id_ in kept or id_ in self.meshed}
        limit = asyncio.Semaphore(AT_ONCE)

        async def make(app: str, want: Wanted) -> bool:
            async with limit:
                return await self._make(app, want)

        return all(await asyncio.gather(*(make(app, want) for app, want in actions.make.items())))

    async def _make(self, app: str, want: Wanted) -> bool:
        meshed = self.meshed[app]
        if not await self._has_identity(self._known[app]):
            meshed.problem = "the control plane gives it no identity yet"
            return False

        def ready(made: str) -> None:
            self._known[made] = self._known[app]

        try:
            if owner := await self._others(meshed.container, want):
                meshed.problem = f"behind the sidecar of another agent ({owner}): {_ONE_MESH}"
                return True  # nothing to do about it here; its going is an event
            await self._do(self._engine.make, want, ready)
        except EngineError as error:
            meshed.problem = f"its sidecar cannot be made: {error}"
            log.warning("sidecar.failed", container=meshed.container.name, error=str(error))
            return False
        meshed.problem = ""
        log.info("sidecar.started", container=meshed.container.name)
        return True

    async def _others(self, app: Container, want: Wanted) -> str:
        """Who holds the place of its sidecar, when another agent serves it there; what serves nobody is removed.

        Raises: EngineError.
        """
        there = await asyncio.to_thread(self._engine.container, want.name)
        if there is None:
            return ""
        owner = there.labels.get(AGENT, "no agent")
        if owner != self._node.owner and there.running and there.labels.get(STARTED) == app.started:
            return owner
        await self._do(self._engine.remove, there.id)
        return ""

    async def _has_identity(self, wanted: frozenset[str]) -> bool:
        """Waits a while for what was just reported to come back as an SVID."""
        wake = asyncio.Event()
        self._holdings.wait(wake)
        try:
            async with asyncio.timeout(IDENTITY_SECONDS):
                while not self._holdings.of(wanted):
                    await wake.wait()
                    wake.clear()
        except TimeoutError:
            return False
        finally:
            self._holdings.stop_waiting(wake)
        return True

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """A thread of its own: the engine's events, again and again."""
        while not self._ended.is_set():
            try:
                for what, container, labels in self._engine.events():
                    if what == "start" and is_app(labels, self._node.mesh):
                        self._rule_early(container)
                    loop.call_soon_threadsafe(self._wake.set)
            except EngineError as error:
                log.info("engine.events", error=str(error))
            except RuntimeError:
                return  # the loop has ended
            self._ended.wait(FAILED_SECONDS)

    def _rule_early(self, container: str) -> None:
        try:
            app = self._engine.container(container)
        except EngineError:
            return
        if app is not None and app.running and unfit(app) is None:
            self._rule(app)


def status(mesher: Mesher) -> dict[str, Any]:
    """For the status file."""
    return {
        "containers": [
            {
                "name": one.container.name, "workload": f"{one.workload.namespace}/{one.workload.name}",
                "problem": one.problem,
            }
            for one in mesher.meshed.values()
        ],
        "unfit": [{"name": one.container, "problem": one.reason} for one in mesher.unfit],
        "engine": mesher.error,
    }  # fmt: skip
