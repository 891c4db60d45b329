"""Lost, doubled and reordered events, and restarts, change nothing: the controllers end where they would have ended.

The real controllers on the real stores: the same writes with an event log that is whole, and with one that is not.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.access import Caller
from controlplane.api.authorization import Authorization
from controlplane.api.errors import ApiError
from controlplane.api.target import Options, Target
from controlplane.api.writes import Author, Writes
from controlplane.collector import Collector
from controlplane.first_start import put_objects
from controlplane.mesh.live import Affected
from controlplane.reconcile import Reconciler
from controlplane.resources.kinds import by_word
from controlplane.state import MeshState
from controlplane.status import StatusWriter
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Event, GoneError, Key, Store
from controlplane.store.sqlite import SqliteStore
from controlplane.tallies import Tallies
from policies.workload import MeshSettings
from xds.ledger import Ledger
from xds.plan import AccessLog

SETTINGS = MeshSettings("example.org")
AUTHOR = Author(Caller("test"), Options(False, "test", "Ignore", False), trusted=True)
WHEN = datetime(2026, 11, 26, tzinfo=UTC)


class Unreliable:
    """Before a store: its log loses, doubles and reorders what it tells, as `faults` say, one a call."""

    faults: list[str]

    def changes(self, after: int) -> Sequence[Event]:
        events = list(super().changes(after))  # type: ignore[misc]
        match self.faults.pop(0) if self.faults else "none":
            case "first":
                return events[1:]
            case "last":
                return events[:-1]
            case "all":
                return []
            case "double":
                return [event for event in events for _ in range(2)]
            case "old again":
                return [*events, *events[:1]]
            case "reversed":
                return events[::-1]
            case "gone":
                raise GoneError("the log was cut")
            case _:
                return events


class UnreliableMemory(Unreliable, MemoryStore):
    pass


class UnreliableFile(Unreliable, SqliteStore):
    pass


def an_entry(name: str, **spec: Any) -> dict[str, Any]:
    sidecar = {"pylis.io/sidecar": '{"inbound": {"http": "127.0.0.1:9001"}}'}
    spec = {"address": "10.0.0.1", "ports": {"http": 8080}, "labels": {"app": name[0]}, **spec}
    return {"metadata": {"name": name, "annotations": sidecar}, "spec": {"serviceAccount": name[0], **spec}}


def a_service(name: str, host: str, app: str) -> dict[str, Any]:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    selector = {"labels": {"app": app}}
    return {
        "metadata": {"name": name},
        "spec": {"hosts": [host], "ports": ports, "workloadSelector": selector},
    }


def a_policy(name: str, app: str, principal: str, **spec: Any) -> dict[str, Any]:
    rules = [{"from": [{"source": {"principals": [principal]}}]}]
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": app}}, "rules": rules, **spec},
    }


A, B = "example.org/ns/shop/sa/a", "example.org/ns/shop/sa/b"
# what is written through the API, some of it in conflict, some of it naming what is not there
WRITTEN: list[tuple[str, str, dict[str, Any]]] = [
    ("we", "shop", an_entry("a1")),
    ("we", "shop", an_entry("b1")),
    ("we", "shop", an_entry("b1", labels={"app": "a"})),
    ("we", "ops", an_entry("a1")),
    ("se", "shop", a_service("a", "a.shop", "a")),
    ("se", "shop", a_service("b", "b.shop", "b")),
    ("se", "shop", a_service("rival", "a.shop", "b")),
    ("se", "ops", a_service("a", "a.shop", "a")),
    ("se", "shop", a_service("nothing", "n.shop", "nothing")),
    ("ap", "shop", a_policy("p", "a", A)),
    ("ap", "shop", a_policy("p", "b", B)),
    ("ap", "shop", a_policy("q", "nothing", "example.org/ns/no/sa/body")),
    ("ap", "istio-system", a_policy("p", "b", B, action="DENY")),
    ("ap", "shop", a_policy("custom", "a", A, action="CUSTOM", provider={"name": "undeclared"})),
    ("pa", "shop", {"metadata": {"name": "m"}, "spec": {"mtls": {"mode": "STRICT"}}}),
    ("pa", "shop", {"metadata": {"name": "n"}, "spec": {"mtls": {"mode": "PERMISSIVE"}}}),
    ("quarantine", "", {"metadata": {"name": "z"}, "spec": {"spiffeIDs": [f"spiffe://{A}"]}}),
]
# what another version left in the store
FOREIGN: list[tuple[str, str, dict[str, Any]]] = [
    ("ap", "shop", {"metadata": {"name": "p"}, "spec": {"action": "FROM_THE_FUTURE"}}),
    ("ap", "shop", {"metadata": {"name": "q"}, "spec": {"rules": "none"}}),
    ("se", "shop", {"metadata": {"name": "a"}, "spec": {"hosts": 7}}),
    ("we", "shop", {"metadata": {"name": "a1"}, "spec": {}}),
    ("pa", "shop", {"metadata": {"name": "m"}}),
]


@dataclass(frozen=True)
class Op:
    """`number` in WRITTEN or FOREIGN; or the kind of operation alone."""

    what: str
    number: int = 0


operations = st.one_of(
    st.builds(Op, st.just("write"), st.integers(0, len(WRITTEN) - 1)),
    st.builds(Op, st.just("write"), st.integers(0, len(WRITTEN) - 1)),
    st.builds(Op, st.just("write"), st.integers(0, len(WRITTEN) - 1)),
    st.builds(Op, st.just("delete"), st.integers(0, len(WRITTEN) - 1)),
    st.builds(Op, st.just("foreign"), st.integers(0, len(FOREIGN) - 1)),
    st.builds(Op, st.just("own"), st.integers(0, len(WRITTEN) - 1)),
    st.builds(Op, st.just("agent"), st.integers(0, 2)),
    st.just(Op("end of shop")),
    st.just(Op("start of shop")),
)
batches = st.lists(st.lists(operations, min_size=1, max_size=5), min_size=1, max_size=6)
faults = st.lists(
    st.sampled_from(["none", "first", "last", "all", "double", "old again", "reversed", "gone"]), max_size=40
)
restarts = st.sets(st.integers(0, 5), max_size=2)


@dataclass
class Plane:
    """The controllers of one server on one store; sidecars of all workloads, which take what they are told."""

    store: Store
    state: MeshState = field(init=False)

    def __post_init__(self) -> None:
        self.authorization = Authorization(self.store, SETTINGS.root_namespace)
        self.writes = Writes(self.store, self.authorization)
        self.restart()

    def restart(self) -> None:
        self.state = MeshState(SETTINGS, AccessLog.DENIED)
        self.ledger = Ledger()
        self.told: set[str] = set()
        self.reconciler = Reconciler(self.store, self.state, self._changed)
        self.collector = Collector(self.store, self.writes)
        self.status = StatusWriter(self.store, self.writes, Tallies(self.store, self.ledger).look, self.state)

    def _changed(self, affected: Affected, revision: int) -> None:
        self.ledger.advance(revision, affected.nodes)
        for node in self.told - set(self.state.node_ids):
            self.ledger.disconnected(node, WHEN)
        for node in set(self.state.node_ids) - self.told:
            self.ledger.connected(node, "", None, WHEN)
        self.told = set(self.state.node_ids)
        for node in self.told & affected.nodes:
            self.ledger.offered(node, *self.state.snapshot(node))
        for node in self.told:
            self.ledger.settled(node, {})

    async def settle(self) -> None:
        """Each controller once for its own changes, and once for those of the others."""
        for _ in range(2):
            await self.collector.step()
            await self.reconciler.step()
            await self.status.step()

    async def do(self, op: Op) -> None:
        try:
            await self._do(op)
        except ApiError as error:
            assert error.code in (403, 404, 409, 422), error

    async def _do(self, op: Op) -> None:
        if op.what == "agent":
            key = Key("agents.internal", "", f"agent-{op.number}")
            if await self.store.take(key) is None:
                record = {"name": key.name, "method": "", "selectors": [], "serial": "", "attested": ""}
                await self.store.create(key, {**record, "next_serial": "", "banned": "", "source": ""})
            return
        if op.what.endswith("shop"):
            target = Target(by_word("namespaces"), "", "shop")  # type: ignore[arg-type]
            if op.what.startswith("end"):
                await self.writes.delete(target, AUTHOR)
            else:
                await self.writes.create(target, {"metadata": {"name": "shop"}}, AUTHOR)
            return
        word, namespace, body = (FOREIGN if op.what == "foreign" else WRITTEN)[op.number]
        kind = by_word(word)
        assert kind is not None
        target = Target(kind, namespace, body["metadata"]["name"])
        old = await self.store.get(target.key)
        match op.what:
            case "delete":
                await self.writes.delete(target, AUTHOR)
            case "foreign" if old is not None:
                metadata = old.value["metadata"]
                generation = {"generation": metadata["generation"] + 1}
                await self.store.replace(target.key, {**body, "metadata": {**metadata, **generation}})
            case "own" if old is not None:
                owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone"}
                patch = {"metadata": {"ownerReferences": [owner]}}
                await self.writes.patch(target, "application/merge-patch+json", patch, AUTHOR)
            case "write" if old is not None:
                await self.writes.replace(target, body, AUTHOR)
            case "write":
                await self.writes.create(target, body, AUTHOR)
            case _:
                pass

    async def ended(self) -> dict[str, Any]:
        """All that must not depend on how events came: what is stored, said, and told to proxies."""
        stored: dict[str, Any] = {}
        for word in ("ns", "ap", "pa", "se", "we", "quarantine"):
            kind = by_word(word)
            assert kind is not None
            for record in (await self.store.list(kind.resource))[0]:
                value = record.value
                said = value.get("status", {}).get("conditions", [])
                conditions = [{f: v for f, v in c.items() if f != "lastTransitionTime"} for c in said]
                marked = "deletionTimestamp" in value["metadata"]
                stored[str(record.key)] = (
                    value["metadata"].get("generation"),
                    marked,
                    value.get("spec"),
                    conditions,
                )
        nodes = sorted(self.state.node_ids)
        told = {node: self.state.snapshot(node)[1] for node in nodes}
        policy = await self.authorization.policy()
        return {
            "stored": stored,
            "told": told,
            "policy": policy,
            "nodes": nodes,
            "revoked": self.state.revocations,
        }


async def run(store: Store, steps: Sequence[Sequence[Op]], again: set[int]) -> dict[str, Any]:
    await put_objects(store, SETTINGS.root_namespace)
    plane = Plane(store)
    for name in ("shop", "ops"):
        namespace = Target(by_word("namespaces"), "", name)  # type: ignore[arg-type]
        await plane.writes.create(namespace, {"metadata": {"name": name}}, AUTHOR)
    for number, step in enumerate(steps):
        for op in step:
            await plane.do(op)
        if number in again:
            plane.restart()
        await plane.settle()
    return await plane.ended()


def check(whole: MemoryStore, broken: Store, steps: Sequence[Sequence[Op]], again: set[int]) -> None:
    async def both() -> None:
        assert await run(broken, steps, again) == await run(whole, steps, set())

    asyncio.run(both())


@settings(max_examples=30, deadline=None)
@given(batches, faults, restarts)
def test_a_broken_log_changes_nothing(steps: list[list[Op]], faulty: list[str], again: set[int]) -> None:
    broken = UnreliableMemory()
    broken.faults = [*faulty]
    check(MemoryStore(), broken, steps, again)


@settings(max_examples=5, deadline=None)
@given(batches, faults, restarts)
def test_nor_does_it_over_a_file(steps: list[list[Op]], faulty: list[str], again: set[int]) -> None:
    async def both() -> None:
        with tempfile.TemporaryDirectory() as directory:
            broken = await UnreliableFile.open(Path(directory) / "store.db")
            broken.faults = [*faulty]
            try:
                assert await run(broken, steps, again) == await run(MemoryStore(), steps, set())
            finally:
                await broken.close()

    asyncio.run(both())
