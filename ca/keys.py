"""Keys are made where they are used; this is the one place that makes them (an edge: it draws randomness)."""

from __future__ import annotations

import secrets
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class KeyType(StrEnum):
    """What an authority signs with."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    RSA_2048 = "rsa-2048"


def new_key() -> ec.EllipticCurvePrivateKey:
    """ECDSA P-256: a workload's, an agent's, a server's."""
    return ec.generate_private_key(ec.SECP256R1())


def new_key_of(kind: KeyType) -> PrivateKey:
    match kind:
        case KeyType.EC_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.EC_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyType.RSA_2048:
            return rsa.generate_private_key(65537, 2048)


def hash_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """As strong as the key: SHA-384 for P-384, SHA-512 above, otherwise SHA-256. Source: RFC 5480 §4, RFC 7518 §3.4."""
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.key_size <= 256:
        return hashes.SHA256()
    return hashes.SHA384() if key.key_size <= 384 else hashes.SHA512()


def sign(key: PrivateKey, data: bytes) -> bytes:
    """ECDSA (DER) or RSASSA-PKCS1-v1_5, by the hash of the key."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(hash_for(key)))
    return key.sign(data, padding.PKCS1v15(), hash_for(key))


def new_serial() -> int:
    """128 random bits, positive. Source: RFC 5280 §4.1.2.2 allows up to 20 octets."""
    return secrets.randbits(127) + (1 << 127)


def csr_for(key: PrivateKey) -> bytes:
    """A DER signing request that proves possession of `key` and asks for no name."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hash_for(key))
        .public_bytes(serialization.Encoding.DER)
    )


def key_der(key: PrivateKey) -> bytes:
    """PKCS#8, unencrypted."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_pem(key: PrivateKey, passphrase: bytes = b"") -> bytes:
    """PKCS#8; encrypted if there is a passphrase."""
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def load_key(pem: bytes, passphrase: bytes = b"") -> PrivateKey:
    """Raises: ValueError when it is no EC or RSA private key in PEM, or the passphrase is not its own."""
    try:
        key = serialization.load_pem_private_key(pem, password=passphrase or None)
    except TypeError as error:
        text = "it needs a passphrase" if not passphrase else "it is not encrypted"
        raise ValueError(text) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("neither an EC nor an RSA private key")  # noqa: TRY004 - the caller's data, not its type
    return key
