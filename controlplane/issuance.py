"""What is signed for an agent, and what is refused: the one signing path of the agents' stream. No I/O.

An agent obtains what is registered for it now, and nothing else; whatever its signing request names is not read.

    limit                                 refused
    an agent asks for too much at once    until its bucket has room again
    one identity at one agent             the same: nobody needs it renewed every second
    a key that certifies another ID       for as long as that certificate lives (one key, one identity)
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from cryptography import x509

from ca.csr import ProvenKey, prove
from ca.errors import CaError, CsrError
from ca.issue import X509Svid
from ca.node_protocol import (
    FromServer,
    Refused,
    RenewAgent,
    Sign,
    Signed,
    SignedJwt,
    SignJwt,
)
from ca.registrations import Registration
from ca.revocation import serial_text
from ca.service import CertificateAuthority, utc_now
from ca.spiffe_id import agent_id
from controlplane.audit import Decision, Entry
from controlplane.rate_limit import Rate, RateLimiter

Ask = Sign | SignJwt | RenewAgent
PER_AGENT: Final = Rate(per_second=200, burst=12_000)  # a restart asks for everything at once
PER_IDENTITY: Final = Rate(per_second=1, burst=20)
PER_TOKEN: Final = Rate(per_second=50, burst=500)  # JWT-SVIDs: one an audience
PER_RENEWAL: Final = Rate(per_second=0.1, burst=5)
MAX_KEYS: Final = 200_000


@dataclass(slots=True)
class Answers:
    """`renewed`: the agent's next own certificate, None when it did not ask for one."""

    messages: list[FromServer] = field(default_factory=list[FromServer])
    entries: list[Entry] = field(default_factory=list[Entry])
    renewed: X509Svid | None = None


class Issuance:
    """One for all agents. `seconds` is a clock that does not go back."""

    def __init__(
        self,
        authority: CertificateAuthority,
        seconds: Callable[[], float],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._authority = authority
        self._seconds = seconds
        self._keys = KeyUse(now)
        self._agents = RateLimiter(PER_AGENT)
        self._identities = RateLimiter(PER_IDENTITY)
        self._tokens = RateLimiter(PER_TOKEN)
        self._renewals = RateLimiter(PER_RENEWAL)

    def answer(self, agent: str, allowed: Mapping[str, Registration], asked: Sequence[Ask]) -> Answers:
        """`allowed`: what the agent may hold at this moment, by name."""
        found = Answers()
        for message in asked:
            try:
                self._limit(agent, message)
                self._sign(agent, allowed, message, found)
            except CaError as error:
                found.messages.append(Refused(message.id, str(error)))
                found.entries.append(_refusal(agent, message, str(error)))
        return found

    def _sign(self, agent: str, allowed: Mapping[str, Registration], message: Ask, found: Answers) -> None:
        match message:
            case Sign(id_, name, csr) if name in allowed:
                registration, proven = allowed[name], prove(csr)
                identity = str(registration.spiffe_id)
                key = self._keys.unused(proven, identity)
                svid = self._authority.issue_to(registration, proven)
                self._keys.note(key, identity, svid.not_after)
                found.messages.append(Signed(id_, svid.chain))
                found.entries.append(_issued(agent, registration, svid))
            case SignJwt(id_, name, audience) if name in allowed:
                registration = allowed[name]
                token = self._authority.issue_jwt(registration, audience)
                issued, expires = token.issued_at.timestamp(), token.expires.timestamp()
                found.messages.append(SignedJwt(id_, token.token, int(issued), int(expires)))
                detail: dict[str, Any] = {"audience": list(audience), "authority": token.kid}
                found.entries.append(_entry(agent, "issue-jwt", registration, detail))
            case Sign() | SignJwt():
                raise RefusedError("not registered for this agent")
            case RenewAgent(id_, csr):
                identity, proven = str(agent_id(self._authority.trust_domain, agent)), prove(csr)
                key = self._keys.unused(proven, identity)
                svid = self._authority.issue_agent(agent, proven)
                self._keys.note(key, identity, svid.not_after)
                found.renewed = svid
                found.messages.append(Signed(id_, svid.chain))
                found.entries.append(
                    Entry("renew", identity, resource="agents", name=agent, detail=_certificate(svid))
                )

    def _limit(self, agent: str, message: Ask) -> None:
        now = self._seconds()
        match message:
            case Sign(_, name, _):
                waits = self._agents.take(agent, now), self._identities.take((agent, name), now)
            case SignJwt(_, name, _):
                waits = self._agents.take(agent, now), self._tokens.take((agent, name), now)
            case RenewAgent():
                waits = self._renewals.take(agent, now), 0.0
        if (wait := max(waits)) > 0:
            raise RefusedError(f"too many requests: try again in {wait:.1f} s")


class RefusedError(CaError):
    """What is asked for is not given; the text says why."""


class KeyUse:
    """Which identity a public key certifies, as long as a certificate of it lives; the oldest go first."""

    def __init__(self, now: Callable[[], datetime], most: int = MAX_KEYS) -> None:
        self._now = now
        self._most = most
        self._used: OrderedDict[bytes, tuple[str, datetime]] = OrderedDict()

    def unused(self, proven: ProvenKey, identity: str) -> bytes:
        """A name of the key. Raises: CsrError when it is another identity's."""
        key = hashlib.sha256(proven.spki).digest()[:16]
        used = self._used.get(key)
        if used is not None and used[0] != identity and used[1] > self._now():
            raise CsrError("its key certifies another identity: every identity has a key of its own")
        return key

    def note(self, key: bytes, identity: str, until: datetime) -> None:
        """`key` as `unused` named it."""
        self._used[key] = (identity, until)
        self._used.move_to_end(key)
        if len(self._used) > self._most:
            self._used.popitem(last=False)


def _issued(agent: str, registration: Registration, svid: X509Svid) -> Entry:
    return _entry(agent, "issue", registration, _certificate(svid))


def _certificate(svid: X509Svid) -> dict[str, Any]:
    return {
        "serial": serial_text(svid.serial),
        "notAfter": svid.not_after.isoformat(),
        "authority": _authority(svid.chain[1]) if len(svid.chain) > 1 else "",
    }


@lru_cache(maxsize=64)
def _authority(der: bytes) -> str:
    """Its subject key ID, as the bundle's authorities are called."""
    certificate = x509.load_der_x509_certificate(der)
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def _entry(agent: str, verb: str, registration: Registration, detail: dict[str, Any]) -> Entry:
    namespace, _, name = registration.name.partition("/")
    detail = {"spiffeId": str(registration.spiffe_id), "selectors": sorted(registration.selectors), **detail}
    return Entry(
        verb, f"agent {agent}", resource="workloadregistrations.pylis.io", namespace=namespace, name=name,
        detail=detail,
    )  # fmt: skip


def _refusal(agent: str, message: Ask, reason: str) -> Entry:
    what = "" if isinstance(message, RenewAgent) else message.registration
    namespace, _, name = what.partition("/")
    verb = "issue-jwt" if isinstance(message, SignJwt) else "issue"
    return Entry(verb, f"agent {agent}", Decision.REFUSE, namespace=namespace, name=name, reason=reason)
