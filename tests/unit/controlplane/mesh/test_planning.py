"""What a sidecar is told when somebody is cut off."""

from __future__ import annotations

from typing import Any

from controlplane.mesh.mesh import Mesh
from controlplane.mesh.planning import Planner
from controlplane.resources import kinds
from policies.document import Document
from policies.program import Revoked
from policies.workload import MeshSettings
from xds.plan import ProxyPlan

WEB, DB = "spiffe://example.org/ns/shop/sa/web", "spiffe://example.org/ns/shop/sa/db"


def an_object(api_version: str, kind: str, name: str, spec: dict[str, Any], **annotations: str) -> Document:
    metadata = {"name": name, "namespace": "shop", "annotations": annotations}
    if kind == "Quarantine":
        del metadata["namespace"]
    return Document({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})  # type: ignore[dict-item]


def a_workload(name: str, sidecar: str) -> Document:
    spec = {
        "address": "127.0.0.1", "serviceAccount": name, "labels": {"app": name}, "ports": {"tcp": 7000},
    }  # fmt: skip
    return an_object("networking.istio.io/v1", "WorkloadEntry", name, spec, **{"pylis.io/sidecar": sidecar})


def plan(of: str, *quarantined: str, allowed: str = WEB, serials: tuple[str, ...] = ()) -> ProxyPlan:
    documents = [
        a_workload("web", '{"upstreams": [{"name": "db", "service": "db.shop", "port": 7000, "listen": "127.0.0.1:1"}]}'),
        a_workload("db", '{"inbound": {"tcp": "127.0.0.1:2"}}'),
        an_object(
            "networking.istio.io/v1", "ServiceEntry", "db",
            {
                "hosts": ["db.shop"], "ports": [{"name": "tcp", "number": 7000, "protocol": "TCP"}],
                "workloadSelector": {"labels": {"app": "db"}},
            },
        ),
        an_object(
            "security.istio.io/v1", "AuthorizationPolicy", "db",
            {"rules": [{"from": [{"source": {"principals": [allowed.removeprefix("spiffe://")]}}]}]},
        ),
    ]  # fmt: skip
    if quarantined or serials:
        spec = {"spiffeIDs": list(quarantined), "serials": list(serials)}
        documents.append(an_object("pylis.io/v1alpha1", "Quarantine", "q", spec))
    objects = [kinds.parse(document)[0] for document in documents]
    assert None not in objects
    found = Planner(Mesh.of(MeshSettings("example.org"), objects)).plan(f"shop/{of}")
    assert found is not None
    return found


def test_the_revoked_are_denied_on_every_port_and_connections_they_may_have_are_cut() -> None:
    before, after = plan("db").inbound[0], plan("db", WEB).inbound[0]
    assert after.program.revoked == Revoked(
        frozenset({"example.org/ns/shop/sa/web"}), latest_principals=("example.org/ns/shop/sa/web",)
    )
    assert before.cut == ""
    assert after.cut


def test_a_port_that_the_revoked_could_never_reach_keeps_its_connections() -> None:
    port = plan("db", WEB, allowed="spiffe://example.org/ns/shop/sa/other").inbound[0]
    assert port.program.revoked
    assert port.cut == ""


def test_who_holds_a_revoked_certificate_is_unknown_so_all_are_asked_again() -> None:
    port = plan("db", serials=("a1",), allowed="spiffe://example.org/ns/shop/sa/other").inbound[0]
    assert port.program.revoked.serials == {"a1"}
    assert port.cut


def test_a_revoked_service_has_no_endpoints_and_no_identity_to_be_believed() -> None:
    (before,), (after,) = plan("web").destinations, plan("web", DB).destinations
    assert (len(before.endpoints), before.identities, before.cut) == (1, (DB,), "")
    assert (after.endpoints, after.identities) == ((), ())
    assert after.cut
