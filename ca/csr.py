"""Signing requests: who sends one proves that it holds the key; whatever name it asks for is not read.

Source: RFC 2986
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

from ca.errors import CsrError

MAX_BYTES: Final = 16 * 1024
MAX_RSA_EXPONENT: Final = 1 << 32  # a huge one makes the signature check slow
_ECDSA: Final = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: ec.ECDSA(hashes.SHA256()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: ec.ECDSA(hashes.SHA384()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: ec.ECDSA(hashes.SHA512()),
}
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class ProvenKey:
    """A public key whose holder signed the request; `spki`: its SubjectPublicKeyInfo, DER."""

    key: PublicKey
    spki: bytes


def prove(der: bytes) -> ProvenKey:
    """Raises: CsrError when the request is malformed, its key of no accepted kind, or its signature wrong."""
    if len(der) > MAX_BYTES:
        raise CsrError(f"larger than {MAX_BYTES} bytes")
    try:
        request = x509.load_der_x509_csr(der)
        key = _acceptable(request.public_key())
        valid = _is_signed(request, key)
        spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion) as error:
        raise CsrError("not a signing request that can be read") from error
    if not valid:
        raise CsrError("its signature does not prove possession of the key")
    return ProvenKey(key, spki)


def _is_signed(request: x509.CertificateSigningRequest, key: PublicKey) -> bool:
    """As the library's own answer; of an EC key without reading it a second time."""
    algorithm = _ECDSA.get(request.signature_algorithm_oid)
    if algorithm is None or not isinstance(key, ec.EllipticCurvePublicKey):
        return request.is_signature_valid
    try:
        key.verify(request.signature, request.tbs_certrequest_bytes, algorithm)
    except InvalidSignature:
        return False
    return True


def _acceptable(key: object) -> PublicKey:
    match key:
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1()):
            return key
        case rsa.RSAPublicKey() if 2048 <= key.key_size <= 4096 and key.public_numbers().e < MAX_RSA_EXPONENT:
            return key
        case _:
            raise CsrError("its key is none of EC P-256, EC P-384, RSA 2048 to 4096")
