"""Registration + signing request → X.509-SVID. Pure: clock, serial and authority are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import sign
from ca.csr import ProvenKey
from ca.errors import AuthorityError
from ca.profile import Leaf, leaf_backdate
from ca.sign import Signer
from ca.spiffe_id import SpiffeId


@dataclass(frozen=True, slots=True)
class X509Svid:
    """`chain` is DER, leaf first, without the root."""

    spiffe_id: SpiffeId
    chain: tuple[bytes, ...]
    serial: int
    not_before: datetime
    not_after: datetime

    @property
    def chain_pem(self) -> str:
        return chain_pem(self.chain)


def chain_pem(chain: Sequence[bytes]) -> str:
    return "".join(
        x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode("ascii") for der in chain
    )


@lru_cache(maxsize=64)
def signers(chain: tuple[bytes, ...]) -> frozenset[str]:
    """Subject key IDs (hex) of the authorities a chain of ours says it hangs on, the root's among them."""
    found: set[str] = set()
    for der in chain:
        for extension in x509.load_der_x509_certificate(der).extensions:
            match extension.value:
                case x509.AuthorityKeyIdentifier(key_identifier=bytes(key)):
                    found.add(key.hex())
                case _:
                    pass
    return frozenset(found)


def issue(
    spiffe_id: SpiffeId,
    proven: ProvenKey,
    *,
    signer: Signer,
    now: datetime,
    serial: int,
    ttl: timedelta,
    dns_names: tuple[str, ...] = (),
    ip_addresses: tuple[str, ...] = (),
) -> X509Svid:
    """The lifetime ends with the signer's at the latest. Raises: AuthorityError."""
    authority = signer.certificate
    if not authority.not_valid_before_utc <= now < authority.not_valid_after_utc:
        raise AuthorityError(f"the issuing authority is not valid at {now.isoformat()}: is the clock right?")
    now = now.replace(microsecond=0)
    not_after = min(now + ttl, signer.certificate.not_valid_after_utc)
    start = (now - leaf_backdate(not_after - now)).replace(microsecond=0)
    leaf = Leaf(spiffe_id, proven, start, not_after, serial, dns_names, ip_addresses)
    der = (sign.leaf(leaf, signer), *signer.chain_der)
    return X509Svid(spiffe_id, der, serial, leaf.not_before, leaf.not_after)
