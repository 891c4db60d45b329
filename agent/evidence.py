"""How this machine proves who it is when it joins, beside a join token: read anew each time, so it can rotate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ca.attest.x509pop import SigningKey


class EvidenceError(Exception):
    """A file that should prove who this machine is cannot be used; the text says which."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The certificate (DER, leaf first) and key of this machine."""

    chain: tuple[bytes, ...]
    key: SigningKey


@dataclass(frozen=True, slots=True)
class EvidenceFiles:
    """`certificate` and `key` go together (x509pop); `oidc_token` holds a fresh ID token. All None: a join token."""

    certificate: Path | None = None
    key: Path | None = None
    oidc_token: Path | None = None

    @property
    def can_attest_again(self) -> bool:
        """Without a person who makes a new join token?"""
        return self.certificate is not None or self.oidc_token is not None

    def machine(self) -> Machine | None:
        """Raises: EvidenceError."""
        if self.certificate is None or self.key is None:
            return None
        try:
            chain = x509.load_pem_x509_certificates(_read(self.certificate))
            key = load_pem_private_key(_read(self.key), None)
        except (ValueError, TypeError) as error:
            text = f"{self.certificate} and {self.key} hold no certificate and key in PEM"
            raise EvidenceError(text) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise EvidenceError(f"the key in {self.key} is neither EC nor RSA")
        return Machine(tuple(one.public_bytes(Encoding.DER) for one in chain), key)

    def token(self) -> str:
        """Empty when there is none. Raises: EvidenceError."""
        if self.oidc_token is None:
            return ""
        return _read(self.oidc_token).decode("ascii", "replace").strip()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvidenceError(f"cannot read {path}: {error.strerror}") from error
