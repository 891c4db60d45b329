"""The trust bundle: which authorities vouch for a trust domain. Bundles of two domains are never merged.

Source: SPIFFE_Trust_Domain_and_Bundle §4; X509-SVID §6; JWT-SVID §6
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ca.check import UNREADABLE
from ca.csr import PublicKey
from ca.errors import BundleError, JwkError
from ca.jwk import from_jwk, to_jwk
from ca.spiffe_id import TrustDomain

REFRESH_HINT: Final = 300
MAX_BYTES: Final = 1024 * 1024
_KEY_TYPES: Final = ("EC", "RSA", "OKP")  # entries of any other are passed over


@dataclass(frozen=True, slots=True)
class JwtKey:
    """A key that vouches for JWT-SVIDs: `spki` is DER."""

    kid: str
    spki: bytes

    @property
    def key(self) -> PublicKey:
        return _public_key(self.spki)

    def to_jwk(self) -> dict[str, str]:
        return {**to_jwk(self.key), "kid": self.kid}


def jwt_key(kid: str, key: PublicKey) -> JwtKey:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return JwtKey(kid, key.public_bytes(serialization.Encoding.DER, form))


@lru_cache(maxsize=256)
def _public_key(spki: bytes) -> PublicKey:
    return cast("PublicKey", serialization.load_der_public_key(spki))


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """`x509_authorities` are DER; `sequence` grows with each change; `refresh_hint` in seconds."""

    trust_domain: TrustDomain
    x509_authorities: tuple[bytes, ...]
    sequence: int = 1
    refresh_hint: int = REFRESH_HINT
    jwt_authorities: tuple[JwtKey, ...] = ()

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        return tuple(x509.load_der_x509_certificate(der) for der in self.x509_authorities)

    @property
    def root_hashes(self) -> tuple[str, ...]:
        """SHA-256 of each authority's DER, hex."""
        return tuple(hashlib.sha256(der).hexdigest() for der in self.x509_authorities)

    def to_pem(self) -> str:
        return "".join(pem(der) for der in self.x509_authorities)

    def to_spiffe(self) -> dict[str, Any]:
        """The SPIFFE bundle document (a JWK set)."""
        return {
            "keys": [_jwk(der) for der in self.x509_authorities]
            + [{**key.to_jwk(), "use": "jwt-svid"} for key in self.jwt_authorities],
            "spiffe_sequence": self.sequence,
            "spiffe_refresh_hint": self.refresh_hint,
        }

    def to_jwks(self) -> dict[str, Any]:
        """The keys for JWT-SVIDs alone, as the Workload API gives them."""
        return {"keys": [{**key.to_jwk(), "use": "jwt-svid"} for key in self.jwt_authorities]}

    def jwt_key(self, kid: str) -> JwtKey | None:
        return next((key for key in self.jwt_authorities if key.kid == kid), None)


def pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM).decode("ascii")


def from_pem(trust_domain: TrustDomain, data: bytes) -> TrustBundle:
    """Raises: BundleError."""
    try:
        certificates = x509.load_pem_x509_certificates(data)
        for one in certificates:
            one.public_key()  # read only when asked for
    except UNREADABLE as error:
        raise BundleError(f"no PEM certificates: {error}") from error
    return TrustBundle(trust_domain, _der(certificates))


def from_spiffe(trust_domain: TrustDomain, data: bytes | str) -> TrustBundle:
    """Reads a SPIFFE bundle document; entries of unknown type or use are passed over. Raises: BundleError."""
    if len(data) > MAX_BYTES:
        raise BundleError(f"larger than {MAX_BYTES} bytes")
    try:
        document: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError("not JSON") from error
    document = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    if not isinstance(document.get("keys"), list):
        raise BundleError('a bundle document needs "keys"')
    authorities: list[bytes] = []
    signing: dict[str, JwtKey] = {}
    for key in cast("list[Any]", document["keys"]):
        if isinstance(key, dict):
            authorities += _authority(cast("dict[str, Any]", key))
            for found in _jwt_authority(cast("dict[str, Any]", key)):
                signing.setdefault(found.kid, found)
    return TrustBundle(
        trust_domain,
        tuple(authorities),
        _number(document.get("spiffe_sequence"), 0),
        _number(document.get("spiffe_refresh_hint"), REFRESH_HINT),
        tuple(signing.values()),
    )


def _authority(key: dict[str, Any]) -> list[bytes]:
    chain = key.get("x5c")
    if key.get("use") != "x509-svid" or key.get("kty") not in _KEY_TYPES:
        return []
    if not isinstance(chain, list) or not chain:
        return []
    first = cast("list[Any]", chain)[0]
    try:
        der = base64.b64decode(first if isinstance(first, str) else "", validate=True)
        public = x509.load_der_x509_certificate(der).public_key()
    except (*UNREADABLE, binascii.Error) as error:
        raise BundleError("x5c holds no certificate") from error
    return [der] if isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) else []


def _jwt_authority(key: dict[str, Any]) -> list[JwtKey]:
    kid = key.get("kid")
    if key.get("use") != "jwt-svid" or not isinstance(kid, str) or not kid:
        return []
    try:
        public = from_jwk(key)
    except JwkError as error:
        raise BundleError(f"the JWT key {kid!r} cannot be read: {error}") from error
    return [] if public is None else [jwt_key(kid, public)]


def _number(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default


def _der(certificates: Sequence[x509.Certificate]) -> tuple[bytes, ...]:
    return tuple(c.public_bytes(serialization.Encoding.DER) for c in certificates)


def _jwk(der: bytes) -> dict[str, Any]:
    try:
        key = to_jwk(x509.load_der_x509_certificate(der).public_key())
    except JwkError as error:
        raise BundleError(f"an authority holds {error}") from error
    return {**key, "use": "x509-svid", "x5c": [base64.b64encode(der).decode("ascii")]}
