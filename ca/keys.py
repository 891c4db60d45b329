"""Keys are made where they are used; this is the one place that makes them (an edge: it draws randomness)."""

from __future__ import annotations

import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PrivateKey = ec.EllipticCurvePrivateKey


def new_key() -> PrivateKey:
    """ECDSA P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def new_serial() -> int:
    """128 random bits, positive. Source: RFC 5280 §4.1.2.2 allows up to 20 octets."""
    return secrets.randbits(127) + (1 << 127)


def csr_for(key: PrivateKey) -> bytes:
    """A DER signing request that proves possession of `key` and asks for no name."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


def key_der(key: PrivateKey) -> bytes:
    """PKCS#8, unencrypted."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_pem(key: PrivateKey) -> bytes:
    """PKCS#8, unencrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes) -> PrivateKey:
    """Raises: ValueError when it is no EC private key in PEM."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an EC private key")  # noqa: TRY004 - the caller's data, not its type
    return key
