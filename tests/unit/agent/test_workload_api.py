"""What an answer holds; how it is served is in tests/integration/identity/test_workload_api.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent import workload_api
from agent.workload_api import Known
from agent.workload_schema import message
from ca.bundle import TrustBundle
from ca.keys import key_der
from ca.spiffe_id import TrustDomain


def answer(mesh: Any, *entries: Any) -> Any:
    mesh.authorize(*entries)
    for entry in entries:
        mesh.hold(entry)
    held = mesh.holdings.of(frozenset({"unix:uid:0"}))
    return message("X509SVIDResponse").FromString(workload_api.svids(Known(tuple(held), mesh.ca.bundle)))


@pytest.mark.spiffe("A-04", "A-15", "A-16", "A-21", "A-22")
def test_each_identity_comes_with_chain_key_and_bundle(mesh: Any) -> None:
    (svid,) = answer(mesh, mesh.entry()).svids
    held = mesh.holdings.held["shop/orders"]
    assert svid.spiffe_id == "spiffe://example.org/ns/shop/sa/orders"
    assert svid.x509_svid == b"".join(held.chain)
    assert svid.x509_svid_key == key_der(held.key)
    assert svid.bundle == mesh.ca.bundle.x509_authorities[0]


@pytest.mark.spiffe("A-51")
def test_the_order_is_that_of_the_registrations(mesh: Any) -> None:
    entries = [mesh.entry("shop/b"), mesh.entry("shop/a")]
    assert [svid.spiffe_id[-1] for svid in answer(mesh, *entries).svids] == ["b", "a"]


@pytest.mark.spiffe("A-17", "A-29")
def test_a_hint_is_given_once(mesh: Any) -> None:
    entries = [mesh.entry("shop/a", hint="x"), mesh.entry("shop/b", hint="x"), mesh.entry("shop/c", hint="y")]
    assert [svid.hint for svid in answer(mesh, *entries).svids] == ["x", "", "y"]


@pytest.mark.spiffe("A-23")
def test_bundles_are_keyed_by_trust_domain(mesh: Any) -> None:
    body = message("X509BundlesResponse").FromString(workload_api.bundles(Known((), mesh.ca.bundle)))
    assert dict(body.bundles) == {"spiffe://example.org": mesh.ca.bundle.x509_authorities[0]}


@pytest.mark.spiffe("F-07", "F-12")
def test_foreign_bundles_are_apart_from_ones_own(mesh: Any) -> None:
    foreign = TrustBundle(TrustDomain.parse("other.org"), (b"their root",))
    known = Known((), mesh.ca.bundle, (foreign,))
    body = message("X509BundlesResponse").FromString(workload_api.bundles(known))
    assert set(body.bundles) == {"spiffe://example.org", "spiffe://other.org"}
    assert body.bundles["spiffe://other.org"] == b"their root"
    response = message("X509SVIDResponse").FromString(workload_api.svids(known))
    assert dict(response.federated_bundles) == {"spiffe://other.org": b"their root"}


@pytest.mark.spiffe("A-32", "A-33")
def test_a_jwt_bundle_holds_no_other_keys(mesh: Any) -> None:
    body = message("JWTBundlesResponse").FromString(workload_api.jwt_bundles(Known((), mesh.ca.bundle)))
    keys = json.loads(body.bundles["spiffe://example.org"])["keys"]
    assert [(key["use"], bool(key["kid"])) for key in keys] == [("jwt-svid", True)]
