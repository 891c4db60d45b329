"""A workload with thousands of rules keeps nobody waiting. That edits end right is in tests/property/test_level_triggered.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.mesh.live import Affected
from controlplane.reconcile import Reconciler
from controlplane.state import MeshState
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Key
from policies.workload import MeshSettings
from xds.plan import AccessLog

POLICIES = "authorizationpolicies.security.istio.io"
NETWORKING = "networking.istio.io"
PORTS = [{"number": 80, "name": "http", "protocol": "HTTP"}]


class Plane:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.state = MeshState(MeshSettings("example.org"), AccessLog.DENIED)
        self.told: list[Affected] = []
        self.begin_anew()

    def begin_anew(self) -> None:
        """So that no earlier batch is waited out."""
        self.reconciler = Reconciler(self.store, self.state, lambda affected, _: self.told.append(affected))

    async def put(self, resource: str, name: str, spec: dict[str, Any], **annotations: str) -> None:
        value = {"metadata": {"name": name, "namespace": "shop", "annotations": annotations}, "spec": spec}
        key = Key(resource, "shop", name)
        if await self.store.get(key) is None:
            await self.store.create(key, value)
        else:
            await self.store.replace(key, value)

    async def entry(self, app: str) -> None:
        entry = {"address": "10.0.0.1", "serviceAccount": app, "labels": {"app": app}}
        layout = '{"inbound": {"http": "127.0.0.1:1"}}'
        await self.put(f"workloadentries.{NETWORKING}", app, entry, **{"pylis.io/sidecar": layout})

    async def service(self, app: str) -> None:
        service = {"hosts": [f"{app}.shop"], "ports": PORTS, "workloadSelector": {"labels": {"app": app}}}
        await self.put(f"serviceentries.{NETWORKING}", app, service)

    async def rules(self, app: str, name: str, count: int, path: str = "/") -> None:
        rules = [
            {"from": [{"source": {"principals": [f"example.org/ns/shop/sa/{name}-{n}"]}}], "to": [{"operation": {"paths": [path]}}]}
            for n in range(count)
        ]  # fmt: skip
        await self.put(POLICIES, name, {"selector": {"matchLabels": {"app": app}}, "rules": rules})


@pytest.fixture
async def plane() -> Plane:
    """`orders` has 4 policies of 500 rules, `db` one of one."""
    one = Plane()
    for app in ("orders", "db"):
        await one.entry(app)
        await one.service(app)
    await one.rules("db", "db", 1)
    for n in range(4):
        await one.rules("orders", f"big-{n}", 500)
    await one.reconciler.once()
    assert one.state.snapshot("shop/orders")[1].size_bytes > 100_000
    one.told.clear()
    return one


async def turns(until: asyncio.Future[Any]) -> int:
    """How often others come to run meanwhile."""
    count = 0
    while not until.done():
        await asyncio.sleep(0)
        count += 1
    return count


async def test_reading_and_lowering_a_large_policy_is_done_beside_the_loop(plane: Plane) -> None:
    await plane.rules("orders", "big-2", 500, "/new")
    step = asyncio.ensure_future(plane.reconciler.step())
    assert await turns(step) > 20
    assert [affected.nodes for affected in plane.told] == [{"shop/orders"}]


async def test_a_workload_that_comes_to_large_policies_is_prepared_beside_the_loop(plane: Plane) -> None:
    for n in range(4):
        await plane.rules("late", f"late-{n}", 500)
    await plane.service("late")
    await plane.reconciler.step()
    await plane.entry("late")
    plane.begin_anew()
    step = asyncio.ensure_future(plane.reconciler.step())
    assert await turns(step) > 20
    assert [affected.nodes for affected in plane.told][-1] == {"shop/late"}


async def test_another_workloads_edit_lands_meanwhile(plane: Plane) -> None:
    await plane.rules("orders", "big-2", 500, "/new")
    heavy = asyncio.ensure_future(plane.reconciler.step())
    await asyncio.sleep(0)
    assert not heavy.done()
    await plane.rules("db", "db", 1, "/new")
    async with asyncio.timeout(20):
        await heavy
        await plane.reconciler.step()
    assert [affected.nodes for affected in plane.told] == [{"shop/orders"}, {"shop/db"}]
    assert plane.state.revision == plane.store.revision


async def test_a_policy_is_lowered_once_for_a_port(plane: Plane) -> None:
    """Neither again with its own edit, nor because another policy of the workload changed."""
    await plane.rules("orders", "big-2", 500, "/new")
    before = {id(clause) for clause in _clauses(plane) if "big-2" not in clause.name}
    await plane.reconciler.step()
    after = {id(clause) for clause in _clauses(plane) if "big-2" not in clause.name}
    assert len(after) == 3 * 500
    assert after == before


def _clauses(plane: Plane) -> list[Any]:
    plan = plane.state._mesh.plan("shop/orders")
    assert plan is not None
    return [clause for port in plan.inbound for clause in port.program.allow]


async def test_what_is_said_in_a_status_is_no_edit_but_what_came_with_it_is(plane: Plane) -> None:
    """The store's last event of an object may be its status, and the one before an edit."""
    key = Key(POLICIES, "shop", "db")
    record = await plane.store.get(key)
    assert record is not None
    before = plane.state.snapshot("shop/db")
    await plane.store.replace(key, {**record.value, "status": {"conditions": []}}, minor=True)
    await plane.reconciler.step()
    assert plane.told == [Affected()]
    assert plane.state.revision == plane.store.revision
    await plane.rules("db", "db", 1, path="/other")
    edited = await plane.store.get(key)
    assert edited is not None
    await plane.store.replace(key, {**edited.value, "status": {"conditions": []}}, minor=True)
    plane.begin_anew()
    await plane.reconciler.step()
    assert plane.told[-1].nodes == {"shop/db"}
    assert plane.state.snapshot("shop/db")[1] != before[1]


async def test_why_an_object_is_not_in_force_is_known_until_it_is(plane: Plane) -> None:
    """Stored by another version: of a DENY the safe part is enforced, and that says so, too."""
    key = Key(POLICIES, "shop", "odd")
    await plane.put(POLICIES, "odd", {"action": "DENY", "rules": [{"unheard": "of"}]})
    await plane.reconciler.step()
    assert "unheard" in plane.state.problem(key)
    await plane.reconciler.once()
    assert "unheard" in plane.state.problem(key)
    await plane.put(POLICIES, "odd", {"action": "DENY", "rules": [{}]})
    plane.begin_anew()
    await plane.reconciler.step()
    assert plane.state.problem(key) == ""
