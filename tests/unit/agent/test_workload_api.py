"""What an answer holds; how it is served is in tests/integration/test_agent_socket.py."""

from __future__ import annotations

from typing import Any

from agent import workload_api
from agent.workload_schema import message
from ca.keys import key_der


def answer(mesh: Any, *entries: Any) -> Any:
    mesh.authorize(*entries)
    for entry in entries:
        mesh.hold(entry)
    held = mesh.holdings.of(frozenset({"unix:uid:0"}))
    return message("X509SVIDResponse").FromString(workload_api.svids(held, mesh.ca.bundle))


def test_each_identity_comes_with_chain_key_and_bundle(mesh: Any) -> None:
    (svid,) = answer(mesh, mesh.entry()).svids
    held = mesh.holdings.held["shop/orders"]
    assert svid.spiffe_id == "spiffe://example.org/ns/shop/sa/orders"
    assert svid.x509_svid == b"".join(held.chain)
    assert svid.x509_svid_key == key_der(held.key)
    assert svid.bundle == mesh.ca.bundle.x509_authorities[0]


def test_the_order_is_that_of_the_registrations(mesh: Any) -> None:
    entries = [mesh.entry("shop/b"), mesh.entry("shop/a")]
    assert [svid.spiffe_id[-1] for svid in answer(mesh, *entries).svids] == ["b", "a"]


def test_a_hint_is_given_once(mesh: Any) -> None:
    entries = [mesh.entry("shop/a", hint="x"), mesh.entry("shop/b", hint="x"), mesh.entry("shop/c", hint="y")]
    assert [svid.hint for svid in answer(mesh, *entries).svids] == ["x", "", "y"]


def test_bundles_are_keyed_by_trust_domain(mesh: Any) -> None:
    body = message("X509BundlesResponse").FromString(workload_api.bundles([], mesh.ca.bundle))
    assert dict(body.bundles) == {"spiffe://example.org": mesh.ca.bundle.x509_authorities[0]}
