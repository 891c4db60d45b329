"""The messages between an agent and the server. `ca.node_codec` writes and reads them.

    agent → server   Attest with its evidence (over HTTPS, once); on the stream: Hello, then Sign, SignJwt and RenewAgent as
                     needed, Acknowledge when all the agent serves believe a bundle, and Readiness of what it watches
    server → agent   Attested; on the stream: Authorized (at once, and on every change), Signed, SignedJwt, Refused;
                     Ping, answered by Pong: is this stream's agent still there, now that another says it is the same?

A frame on the stream is a list of messages, so an agent asks for many certificates in one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ca.bundle import TrustBundle
from ca.jwt_svid import JWT_TTL
from ca.node_report import FoundWorkload, NotTaken
from ca.registrations import Registration

SYNC_METHOD: Final = "/pylis.node.v1alpha1.NodeAgent/Sync"

# how a refusal of an agent begins: what it has to do follows from it
BANNED: Final = "banned"
MUST_ATTEST: Final = "attest again"


@dataclass(frozen=True, slots=True)
class TokenEvidence:
    """A join token's secret."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyEvidence:
    """Proof of the key of an X.509 certificate that the server gave a challenge for."""

    challenge: str
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OidcEvidence:
    """An ID token of a provider that the server trusts."""

    token: str = field(repr=False)


Evidence = TokenEvidence | KeyEvidence | OidcEvidence


@dataclass(frozen=True, slots=True)
class Attest:
    evidence: Evidence
    csr: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attested:
    agent: str
    chain: tuple[bytes, ...]
    bundle: TrustBundle


@dataclass(frozen=True, slots=True)
class Hello:
    """`instance`: random, new with each start of an agent, never written down: a copy of its files lacks it."""

    version: str
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Pong:
    id: int


@dataclass(frozen=True, slots=True)
class Sign:
    """`registration` is `namespace/name` of a registration the agent may hold."""

    id: int
    registration: str
    csr: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignJwt:
    """A JWT-SVID of a registration, for an audience."""

    id: int
    registration: str
    audience: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RenewAgent:
    id: int
    csr: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The bundle with this sequence number is in force for everything the agent serves."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One registration, as much of it as the agent needs."""

    name: str
    spiffe_id: str
    selectors: tuple[str, ...]
    ttl_seconds: int
    dns_names: tuple[str, ...]
    hint: str
    jwt_ttl_seconds: int = int(JWT_TTL.total_seconds())
    federates_with: tuple[str, ...] = ()

    @classmethod
    def of(cls, registration: Registration) -> Entry:
        return cls(
            registration.name,
            str(registration.spiffe_id),
            tuple(sorted(registration.selectors)),
            int(registration.ttl.total_seconds()),
            registration.dns_names,
            registration.hint,
            int(registration.jwt_ttl.total_seconds()),
            tuple(sorted(domain.name for domain in registration.federates_with)),
        )


@dataclass(frozen=True, slots=True)
class Authorized:
    """All the agent may hold, and the trust bundles: always complete, never a difference.

    `cut_off`: SPIFFE IDs whose tokens are refused.
    `tainted`: IDs of authorities (X.509: subject key ID, JWT: key ID) whose SVIDs are to be replaced at once.
    """

    entries: tuple[Entry, ...]
    bundle: TrustBundle
    tainted: tuple[str, ...] = ()
    federated: tuple[TrustBundle, ...] = ()
    cut_off: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signed:
    id: int
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SignedJwt:
    """`issued` and `expires` in seconds since 1970."""

    id: int
    token: str = field(repr=False)
    issued: int
    expires: int


@dataclass(frozen=True, slots=True)
class Refused:
    id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ping:
    id: int


@dataclass(frozen=True, slots=True)
class Report:
    """All the containers this agent found that ask to be in the mesh."""

    workloads: tuple[FoundWorkload, ...]


@dataclass(frozen=True, slots=True)
class Reported:
    """The report is in force but for these."""

    not_taken: tuple[NotTaken, ...]


@dataclass(frozen=True, slots=True)
class Readiness:
    """All the workloads this agent watches: `namespace/name`, and why it is not ready ("" when it is)."""

    workloads: tuple[tuple[str, str], ...]


FromAgent = Report | Readiness | Hello | Pong | Sign | SignJwt | RenewAgent | Acknowledge
FromServer = Reported | Authorized | Signed | SignedJwt | Refused | Ping
