"""What the certificates say: the SPIFFE X.509 profile.

A leaf: empty subject, critical SAN with exactly one URI, cA false, digitalSignature, both EKUs. An authority:
its trust domain's ID, cA true, keyCertSign and cRLSign, a path length.
Source: X509-SVID §2 to §5; RFC 5280 §4.2
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.csr import ProvenKey, PublicKey
from ca.spiffe_id import SpiffeId, TrustDomain

# for clocks that run behind, of those who see the certificate
AUTHORITY_BACKDATE: Final = timedelta(minutes=15)
LEAF_BACKDATE: Final = timedelta(minutes=11)
_LEAST_BACKDATE: Final = timedelta(seconds=10)
LEAF_TTL: Final = timedelta(hours=1)
ISSUING_TTL: Final = timedelta(hours=24)
ROOT_TTL: Final = timedelta(days=3650)

LEAF_USAGE: Final = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
)  # fmt: skip
_AUTHORITY_USAGE: Final = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip
NO_AUTHORITY: Final = x509.BasicConstraints(ca=False, path_length=None)
LEAF_USES: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def leaf_backdate(ttl: timedelta) -> timedelta:
    """A fifth of a short life at most, so that half of it is still ahead of whoever is given it."""
    return min(LEAF_BACKDATE, max(_LEAST_BACKDATE, ttl / 5))


def issued_at(not_before: datetime, not_after: datetime) -> datetime:
    """When a leaf of ours was signed, by the clock of who signed it: `leaf_backdate` the other way round."""
    life = not_after - not_before
    return not_before + min(LEAF_BACKDATE, max(_LEAST_BACKDATE, life / 6))


@dataclass(frozen=True, slots=True)
class Leaf:
    """A workload's certificate to be."""

    spiffe_id: SpiffeId
    proven: ProvenKey
    not_before: datetime
    not_after: datetime
    serial: int
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Authority:
    """A signing certificate to be. `path_length` 0 signs leaves only."""

    trust_domain: TrustDomain
    name: str
    key: PublicKey
    not_before: datetime
    not_after: datetime
    serial: int
    path_length: int


def authority_template(
    authority: Authority, issuer: x509.Name, issuer_id: x509.AuthorityKeyIdentifier
) -> x509.CertificateBuilder:
    uri = x509.UniformResourceIdentifier(authority.trust_domain.id)
    limits = x509.BasicConstraints(ca=True, path_length=authority.path_length)
    return (
        x509.CertificateBuilder()
        .subject_name(subject(authority))
        .issuer_name(issuer)
        .public_key(authority.key)
        .serial_number(authority.serial)
        .not_valid_before(authority.not_before)
        .not_valid_after(authority.not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.key), critical=False)
        .add_extension(issuer_id, critical=False)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .add_extension(limits, critical=True)
        .add_extension(_AUTHORITY_USAGE, critical=True)
    )


def subject(authority: Authority) -> x509.Name:
    """Unique to the authority, so that chains are found by name."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Pylis"),
            x509.NameAttribute(NameOID.COMMON_NAME, authority.name[:64]),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{authority.serial:x}"),
        ]
    )
