"""A stolen sidecar identity learns nothing but what its workload is told: every service, every type, every name guessed.

The thief may say anything on the wire as the workload it robbed; what it gets back is looked at as bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.mesh.live import Edit
from controlplane.resources import kinds
from controlplane.state import MeshState
from policies.document import Document
from policies.workload import MeshSettings
from xds import schema
from xds.plan import AccessLog
from xds.services import SERVICES, Service
from xds.snapshot import Snapshot
from xds.stream import ORDER

THIEF = "shop/web"
# names, addresses, accounts and policies of what web may not know
SECRETS = (b"vault", b"10.99.0.77", b"teller", b"hush", b"billing", b"10.98.0.5", b"narrow")


def an_object(kind: str, namespace: str, name: str, spec: dict[str, Any], **annotations: str) -> Edit:
    group = "security.istio.io" if kind == "AuthorizationPolicy" else "networking.istio.io"
    metadata = {"name": name, "namespace": namespace, "annotations": annotations}
    body: Any = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": metadata, "spec": spec}
    value, problems = kinds.parse(Document(body))
    assert value is not None, problems
    return Edit((kind, namespace, name), 0, value)


def a_workload(namespace: str, app: str, address: str, *upstreams: str) -> list[Edit]:
    """With a service of the same name."""
    listed = [
        {"name": f"u{n}", "service": host, "port": 80, "listen": f"127.0.0.1:{9100 + n}"}
        for n, host in enumerate(upstreams)
    ]
    layout = {"inbound": {"http": "127.0.0.1:9000"}, "httpProxy": "127.0.0.1:9001", "upstreams": listed}
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    service = {"hosts": [f"{app}.{namespace}"], "ports": ports, "workloadSelector": {"labels": {"app": app}}}
    entry = {"address": address, "serviceAccount": app, "labels": {"app": app}}
    return [
        an_object("WorkloadEntry", namespace, app, entry, **{"pylis.io/sidecar": json.dumps(layout)}),
        an_object("ServiceEntry", namespace, app, service),
    ]


def a_policy(namespace: str, name: str, app: str, *callers: str) -> Edit:
    rules = [{"from": [{"source": {"principals": [f"example.org/ns/{c}" for c in callers]}}]}]
    return an_object(
        "AuthorizationPolicy", namespace, name, {"selector": {"matchLabels": {"app": app}}, "rules": rules}
    )


@pytest.fixture(scope="module")
def mesh() -> MeshState:
    """web may call orders; policy and web's own entry let it call billing, which its Sidecar leaves out."""
    state = MeshState(MeshSettings("example.org"), AccessLog.DENIED)
    edits = [
        *a_workload("shop", "web", "10.0.0.1", "billing.ops"),
        *a_workload("shop", "orders", "10.0.0.2"),
        *a_workload("bank", "vault", "10.99.0.77"),
        *a_workload("ops", "billing", "10.98.0.5"),
        a_policy("shop", "orders", "orders", "shop/sa/web"),
        a_policy("shop", "web", "web", "shop/sa/nobody"),
        a_policy("bank", "hush", "vault", "bank/sa/teller"),
        a_policy("ops", "open", "billing", "shop/sa/web"),
        an_object("Sidecar", "shop", "narrow", {"egress": [{"hosts": ["./*"]}]}),
        an_object("DestinationRule", "bank", "hush", {"host": "vault.bank"}),
    ]
    state.apply(edits, 1)
    return state


def every_name(mesh: MeshState) -> list[str]:
    """Whatever anybody's sidecar holds, by name, and secrets of the agent: all that a thief could think of."""
    snapshots = [mesh.snapshot(node)[1] for node in mesh.node_ids]
    held = {name for one in snapshots for names in one.by_type.values() for name in names}
    return sorted({*held, "default", "ROOTCA", "ALL", "spiffe://example.org/ns/bank/sa/teller"})


def requests(type_url: str, names: list[str], *, is_delta: bool) -> Iterator[dict[str, Any]]:
    """By wildcard, then by every name, then as somebody else, which only the first request could say."""
    field = "resource_names_subscribe" if is_delta else "resource_names"
    for wanted in ([], ["*"], names):
        yield {"type_url": type_url, field: wanted, "node": {"id": "bank/vault"}}


def told(service: Service, snapshot: Snapshot, names: list[str]) -> list[bytes]:
    """All resources that come out, as bytes, when everything is acknowledged and asked for again."""
    is_delta = "Delta" in service.request
    found: list[bytes] = []
    for type_url in [service.type_url] if service.type_url else ORDER:
        stream = service.stream()
        stream.offer(snapshot.only(service.type_url) if service.type_url else snapshot)
        for request in requests(type_url, names, is_delta=is_delta):
            stream.receive(service.read(schema.encode(schema.new(service.request, **request))))
            while responses := stream.pending():
                for response in responses:
                    answer: Any = response
                    found += [resource.entry for resource in answer.resources]
                    field = "resource_names_subscribe" if is_delta else "resource_names"
                    wanted: list[str] = [] if is_delta else request[field]
                    ack: dict[str, Any] = {
                        "response_nonce": answer.nonce,
                        "type_url": type_url,
                        field: wanted,
                    }
                    stream.receive(service.read(schema.encode(schema.new(service.request, **ack))))
    return found


@pytest.mark.parametrize("method", SERVICES)
def test_whatever_is_asked_for_only_the_workloads_own_configuration_comes(
    method: str, mesh: MeshState
) -> None:
    _, snapshot = mesh.snapshot(THIEF)
    found = told(SERVICES[method], snapshot, every_name(mesh))
    assert found, "nothing was told at all"
    for secret in SECRETS:
        assert not [body for body in found if secret in body]


def test_what_the_test_looks_for_is_there_for_those_who_may_know(mesh: MeshState) -> None:
    """So that the absence above says something."""
    vault = b"".join(r.body for t in mesh.snapshot("bank/vault")[1].by_type.values() for r in t.values())
    assert b"hush" in vault and b"teller" in vault
    names = every_name(mesh)
    assert "rbac:http" in names and "orders.shop:80" in names


def test_a_sidecar_narrows_policy_and_declarations_and_lifting_it_gives_them_back(mesh: MeshState) -> None:
    def called() -> set[str]:
        _, snapshot = mesh.snapshot(THIEF)
        return {n for t, names in snapshot.by_type.items() if t.endswith("Cluster") for n in names} - {
            "app:http"
        }

    assert called() == {"orders.shop:80"}
    key = ("Sidecar", "shop", "narrow")
    assert mesh.apply([Edit(key, 0, None)], 2).nodes == {THIEF}
    assert called() == {"orders.shop:80", "billing.ops:80"}
    wide = an_object("Sidecar", "shop", "narrow", {"egress": [{"hosts": ["*/*"]}]})
    assert mesh.apply([wide], 3).nodes == frozenset()  # it never opens what policy does not
    assert called() == {"orders.shop:80", "billing.ops:80"}
    narrow = an_object("Sidecar", "shop", "narrow", {"egress": [{"hosts": ["./*"]}]})
    assert mesh.apply([narrow], 4).nodes == {THIEF}
    assert called() == {"orders.shop:80"}
