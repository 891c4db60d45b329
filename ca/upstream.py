"""Who signs the issuing authorities when it is not our own root: an authority of somebody else's. Pure but for
what an implementation asks for.

    own root      `CertificateAuthority` without an upstream
    PEM files     `PemUpstream`: an issuing CA with its key, and the roots above it
    another Pylis `controlplane.nested.NestedUpstream`, over its API
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import check, csr, keys, profile, sign
from ca.bundle import JwtKey, TrustBundle
from ca.errors import AuthorityError
from ca.sign import Signer
from ca.spiffe_id import TrustDomain
from ca.verify import authority_path_problems


@dataclass(frozen=True, slots=True)
class Issued:
    """`chain`: the issuing authority, then what is between it and a root; `roots` DER."""

    chain: tuple[x509.Certificate, ...]
    roots: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Above:
    """What is in force above: the bundle, and the authorities whose SVIDs are to be replaced at once."""

    bundle: TrustBundle
    tainted: tuple[str, ...] = ()


class Upstream(Protocol):
    def sign(self, csr_der: bytes, ttl: timedelta, known: tuple[bytes, ...]) -> Issued:
        """An issuing authority for the request's key. May block. Raises: AuthorityError.

        `known`: the roots (DER) of our bundle of now: they vouch for who is above.
        """
        ...

    def publish(self, jwt_keys: tuple[JwtKey, ...], known: tuple[bytes, ...]) -> Above | None:
        """Makes our JWT keys known above, and says what is in force there; None where nobody is asked.

        May block. Raises: AuthorityError.
        """
        ...


@dataclass(frozen=True, slots=True)
class PemUpstream:
    """`chain`: the signing certificate first, then the intermediates above it, without the roots."""

    trust_domain: TrustDomain
    signer: Signer
    chain: tuple[x509.Certificate, ...]
    roots: tuple[bytes, ...]
    clock: Callable[[], datetime] = field(repr=False)

    @classmethod
    def read(
        cls,
        trust_domain: TrustDomain,
        chain_pem: bytes,
        key_pem: bytes,
        roots_pem: bytes,
        clock: Callable[[], datetime],
        passphrase: bytes = b"",
    ) -> Self:
        """Without `roots_pem` the last certificate of the chain is the root. Raises: AuthorityError."""
        try:
            chain = x509.load_pem_x509_certificates(chain_pem)
            roots = x509.load_pem_x509_certificates(roots_pem) if roots_pem.strip() else [chain[-1]]
            key = keys.load_key(key_pem, passphrase)
        except check.UNREADABLE as error:
            raise AuthorityError(f"the upstream authority's files cannot be read: {error}") from error
        if chain[0].public_key() != key.public_key():
            raise AuthorityError("the upstream authority's key is not that of its certificate")
        between = tuple(one for one in chain if one not in roots)
        if problems := authority_path_problems(chain[0], chain[1:], roots, clock()):
            raise AuthorityError("the upstream authority cannot sign: " + "; ".join(problems))
        ders = tuple(one.public_bytes(Encoding.DER) for one in roots)
        return cls(trust_domain, Signer(chain[0], key), between, ders, clock)

    def sign(self, csr_der: bytes, ttl: timedelta, known: tuple[bytes, ...]) -> Issued:
        issuing = sign_issuing(self.trust_domain, csr_der, self.signer, self.clock(), ttl)
        return Issued((issuing, *self.chain), self.roots)

    def publish(self, jwt_keys: tuple[JwtKey, ...], known: tuple[bytes, ...]) -> Above | None:
        return None


def sign_issuing(
    trust_domain: TrustDomain, csr_der: bytes, by: Signer, now: datetime, ttl: timedelta
) -> x509.Certificate:
    """An authority that signs leaves only, for the key of a request. Raises: CsrError; AuthorityError."""
    key = csr.prove(csr_der).key
    start = now.replace(microsecond=0) - profile.AUTHORITY_BACKDATE
    end = min(now.replace(microsecond=0) + ttl, by.certificate.not_valid_after_utc)
    if end <= now:
        raise AuthorityError(f"the signing authority is not valid at {now.isoformat()}: is the clock right?")
    start = max(start, by.certificate.not_valid_before_utc)
    wanted = profile.Authority(trust_domain, f"{trust_domain} issuing", key, start, end, keys.new_serial(), 0)
    return sign.authority(wanted, by)
