"""Source: X509-SVID §2 to §5, App. A; RFC 5280 §4.2."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ca import keys, profile, sign
from ca.csr import prove
from ca.spiffe_id import TrustDomain, workload_id

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TD = TrustDomain.parse("example.org")


@pytest.mark.spiffe("X-01", "X-04", "X-10", "X-12", "X-14", "X-15", "X-16", "X-17", "X-28", "X-29", "ID-21")
def test_a_leaf_says_what_the_profile_wants() -> None:
    key, issuer = keys.new_key(), keys.new_key()
    authority = profile.Authority(TD, "root", issuer.public_key(), NOW, NOW + timedelta(days=1), 1, 0)
    signer = sign.Signer(sign.self_signed(authority, issuer), issuer)
    leaf = profile.Leaf(workload_id(TD, "a", "b"), prove(keys.csr_for(key)), NOW, NOW + timedelta(hours=1), 5)
    certificate = x509.load_der_x509_certificate(sign.leaf(leaf, signer))
    found = {type(e.value): e for e in certificate.extensions}
    critical = {kind for kind, e in found.items() if e.critical}
    assert critical == {x509.SubjectAlternativeName, x509.BasicConstraints, x509.KeyUsage}
    assert set(found) - critical == {
        x509.ExtendedKeyUsage, x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier
    }  # fmt: skip


@pytest.mark.spiffe("ID-18", "ID-19", "ID-20", "X-05", "X-06", "X-07", "X-09", "X-12", "X-13", "X-28")
def test_an_authority_says_what_the_profile_wants() -> None:
    key = keys.new_key()
    wanted = profile.Authority(TD, "root", key.public_key(), NOW, NOW + timedelta(days=1), 5, 0)
    template = profile.authority_template(
        wanted, profile.subject(wanted), x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    )
    certificate = template.sign(key, hashes.SHA256())
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (
        True,
        True,
        False,
    )
    assert limits.critical
    assert (limits.value.ca, limits.value.path_length) == (True, 0)
    assert [name.value for name in names] == ["spiffe://example.org"]
    assert list(certificate.subject)


def test_two_authorities_never_share_a_name() -> None:
    public = keys.new_key().public_key()
    long = TrustDomain.parse("d" * 255)
    names = {
        profile.subject(profile.Authority(long, f"{long} root", public, NOW, NOW, serial, 0))
        for serial in (1, 2)
    }
    assert len(names) == 2
