"""What an edit comes to on the wire: which types of whose configuration change, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.mesh.live import Edit
from controlplane.mesh.presence import Presence
from controlplane.resources.destination_rule import DestinationRule, PortPolicy
from controlplane.resources.service_entry import PortProtocol, ServiceEntry, ServicePort
from controlplane.resources.workload_entry import SidecarLayout, WorkloadEntry
from controlplane.state import MeshState
from policies.authorization_policy import AuthorizationPolicy, Rule
from policies.workload import MeshSettings
from xds.plan import AccessLog, Locality
from xds.snapshot import EXTENSION
from xds.traffic import Limits, TrafficPolicy

WEB = SidecarLayout({}, "127.0.0.1:9001")
ORDERS = WorkloadEntry("shop", "orders", "10.0.0.2", "orders", labels={"app": "orders"}, watched_by="one")


@pytest.fixture
def state() -> MeshState:
    """`web` in zone a may call `orders`, whose replicas run in a and b; agent one watches the first."""
    found = MeshState(MeshSettings("example.org"), AccessLog.DENIED)
    web = WorkloadEntry("shop", "web", "10.0.0.1", "web", sidecar=WEB, locality=Locality("eu", "a"))
    service = ServiceEntry(
        "shop", "orders", ("orders.shop",), (ServicePort(80, "http", PortProtocol.HTTP),), {"app": "orders"}
    )
    other = replace(ORDERS, name="orders-2", address="10.0.0.3", watched_by="", locality=Locality("eu", "b"))
    objects = (web, service, ORDERS, other)
    found.apply([Edit((type(o).__name__, o.name), 0, o) for o in objects], 1)
    return found


def changed(state: MeshState, *edits: Edit) -> dict[str, set[str]]:
    """Node → short names of the types in which it is told something else."""
    before = {node: state.snapshot(node)[1] for node in state.node_ids}
    affected = state.apply(edits, state.revision + 1)
    found: dict[str, set[str]] = {}
    for node in state.node_ids:
        old, new = before[node].by_type, state.snapshot(node)[1].by_type
        types = {t.rpartition(".")[2] for t in old.keys() | new.keys() if old.get(t) != new.get(t)}
        if types:
            assert node in affected.nodes
            found[node] = types
    return found


def test_a_workload_that_becomes_ready_changes_endpoints_only(state: MeshState) -> None:
    ready = Edit("one", 0, Presence("one", "", frozenset({"shop/orders"})))
    assert changed(state, ready) == {"shop/web": {"ClusterLoadAssignment"}}
    lost = Edit("one", 0, Presence("one", "", frozenset({"shop/orders"}), lost=True))
    assert changed(state, lost) == {"shop/web": {"ClusterLoadAssignment"}}
    assert changed(state, Edit("one", 0, None)) == {}


def test_a_workload_that_moves_changes_endpoints_only(state: MeshState) -> None:
    state.apply([Edit("one", 0, Presence("one", "", frozenset({"shop/orders"})))], 2)
    moved = Edit(("WorkloadEntry", "orders"), 0, replace(ORDERS, locality=Locality("eu", "a")))
    assert changed(state, moved) == {"shop/web": {"ClusterLoadAssignment"}}


def test_a_limit_changes_the_cluster_only(state: MeshState) -> None:
    policy = PortPolicy(TrafficPolicy(limits=Limits(connections=7)))
    rule = DestinationRule("shop", "orders", "orders.shop", policy)
    assert changed(state, Edit("rule", 0, rule)) == {"shop/web": {"Cluster"}}
    elsewhere = DestinationRule("ops", "orders", "orders.shop", policy)
    assert changed(state, Edit("elsewhere", 0, elsewhere)) == {}


def test_replicas_share_what_they_are_told_alike_before_and_after_an_edit(state: MeshState) -> None:
    """Two of one workload: all but the listener, which holds the address, is there once."""
    layout = SidecarLayout({"http": "127.0.0.1:1"}, "127.0.0.1:9001")
    pair = [
        WorkloadEntry("shop", f"db-{n}", f"10.1.0.{n}", "db", labels={"app": "db"}, sidecar=layout)
        for n in (1, 2)
    ]
    service = ServiceEntry(
        "shop", "db", ("db.shop",), (ServicePort(80, "http", PortProtocol.HTTP),), {"app": "db"}
    )
    state.apply([Edit((type(o).__name__, o.name), 0, o) for o in (*pair, service)], 2)
    first, second = (state.snapshot(f"shop/db-{n}")[1].by_type for n in (1, 2))
    shared = {t.rpartition(".")[2] for t in first if first[t] is second[t]}
    assert shared == {t.rpartition(".")[2] for t in first} - {"Listener"}
    policy = AuthorizationPolicy("shop", "all", selector={"app": "db"}, rules=(Rule((), (), ()),))
    assert state.apply([Edit("policy", 0, policy)], 3).nodes >= {"shop/db-1", "shop/db-2"}
    after, other = (state.snapshot(f"shop/db-{n}")[1].by_type for n in (1, 2))
    assert after[EXTENSION] is other[EXTENSION] and after[EXTENSION] != first[EXTENSION]
    assert all(after[t] is first[t] for t in first if t != EXTENSION)
