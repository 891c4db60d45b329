"""A spliced leaf is what the library's builder makes of the same wishes, byte for byte; and it keeps the profile."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import check, keys, profile, sign
from ca.csr import ProvenKey, prove
from ca.keys import KeyType
from ca.sign import Signer
from ca.spiffe_id import SpiffeId, TrustDomain

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SEGMENT = st.text("abcXYZ019-_.", min_size=1, max_size=60).filter(lambda s: s not in (".", ".."))
DNS = st.from_regex(r"[a-z][a-z0-9-]{0,40}[a-z]\.[a-z]{2,9}", fullmatch=True)
IPS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@cache
def signer(kind: KeyType | str, name: str) -> Signer:
    key = keys.new_key_of(kind) if isinstance(kind, KeyType) else ec.generate_private_key(ec.SECP521R1())
    domain = TrustDomain.parse("example.org")
    start = datetime(2000, 1, 1, tzinfo=UTC)
    wanted = profile.Authority(domain, name, key.public_key(), start, start + timedelta(days=36500), 1, 1)
    return Signer(sign.self_signed(wanted, key), key)


@cache
def proven(kind: str) -> ProvenKey:
    match kind:
        case "p256":
            return prove(keys.csr_for(ec.generate_private_key(ec.SECP256R1())))
        case "p384":
            return prove(keys.csr_for(ec.generate_private_key(ec.SECP384R1())))
        case _:
            return prove(keys.csr_for(rsa.generate_private_key(65537, 2048 if kind == "rsa-2048" else 3072)))


def built(leaf: profile.Leaf, by: Signer) -> x509.Certificate:
    """By the library alone."""
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
         "crl_sign", "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(leaf.spiffe_id))]
    names += [x509.DNSName(name) for name in leaf.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in leaf.ip_addresses]
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(by.certificate.subject)
        .public_key(leaf.proven.key)
        .serial_number(leaf.serial)
        .not_valid_before(leaf.not_before)
        .not_valid_after(leaf.not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(leaf.proven.key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .sign(by.key, keys.hash_for(by.key))
    )


@settings(max_examples=120)
@given(
    st.sampled_from([*KeyType, "ec-p521"]),
    st.sampled_from(["issuing", "ü" * 32, "a" * 64]),
    st.sampled_from(["p256", "p384", "rsa-2048", "rsa-3072"]),
    st.lists(SEGMENT, min_size=1, max_size=30),
    st.integers(1, (1 << 159) - 1),
    st.datetimes(datetime(2001, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
    st.integers(1, 40_000_000),
    st.lists(DNS, max_size=5),
    st.lists(IPS, max_size=3),
)
def test_a_spliced_leaf_is_the_librarys(
    by: KeyType | str,
    name: str,
    kind: str,
    path: list[str],
    serial: int,
    start: datetime,
    seconds: int,
    dns_names: list[str],
    ip_addresses: list[str],
) -> None:
    authority = signer(by, name)
    start = start.replace(microsecond=0)
    leaf = profile.Leaf(
        SpiffeId.parse("spiffe://example.org/" + "/".join(path)), proven(kind), start,
        start + timedelta(seconds=seconds), serial, tuple(dns_names), tuple(ip_addresses),
    )  # fmt: skip
    library = built(leaf, authority)
    spliced = x509.load_der_x509_certificate(authority.leaves.signed(leaf))
    assert spliced.tbs_certificate_bytes == library.tbs_certificate_bytes
    assert spliced.signature_algorithm_oid == library.signature_algorithm_oid
    spliced.verify_directly_issued_by(authority.certificate)
    assert not check.leaf_problems(spliced)
