from __future__ import annotations

from dataclasses import replace

from ca.node_report import FoundPort, FoundWorkload
from controlplane.access import Caller
from controlplane.api.authorization import Authorization
from controlplane.api.target import Options, Target
from controlplane.api.writes import Author, Writes
from controlplane.audit import Entry
from controlplane.docker.registrar import Registrar
from controlplane.resources.kinds import KINDS, Kind
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Key, Record, Value

WEB = FoundWorkload(
    "shop", "web", "web-1", ("web",), (FoundPort(80, "HTTP"),), {"app": "web"}, ("docker:container:web-1",),
    ("172.18.0.2",), ("172.18.0.0/16",),
)  # fmt: skip
OBSERVED = replace(WEB, observe=True)
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


async def mode(store: MemoryStore) -> str:
    record = await store.get(ENTRY)
    assert record is not None
    return str(record.value["spec"]["labels"].get("pylis.io/mode", "enforce"))


async def test_a_namespace_has_the_last_word_about_who_is_only_observed() -> None:
    store = MemoryStore()
    writes = Writes(store, Authorization(store, "istio-system"))
    registrar = Registrar(store, writes, {"docker": frozenset({"shop"})})
    await registrar.prepare()
    await registrar.reported("docker", (OBSERVED,))
    assert await mode(store) == "observe"
    for enforced, expected in (("db", "observe"), ("db,web", "enforce"), ("", "observe"), ("*", "enforce")):
        await annotate(writes, enforced)
        await registrar.follow_namespaces()
        assert await mode(store) == expected, enforced
        revision = store.revision
        await registrar.reported("docker", (OBSERVED,))  # an agent's word changes nothing of it
        await registrar.follow_namespaces()
        assert store.revision == revision


async def test_a_container_that_comes_later_is_enforced_from_its_first_moment() -> None:
    store = MemoryStore()
    writes = Writes(store, Authorization(store, "istio-system"))
    registrar = Registrar(store, writes, {"docker": frozenset({"shop"})})
    await registrar.prepare()
    await annotate(writes, "web")
    await registrar.reported("docker", (OBSERVED,))
    assert await mode(store) == "enforce"


async def test_a_namespace_that_is_edited_while_a_report_is_written_is_followed() -> None:
    class EditedMeanwhile(MemoryStore):
        async def create(self, key: Key, value: Value, *, audit: Entry | None = None) -> Record:
            if key == ENTRY:
                await annotate(writes, "web")
            return await super().create(key, value, audit=audit)

    store = EditedMeanwhile()
    writes = Writes(store, Authorization(store, "istio-system"))
    registrar = Registrar(store, writes, {"docker": frozenset({"shop"})})
    await registrar.prepare()
    await registrar.reported("docker", (OBSERVED,))
    assert await mode(store) == "enforce"


async def test_an_operators_entry_is_left_alone() -> None:
    store = MemoryStore()
    writes = Writes(store, Authorization(store, "istio-system"))
    registrar = Registrar(store, writes, {"docker": frozenset({"shop"})})
    await registrar.prepare()
    [body] = (
        {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry", "metadata": {"namespace": "shop", "name": "web-1"},
         "spec": {"address": "10.0.0.1", "serviceAccount": "web", "labels": {"pylis.io/mode": "observe"}}},
    )  # fmt: skip
    await writes.create(Target(_kind("workloadentries.networking.istio.io"), "shop", "web-1"), body, OPERATOR)
    await annotate(writes, "*")
    await registrar.follow_namespaces()
    assert await mode(store) == "observe"


async def annotate(writes: Writes, enforced: str) -> None:
    patch = {"metadata": {"annotations": {"pylis.io/enforce": enforced or None}}}
    await writes.patch(
        Target(_kind("namespaces"), "", "shop"), "application/merge-patch+json", patch, OPERATOR
    )


def _kind(resource: str) -> Kind:
    return next(kind for kind in KINDS if kind.resource == resource)


OPERATOR = Author(Caller("admin"), Options(False, "kubectl", "Strict", False), trusted=True)
