from __future__ import annotations

from dataclasses import replace

from ca.node_report import FoundPort, FoundWorkload
from controlplane.api.authorization import Authorization
from controlplane.api.writes import Writes
from controlplane.docker.registrar import Registrar
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Key

WEB = FoundWorkload(
    "shop", "web", "web-1", ("web",), (FoundPort(80, "HTTP"),), {"app": "web"}, ("docker:container:web-1",),
    ("172.18.0.2",), ("172.18.0.0/16",),
)  # fmt: skip
ENTRY = Key("workloadentries.networking.istio.io", "shop", "web-1")


async def test_the_store_holds_what_was_reported_and_nothing_twice() -> None:
    store = MemoryStore()
    registrar = Registrar(
        store, Writes(store, Authorization(store, "istio-system")), {"docker": frozenset({"shop"})}
    )
    await registrar.prepare()
    assert await store.get(Key("namespaces", "", "shop")) is not None
    assert await registrar.reported("docker", (WEB,)) == ()
    first = await store.get(ENTRY)
    assert first is not None
    revision = store.revision
    await registrar.reported("docker", (WEB,))
    assert store.revision == revision  # the same report changes nothing
    await registrar.reported("docker", (replace(WEB, addresses=("172.18.0.9",)),))
    moved = await store.get(ENTRY)
    assert moved is not None
    assert moved.value["spec"]["address"] == "172.18.0.9"
    assert moved.value["metadata"]["uid"] == first.value["metadata"]["uid"]
    await registrar.reported("docker", ())
    assert await store.get(ENTRY) is None


async def test_agents_do_not_touch_each_others() -> None:
    store = MemoryStore()
    registrar = Registrar(
        store,
        Writes(store, Authorization(store, "istio-system")),
        {"one": frozenset({"shop"}), "two": frozenset({"shop"})},
    )
    assert "not found" in (await registrar.reported("one", (WEB,)))[0].reason  # its namespace is not there
    await registrar.prepare()
    assert await registrar.reported("one", (WEB,)) == ()
    refused = await registrar.reported("two", (replace(WEB, addresses=("10.0.0.1",)),))
    assert "somebody else's" in refused[0].reason
    await registrar.reported("two", ())
    kept = await store.get(ENTRY)
    assert kept is not None
    assert kept.value["spec"]["address"] == "172.18.0.2"


async def test_an_agent_without_a_grant_registers_nothing() -> None:
    store = MemoryStore()
    assert (
        await Registrar(store, Writes(store, Authorization(store, "istio-system")), {}).reported(
            "docker", (WEB,)
        )
        != ()
    )
    assert await store.get(ENTRY) is None
