"""What an authority signs with: its keys, from the keystore, and the chain its signatures hang on.

A key that is missing, or is not that of its certificate, is found out here, before it signs anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509

from ca import journal, jwt_svid, keys
from ca.authorities import Authority
from ca.bundle import jwt_key
from ca.errors import KeystoreError
from ca.journal import Kept
from ca.jwt_svid import JwtSigner
from ca.keystore import Keystore
from ca.rotation import Family, Lifetime
from ca.sign import Signer


@dataclass(frozen=True, slots=True)
class Material:
    """X.509: `issuing` signs, under `root` (None: somebody else's). `kept` names what the keystore has of it."""

    kept: Kept
    root: Signer | None = None
    issuing: Signer | None = None
    jwt: JwtSigner | None = field(default=None, repr=False)


def load(keystore: Keystore, authority: Authority, kept: Kept) -> Material:
    """Raises: KeystoreError when a key is missing, or is not that of its certificate."""
    if authority.family is Family.JWT:
        key = keystore.key(kept.key)
        if key is None or jwt_key(authority.id, key.public_key()).spki != authority.roots[0]:
            raise KeystoreError(f"the key {kept.key} is missing or another: restore it from a backup")
        return Material(kept, jwt=jwt_signer(authority, key))
    chain = tuple(_certificate(der) for der in kept.chain)
    issuing = _signer(keystore, kept.issuing_key, chain[0], chain)
    root = _signer(keystore, kept.key, _certificate(authority.roots[0]), ()) if kept.key else None
    return Material(kept, root, issuing)


def _signer(
    keystore: Keystore, name: str, certificate: x509.Certificate, chain: tuple[x509.Certificate, ...]
) -> Signer:
    key = keystore.key(name)
    if key is None:
        raise KeystoreError(f"the key {name} is missing: restore it from a backup")
    if certificate.public_key() != key.public_key():
        raise KeystoreError(f"the key {name} does not belong to its certificate: restore it from a backup")
    return Signer(certificate, key, chain)


def jwt_signer(authority: Authority, key: keys.PrivateKey) -> JwtSigner:
    life = authority.lifetime
    algorithm = jwt_svid.algorithm_of(key.public_key())
    return JwtSigner(authority.id, key, algorithm, life.not_before, life.not_after)


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise KeystoreError(f"{journal.NAME} is damaged ({error}): restore it from a backup") from error


def lifetime_of(signer: Signer) -> Lifetime:
    return Lifetime(signer.certificate.not_valid_before_utc, signer.certificate.not_valid_after_utc)
