"""A machine that holds the key of an X.509 certificate of an authority the operator trusts (a device CA, a cloud's).

    agent → server   its chain, leaf first
    server → agent   a random challenge, good once and for a minute
    agent → server   a signature over the challenge, the trust domain and its signing request

What is signed names the purpose, so a signature made for another protocol proves nothing here; it covers the
signing request, so nobody in between can have another key certified. Chains and keys are bounded before they
are verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from ca.check import UNREADABLE
from ca.csr import MAX_RSA_EXPONENT
from ca.errors import AttestationError

METHOD: Final = "x509pop"
CHALLENGE_BYTES: Final = 32
CHALLENGE_SECONDS: Final = 60
MAX_CHAIN: Final = 5
MAX_CERTIFICATE: Final = 16 * 1024
_PURPOSE: Final = b"pylis x509pop 1\n"
_WEAK: Final = frozenset({"md5", "sha1"})
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def check_chain(
    chain: Sequence[bytes], roots: Sequence[x509.Certificate], now: datetime
) -> tuple[x509.Certificate, ...]:
    """`chain`: DER, leaf first, intermediates in order. Raises: AttestationError with the first reason."""
    certificates = _read(chain)
    leaf = certificates[0]
    if _is_authority(leaf):
        raise AttestationError("the first certificate is an authority's, not a machine's")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise AttestationError("the certificate's key may not sign")
    for index, certificate in enumerate(certificates):
        _check_validity(certificate, now)
        if index > 0:
            _check_authority(certificate, below=index - 1)
            _check_signature(certificates[index - 1], certificate)
    top = certificates[-1]
    for root in roots:
        if root.subject == top.issuer and _is_signed(top, root):
            _check_validity(root, now)
            _check_authority(root, below=len(certificates) - 1)
            return certificates
    raise AttestationError("no authority that may vouch for agents signed this chain")


def agent_name(leaf: x509.Certificate) -> str:
    """Of this very certificate: it ends with it."""
    return f"{METHOD}.{leaf.fingerprint(hashes.SHA256()).hex()[:40]}"


def selectors(chain: Sequence[x509.Certificate]) -> frozenset[str]:
    """`x509pop:subject:cn:…`, `:san:dns:…`, `:san:uri:…`, `:serialnumber:…`, `:ca:fingerprint:…` (SHA-256)."""
    leaf = chain[0]
    found = {f"{METHOD}:serialnumber:{leaf.serial_number:x}"}
    found |= {
        f"{METHOD}:subject:cn:{name.value!s}"
        for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    }
    names = _extension(leaf, x509.SubjectAlternativeName)
    if names is not None:
        found |= {f"{METHOD}:san:dns:{name}" for name in names.get_values_for_type(x509.DNSName)}
        found |= {
            f"{METHOD}:san:uri:{name}" for name in names.get_values_for_type(x509.UniformResourceIdentifier)
        }
    found |= {f"{METHOD}:ca:fingerprint:{one.fingerprint(hashes.SHA256()).hex()}" for one in chain[1:]}
    return frozenset(found)


def statement(trust_domain: str, challenge: bytes, csr: bytes) -> bytes:
    """What is signed."""
    parts = (trust_domain.encode(), challenge, hashlib.sha256(csr).digest())
    return _PURPOSE + b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def sign(key: SigningKey, text: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(text, _PSS, hashes.SHA256())
    return key.sign(text, ec.ECDSA(hashes.SHA256()))


def check_signature(leaf: x509.Certificate, signature: bytes, text: bytes) -> None:
    """Raises: AttestationError when the leaf's key did not sign `text`."""
    key = _acceptable(leaf.public_key())
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, text, _PSS, hashes.SHA256())
        else:
            key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise AttestationError("the signature does not prove possession of the certificate's key") from error


def _read(chain: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    if not chain:
        raise AttestationError("there is no certificate")
    if len(chain) > MAX_CHAIN or any(len(der) > MAX_CERTIFICATE for der in chain):
        text = f"at most {MAX_CHAIN} certificates of at most {MAX_CERTIFICATE} bytes are read"
        raise AttestationError(text)
    try:
        certificates = tuple(x509.load_der_x509_certificate(der) for der in chain)
        for certificate in certificates:
            _acceptable(certificate.public_key())
            _ = certificate.extensions
    except UNREADABLE as error:
        raise AttestationError("a certificate cannot be read") from error
    return certificates


def _acceptable(key: object) -> Key:
    match key:
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1() | ec.SECP384R1() | ec.SECP521R1()):
            return key
        case rsa.RSAPublicKey() if 2048 <= key.key_size <= 4096 and key.public_numbers().e < MAX_RSA_EXPONENT:
            return key
        case _:
            raise AttestationError("a key is none of EC P-256, P-384, P-521, RSA 2048 to 4096")


def _check_validity(certificate: x509.Certificate, now: datetime) -> None:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        text = f"a certificate ({certificate.subject.rfc4514_string()}) is not valid at {now.isoformat()}"
        raise AttestationError(text)


def _check_authority(certificate: x509.Certificate, below: int) -> None:
    """`below`: how many authorities stand between it and the leaf."""
    if not _is_authority(certificate):
        raise AttestationError("a certificate that may sign no others stands above another")
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.path_length is not None and below > constraints.path_length:
        raise AttestationError("an authority signs through more authorities than it may")


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def _check_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    if not _is_signed(certificate, issuer):
        raise AttestationError("the chain is not signed link by link")


def _is_signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and algorithm.name in _WEAK:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
