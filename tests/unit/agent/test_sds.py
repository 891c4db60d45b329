"""What the secrets are; how they are streamed is in tests/integration/test_agent_socket.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent import sds
from ca.bundle import TrustBundle
from ca.keys import key_pem
from ca.keystore import MemoryKeystore
from ca.node_protocol import Authorized
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain
from xds import schema
from xds.snapshot import SECRET

NAME = "envoy.extensions.transport_sockets.tls.v3.Secret"
VALIDATOR = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"


def secrets(mesh: Any, selector: str = "unix:uid:0") -> dict[str, Any]:
    held = mesh.holdings.of(frozenset({selector}))
    federated = mesh.holdings.federated_of(held)
    resources = sds.snapshot(held, mesh.holdings.bundle, federated).resources(SECRET)
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


def trusted(secret: Any) -> dict[str, bytes]:
    """Trust domain → its roots (PEM), as Envoy's SPIFFE validator is told."""
    context = secret.validation_context
    assert not context.HasField("trusted_ca")  # a list of roots would let each vouch for every trust domain
    assert context.custom_validator_config.name == "envoy.tls.cert_validator.spiffe"
    config = schema.decode(VALIDATOR, context.custom_validator_config.typed_config.value)
    return {one.name: one.trust_bundle.inline_bytes for one in config.trust_domains}


def test_each_name_of_the_bundle_is_the_whole_bundle(mesh: Any) -> None:
    mesh.authorize(mesh.entry())
    mesh.hold(mesh.entry())
    found = secrets(mesh)
    for name in ("ROOTCA", "ALL", "spiffe://example.org"):
        assert trusted(found[name]) == {"example.org": mesh.ca.bundle.to_pem().encode()}


@pytest.mark.spiffe("F-07", "B-01", "F-12", "A-13")
def test_foreign_bundles_stay_apart_and_go_to_those_who_federate(mesh: Any) -> None:
    partner, other = (
        CertificateAuthority.open(TrustDomain.parse(name), MemoryKeystore()).bundle
        for name in ("partner.org", "other.org")
    )
    revoked = TrustBundle(TrustDomain.parse("revoked.org"), ())
    federates = replace(mesh.entry("shop/a"), federates_with=("partner.org", "revoked.org", "unknown.org"))
    alone = mesh.entry("shop/b", "unix:uid:1")
    mesh.holdings.authorize(Authorized((federates, alone), mesh.ca.bundle, (), (partner, other, revoked)))
    mesh.hold(federates)
    mesh.hold(alone)
    own = {"example.org": mesh.ca.bundle.to_pem().encode()}
    found = secrets(mesh)
    assert trusted(found["ALL"]) == {**own, "partner.org": partner.to_pem().encode()}
    assert trusted(found["ROOTCA"]) == trusted(found["spiffe://example.org"]) == own
    assert trusted(found["spiffe://partner.org"]) == {"partner.org": partner.to_pem().encode()}
    assert "spiffe://other.org" not in found
    found = secrets(mesh, "unix:uid:1")
    assert trusted(found["ALL"]) == own
    assert "spiffe://partner.org" not in found


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
