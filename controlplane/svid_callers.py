"""SVIDs as credentials of the API: a client certificate or a JWT-SVID says which workload asks.

OpenSSL has checked that the client holds the key; here the whole path is checked again by SPIFFE's rules and by the
bundle of this moment, so that a root that was taken out counts at once, and so does a quarantine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from ca import check, jwt_svid, verify
from ca.errors import JwtError, SpiffeIdError
from ca.revocation import serial_text
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, server_id, xds_id
from controlplane.access import Caller
from xds.peer import Peer

WORKLOADS: Final = "pylis:workloads"
AGENTS: Final = "pylis:agents"
AUDIENCE: Final = "pylis"  # of JWT-SVIDs for this API; the server's own SPIFFE ID is good, too


class SvidCallers:
    def __init__(
        self,
        authority: CertificateAuthority,
        is_revoked: Callable[[SpiffeId, str], bool],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._authority = authority
        self._is_revoked = is_revoked
        self._clock = clock

    def by_certificates(self, chain: Sequence[bytes]) -> Caller | None:
        """DER, leaf first."""
        try:
            certificates = [x509.load_der_x509_certificate(der) for der in chain]
            if verify.svid_problems(certificates, self._authority.bundle, self._clock()):
                return None
            identity = check.spiffe_id(certificates[0])
        except (SpiffeIdError, *check.UNREADABLE):
            return None
        return self._caller(identity, serial_text(certificates[0].serial_number))

    async def by_token(self, token: str) -> Caller | None:
        if token.count(".") != 2:
            return None
        bundles = {self._authority.trust_domain: self._authority.bundle}
        audience = (AUDIENCE, str(server_id(self._authority.trust_domain)))
        try:
            identity, _ = jwt_svid.validate(token, bundles, audience, self._clock())
        except JwtError:
            return None
        return self._caller(identity, "")

    def caller(self, identity: SpiffeId, serial: str) -> Caller | None:
        """Of a certificate that was verified already; None when it is cut off."""
        return self._caller(identity, serial)

    def peer(self, chain_pem: bytes) -> Peer | None:
        """Whose chain that is (PEM, leaf first); None when the bundle of this moment does not vouch for it."""
        try:
            certificates = x509.load_pem_x509_certificates(chain_pem)
            if verify.svid_problems(certificates, self._authority.bundle, self._clock()):
                return None
            leaf = certificates[0]
            identity = check.spiffe_id(leaf)
        except (SpiffeIdError, *check.UNREADABLE):
            return None
        return Peer(identity, leaf.not_valid_after_utc, serial_text(leaf.serial_number))

    def _caller(self, identity: SpiffeId, serial: str) -> Caller | None:
        if self._is_revoked(identity, serial) or identity == xds_id(self._authority.trust_domain):
            return None  # a process that holds sidecars' connections asks nothing of the API
        return Caller(str(identity), (AGENTS if identity.is_reserved else WORKLOADS,), account_of(identity))


def account_of(identity: SpiffeId) -> tuple[str, str] | None:
    """(namespace, service account) of an ID of the usual shape."""
    match identity.path.strip("/").split("/"):
        case ["ns", namespace, "sa", account]:
            return namespace, account
        case _:
            return None
