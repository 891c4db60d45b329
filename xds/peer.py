"""The verified other end of a connection: what its certificate proves, and nothing it merely says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography import x509

from ca.errors import SpiffeIdError
from ca.revocation import serial_text
from ca.spiffe_id import SpiffeId


@dataclass(frozen=True, slots=True)
class Peer:
    """`serial` of its certificate, as `ca.revocation` writes it."""

    identity: SpiffeId
    expires: datetime
    serial: str = ""

    @classmethod
    def read(cls, identity: str, leaf_pem: bytes) -> Self | None:
        """None for what is no SPIFFE ID or no certificate. Both have been verified before."""
        try:
            leaf = x509.load_pem_x509_certificate(leaf_pem)
            return cls(SpiffeId.parse(identity), leaf.not_valid_after_utc, serial_text(leaf.serial_number))
        except (SpiffeIdError, ValueError):
            return None
