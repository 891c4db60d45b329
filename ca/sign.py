"""Template → signed certificate → profile check: nothing leaves that breaks the profile."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import check, profile
from ca.csr import PublicKey
from ca.errors import ProfileError
from ca.keys import PrivateKey, hash_for
from ca.leaf_template import LeafTemplate


@dataclass(frozen=True, slots=True)
class Signer:
    """A signing certificate with its key; `chain` accompanies what it signs (itself unless root)."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()
    chain_der: tuple[bytes, ...] = field(init=False, repr=False)
    key_id: x509.AuthorityKeyIdentifier = field(init=False, repr=False)
    leaves: LeafTemplate = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """What every signature needs again is worked out once."""
        object.__setattr__(self, "chain_der", tuple(one.public_bytes(Encoding.DER) for one in self.chain))
        object.__setattr__(self, "key_id", _key_id(self.key.public_key()))
        object.__setattr__(self, "leaves", LeafTemplate(self.key, self.certificate.subject, self.key_id))


def self_signed(authority: profile.Authority, key: PrivateKey) -> x509.Certificate:
    """A root: it signs itself with `key`, whose public half is `authority.key`."""
    template = profile.authority_template(authority, profile.subject(authority), _key_id(authority.key))
    return _checked_authority(template.sign(key, hash_for(key)))


def authority(authority_: profile.Authority, by: Signer) -> x509.Certificate:
    template = profile.authority_template(authority_, by.certificate.subject, by.key_id)
    return _checked_authority(template.sign(by.key, hash_for(by.key)))


def leaf(leaf_: profile.Leaf, by: Signer) -> bytes:
    """DER."""
    certificate = by.leaves.signed(leaf_)
    if problems := check.leaf_problems(x509.load_der_x509_certificate(certificate)):
        raise ProfileError(f"{leaf_.spiffe_id}: {'; '.join(problems)}")
    return certificate


def _checked_authority(certificate: x509.Certificate) -> x509.Certificate:
    if problems := check.authority_problems(certificate):
        raise ProfileError("; ".join(problems))
    return certificate


def _key_id(key: PublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
