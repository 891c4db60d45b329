"""Template → signed certificate → profile check: nothing leaves that breaks the profile."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ca import check, profile
from ca.errors import ProfileError
from ca.keys import PrivateKey


@dataclass(frozen=True, slots=True)
class Signer:
    """A signing certificate with its key; `chain` holds what must accompany what it signs (itself unless root)."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()


def self_signed(authority: profile.Authority, key: PrivateKey) -> x509.Certificate:
    """A root: it signs itself with `key`, whose public half is `authority.key`."""
    template = profile.authority_template(authority, profile.subject(authority), authority.key)
    return _checked_authority(template.sign(key, hashes.SHA256()))


def authority(authority_: profile.Authority, by: Signer) -> x509.Certificate:
    template = profile.authority_template(authority_, by.certificate.subject, by.key.public_key())
    return _checked_authority(template.sign(by.key, hashes.SHA256()))


def leaf(leaf_: profile.Leaf, by: Signer) -> x509.Certificate:
    template = profile.leaf_template(leaf_, by.certificate.subject, by.key.public_key())
    certificate = template.sign(by.key, hashes.SHA256())
    if problems := check.leaf_problems(certificate):
        raise ProfileError(f"{leaf_.spiffe_id}: {'; '.join(problems)}")
    return certificate


def _checked_authority(certificate: x509.Certificate) -> x509.Certificate:
    if problems := check.authority_problems(certificate):
        raise ProfileError("; ".join(problems))
    return certificate
