"""The simulated sidecar against our own delta stream: it ends up holding what is offered."""

from __future__ import annotations

from controlplane.load.sidecar import Sidecar
from xds import schema
from xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, Resource, Snapshot
from xds.stream import DeltaStream

REQUEST = "envoy.service.discovery.v3.DeltaDiscoveryRequest"


def a_snapshot(*hosts: str, seconds: int = 1) -> Snapshot:
    clusters = [
        schema.new(
            "envoy.config.cluster.v3.Cluster", name=host, type="EDS", connect_timeout={"seconds": seconds},
            eds_cluster_config={"eds_config": {"ads": {}}},
        )
        for host in hosts
    ]  # fmt: skip
    loads = [
        schema.new("envoy.config.endpoint.v3.ClusterLoadAssignment", cluster_name=host) for host in hosts
    ]
    listener = schema.new("envoy.config.listener.v3.Listener", name="l")
    found = [Resource.of(host, message) for host, message in zip(hosts, clusters, strict=True)]
    found += [Resource.of(host, message) for host, message in zip(hosts, loads, strict=True)]
    return Snapshot.of([*found, Resource.of("l", listener)])


def talk(sidecar: Sidecar, stream: DeltaStream, requests: list[bytes]) -> None:
    """Until neither has more to say."""
    while requests:
        for body in requests:
            stream.receive(schema.decode(REQUEST, body))
        requests = [a for r in stream.pending() for a in sidecar.receive(r.encode())]


def connect(sidecar: Sidecar, snapshot: Snapshot) -> DeltaStream:
    stream = DeltaStream()
    stream.offer(snapshot)
    talk(sidecar, stream, sidecar.open())
    return stream


def test_it_asks_for_what_it_finds_and_holds_all_of_it() -> None:
    sidecar, snapshot = Sidecar("shop/a"), a_snapshot("x", "y")
    stream = connect(sidecar, snapshot)
    assert stream.is_settled and sidecar.is_complete
    held = sidecar.versions()
    assert held[CLUSTER].keys() == held[ENDPOINTS].keys() == {"x", "y"}
    assert held[LISTENER]["l"] == snapshot.resources(LISTENER)["l"].version


def test_what_goes_is_not_asked_for_any_more() -> None:
    sidecar = Sidecar("shop/a")
    stream = connect(sidecar, a_snapshot("x", "y"))
    stream.offer(a_snapshot("x"))
    talk(sidecar, stream, [a for r in stream.pending() for a in sidecar.receive(r.encode())])
    assert sidecar.versions()[ENDPOINTS].keys() == {"x"}
    assert stream.is_settled and sidecar.is_complete


def test_a_reconnect_is_sent_nothing_it_holds() -> None:
    sidecar, snapshot = Sidecar("shop/a"), a_snapshot("x")
    connect(sidecar, snapshot)
    sidecar.reset()
    assert connect(sidecar, snapshot).is_settled
    assert sidecar.resources == 0


def test_it_refuses_once_when_told_to() -> None:
    sidecar = Sidecar("shop/a")
    stream = connect(sidecar, a_snapshot("x"))
    sidecar.refuse = True
    stream.offer(a_snapshot("x", seconds=2))
    talk(sidecar, stream, [a for r in stream.pending() for a in sidecar.receive(r.encode())])
    assert stream.refused == {CLUSTER: ("x",)}
