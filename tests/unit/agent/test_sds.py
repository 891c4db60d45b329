"""What the secrets are; how they are streamed is in tests/integration/test_agent_socket.py."""

from __future__ import annotations

from typing import Any

from agent import sds
from ca.keys import key_pem
from xds import schema
from xds.snapshot import SECRET

NAME = "envoy.extensions.transport_sockets.tls.v3.Secret"


def secrets(mesh: Any) -> dict[str, Any]:
    held = mesh.holdings.of(frozenset({"unix:uid:0"}))
    resources = sds.snapshot(held, mesh.holdings.bundle).resources(SECRET)
    return {name: schema.decode(NAME, one.body) for name, one in resources.items()}


def test_the_first_identity_is_the_default_and_each_has_its_own_name(mesh: Any) -> None:
    entries = [mesh.entry("shop/a"), mesh.entry("shop/b")]
    mesh.authorize(*entries)
    chains = {entry.name: mesh.hold(entry).chain_pem for entry in entries}
    found = secrets(mesh)
    assert set(found) == {
        "default",
        "spiffe://example.org/ns/shop/sa/a",
        "spiffe://example.org/ns/shop/sa/b",
        "ROOTCA",
        "ALL",
        "spiffe://example.org",
    }
    certificate = found["default"].tls_certificate
    assert certificate.certificate_chain.inline_bytes.decode() == chains["shop/a"]
    assert certificate.private_key.inline_bytes == key_pem(mesh.holdings.held["shop/a"].key)
    other = found["spiffe://example.org/ns/shop/sa/b"].tls_certificate.certificate_chain.inline_bytes
    assert other.decode() == chains["shop/b"]


def test_each_name_of_the_bundle_is_the_whole_bundle(mesh: Any) -> None:
    mesh.authorize(mesh.entry())
    mesh.hold(mesh.entry())
    found = secrets(mesh)
    for name in ("ROOTCA", "ALL", "spiffe://example.org"):
        roots = found[name].validation_context.trusted_ca.inline_bytes
        assert roots.decode() == mesh.ca.bundle.to_pem()


def test_a_secret_that_did_not_change_keeps_its_version(mesh: Any) -> None:
    mesh.authorize(mesh.entry())
    mesh.hold(mesh.entry())
    held = mesh.holdings.of(frozenset({"unix:uid:0"}))
    before = sds.snapshot(held, mesh.holdings.bundle).resources(SECRET)
    mesh.hold(mesh.entry())
    held = mesh.holdings.of(frozenset({"unix:uid:0"}))
    after = sds.snapshot(held, mesh.holdings.bundle).resources(SECRET)
    assert before["ROOTCA"].version == after["ROOTCA"].version
    assert before["default"].version != after["default"].version
