from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca import keys, profile, sign
from ca.csr import prove
from ca.errors import CsrError
from ca.issue import X509Svid, issue
from ca.keystore import MemoryKeystore
from ca.rotation import Lifetime, renew_at
from ca.service import CertificateAuthority
from ca.sign import Signer
from ca.spiffe_id import SpiffeId, TrustDomain
from ca.verify import svid_problems

NOW = datetime(2026, 6, 1, 12, 0, 0, 654321, tzinfo=UTC)
ID = SpiffeId.parse("spiffe://example.org/ns/shop/sa/orders")
HOUR = timedelta(hours=1)


@pytest.fixture
def signer() -> Signer:
    key = keys.new_key()
    wanted = profile.Authority(
        TrustDomain.parse("example.org"), "root", key.public_key(), NOW - HOUR, NOW + 4 * HOUR, 7, 0
    )
    return Signer(sign.self_signed(wanted, key), key)


def issued(
    signer: Signer, csr: bytes | None = None, ttl: timedelta = HOUR, **names: tuple[str, ...]
) -> X509Svid:
    csr = csr or keys.csr_for(keys.new_key())
    return issue(ID, prove(csr), signer=signer, now=NOW, serial=42, ttl=ttl, **names)


def leaf_of(svid: X509Svid) -> x509.Certificate:
    return x509.load_der_x509_certificate(svid.chain[0])


def test_the_names_are_ours_whatever_the_request_asks_for(signer: Signer) -> None:
    key = keys.new_key()
    wish = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("spiffe://example.org/admin"), x509.DNSName("admin.shop")]
    )
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")]))
        .add_extension(wish, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    leaf = leaf_of(issued(signer, csr))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [str(ID)]
    assert not list(leaf.subject)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.public_key() == key.public_key()


def test_dns_names_and_addresses_follow_the_id(signer: Signer) -> None:
    leaf = leaf_of(issued(signer, dns_names=("orders.shop",), ip_addresses=("127.0.0.1",)))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == [str(ID), "orders.shop", "127.0.0.1"]


def test_clock_serial_and_ttl_are_the_arguments(signer: Signer) -> None:
    svid = issued(signer)
    leaf, second = leaf_of(svid), NOW.replace(microsecond=0)
    assert (leaf.serial_number, svid.serial) == (42, 42)
    assert leaf.not_valid_before_utc == svid.not_before == second - timedelta(minutes=11)
    assert leaf.not_valid_after_utc == svid.not_after == second + HOUR


def test_a_host_whose_clock_is_ten_minutes_off_believes_a_fresh_leaf() -> None:
    authority = CertificateAuthority.open(
        TrustDomain.parse("example.org"), MemoryKeystore(), clock=lambda: NOW
    )
    svid = authority.issue_id(ID, keys.csr_for(keys.new_key()), HOUR, ())
    chain = [x509.load_der_x509_certificate(der) for der in svid.chain]
    for off in (-10, 10):
        assert svid_problems(chain, authority.bundle, NOW + timedelta(minutes=off)) == []
    assert svid_problems(chain, authority.bundle, NOW - timedelta(minutes=12)) != []


@pytest.mark.parametrize("seconds", [30, 60, 300, 3600, 3 * 3600])
def test_of_a_short_life_more_than_half_is_ahead(signer: Signer, seconds: int) -> None:
    svid = issued(signer, ttl=timedelta(seconds=seconds))
    life = Lifetime(svid.not_before, svid.not_after)
    assert renew_at(life, 0.0) > NOW
    assert svid.not_after == NOW.replace(microsecond=0) + timedelta(seconds=seconds)


def test_no_leaf_outlives_its_authority(signer: Signer) -> None:
    svid = issued(signer, ttl=timedelta(days=9))
    assert svid.not_after == signer.certificate.not_valid_after_utc


def test_a_request_without_possession_gets_nothing(signer: Signer) -> None:
    csr = keys.csr_for(keys.new_key())
    with pytest.raises(CsrError):
        issued(signer, csr[:-1] + bytes([csr[-1] ^ 1]))


def test_the_chain_is_leaf_first_without_the_root(signer: Signer) -> None:
    svid = issued(signer)
    assert len(svid.chain) == 1
    assert x509.load_pem_x509_certificates(svid.chain_pem.encode()) == [leaf_of(svid)]
