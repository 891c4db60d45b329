"""The messages between an agent and the server, as JSON: small, readable, strict.

    agent → server   Attest with its evidence (over HTTPS, once); on the stream: Hello, then Sign, SignJwt and RenewAgent as
                     needed, Acknowledge when all the agent serves believe a bundle, and Readiness of what it watches
    server → agent   Attested; on the stream: Authorized (at once, and on every change), Signed, SignedJwt, Refused;
                     Ping, answered by Pong: is this stream's agent still there, now that another says it is the same?

A frame on the stream is a list of messages, so an agent asks for many certificates in one.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ca import bundle as bundles
from ca import node_report
from ca.bundle import TrustBundle
from ca.errors import BundleError, NodeProtocolError, SpiffeIdError
from ca.json_fields import read_list, read_number, read_object, read_text, read_texts
from ca.jwt_svid import JWT_TTL
from ca.node_report import MAX_WORKLOADS, FoundWorkload, NotTaken
from ca.registrations import Registration
from ca.spiffe_id import SpiffeId, TrustDomain

SYNC_METHOD: Final = "/pylis.node.v1alpha1.NodeAgent/Sync"
MAX_FRAME: Final = 4 * 1024 * 1024
MAX_MESSAGES: Final = 1000
MAX_NAME: Final = 320  # of a workload with its namespace
MAX_REASON: Final = 200


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


def encode(messages: Sequence[FromAgent | FromServer]) -> bytes:
    return json.dumps([_to_json(m) for m in messages], separators=(",", ":")).encode()


def decode_from_agent(data: bytes) -> list[FromAgent]:
    """Raises: NodeProtocolError."""
    return [_read(item, _FROM_AGENT) for item in _frame(data)]


def decode_from_server(data: bytes) -> list[FromServer]:
    """Raises: NodeProtocolError."""
    return [_read(item, _FROM_SERVER) for item in _frame(data)]


def encode_attest(message: Attest) -> bytes:
    return json.dumps({**_evidence_json(message.evidence), "csr": _b64(message.csr)}).encode()


def decode_attest(value: Any) -> Attest:
    """From parsed JSON. Raises: NodeProtocolError."""
    fields = read_object(value)
    reader = _EVIDENCE.get(read_text(fields, "method"))
    if reader is None:
        raise NodeProtocolError(f"method is none of {', '.join(_EVIDENCE)}")
    return Attest(reader(fields), _bytes(fields, "csr"))


def _evidence_json(evidence: Evidence) -> dict[str, Any]:
    match evidence:
        case TokenEvidence(secret):
            return {"method": "join-token", "secret": secret}
        case KeyEvidence(challenge, signature):
            return {"method": "x509pop", "challenge": challenge, "signature": _b64(signature)}
        case OidcEvidence(token):
            return {"method": "oidc", "token": token}


def attested_json(message: Attested) -> dict[str, Any]:
    return {
        "agent": message.agent,
        "chain": [_b64(c) for c in message.chain],
        "bundle": _bundle_json(message.bundle),
    }


def decode_attested(value: Any) -> Attested:
    """From parsed JSON. Raises: NodeProtocolError."""
    fields = read_object(value)
    return Attested(read_text(fields, "agent"), _chain(fields), _bundle(fields.get("bundle")))


def _to_json(message: FromAgent | FromServer) -> dict[str, Any]:
    match message:
        case Hello(version, instance):
            return {"type": "hello", "version": version, "instance": instance}
        case Pong(id_):
            return {"type": "pong", "id": id_}
        case Ping(id_):
            return {"type": "ping", "id": id_}
        case Sign(id_, registration, csr):
            return {"type": "sign", "id": id_, "registration": registration, "csr": _b64(csr)}
        case SignJwt(id_, registration, audience):
            return {"type": "sign-jwt", "id": id_, "registration": registration, "audience": list(audience)}
        case RenewAgent(id_, csr):
            return {"type": "renew-agent", "id": id_, "csr": _b64(csr)}
        case Acknowledge(sequence):
            return {"type": "acknowledge", "sequence": sequence}
        case Authorized(entries, bundle, tainted, federated, cut_off):
            return {
                "type": "authorized",
                "entries": [_entry_json(e) for e in entries],
                "bundle": _bundle_json(bundle),
                "tainted": list(tainted),
                "federated": [_bundle_json(one) for one in federated],
                "cutOff": list(cut_off),
            }
        case Signed(id_, chain):
            return {"type": "signed", "id": id_, "chain": [_b64(c) for c in chain]}
        case SignedJwt(id_, token, issued, expires):
            return {"type": "signed-jwt", "id": id_, "token": token, "issued": issued, "expires": expires}
        case Readiness(watched):
            return {"type": "readiness", "workloads": [list(one) for one in watched]}
        case Report(workloads):
            return {"type": "report", "workloads": [node_report.to_json(w) for w in workloads]}
        case Reported(not_taken):
            return {"type": "reported", "notTaken": [[one.workload, one.reason] for one in not_taken]}
        case Refused(id_, reason):
            return {"type": "refused", "id": id_, "reason": reason}


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name, "spiffeId": entry.spiffe_id, "selectors": list(entry.selectors),
        "ttlSeconds": entry.ttl_seconds, "dnsNames": list(entry.dns_names), "hint": entry.hint,
        "jwtTtlSeconds": entry.jwt_ttl_seconds, "federatesWith": list(entry.federates_with),
    }  # fmt: skip


def _bundle_json(bundle: TrustBundle) -> dict[str, Any]:
    return {"trustDomain": bundle.trust_domain.name, "document": bundle.to_spiffe()}


_FROM_AGENT: Final[Mapping[str, Callable[[dict[str, Any]], FromAgent]]] = {
    "report": lambda f: Report(_workloads(f)),
    "readiness": lambda f: Readiness(_watched(f)),
    "hello": lambda f: Hello(read_text(f, "version", empty=True), read_text(f, "instance", empty=True)),
    "pong": lambda f: Pong(read_number(f, "id")),
    "sign": lambda f: Sign(read_number(f, "id"), read_text(f, "registration"), _bytes(f, "csr")),
    "sign-jwt": lambda f: SignJwt(
        read_number(f, "id"), read_text(f, "registration"), read_texts(f, "audience")
    ),
    "renew-agent": lambda f: RenewAgent(read_number(f, "id"), _bytes(f, "csr")),
    "acknowledge": lambda f: Acknowledge(read_number(f, "sequence")),
}
_FROM_SERVER: Final[Mapping[str, Callable[[dict[str, Any]], FromServer]]] = {
    "reported": lambda f: Reported(_not_taken(f)),
    "authorized": lambda f: Authorized(
        tuple(_entry(e) for e in read_list(f, "entries")),
        _bundle(f.get("bundle")),
        read_texts(f, "tainted"),
        tuple(_bundle(b) for b in read_list(f, "federated")),
        read_texts(f, "cutOff"),
    ),
    "signed": lambda f: Signed(read_number(f, "id"), _chain(f)),
    "signed-jwt": lambda f: SignedJwt(
        read_number(f, "id"), read_text(f, "token"), read_number(f, "issued"), read_number(f, "expires")
    ),
    "ping": lambda f: Ping(read_number(f, "id")),
    "refused": lambda f: Refused(read_number(f, "id"), read_text(f, "reason", empty=True)),
}
_EVIDENCE: Final[Mapping[str, Callable[[dict[str, Any]], Evidence]]] = {
    "join-token": lambda f: TokenEvidence(read_text(f, "secret")),
    "x509pop": lambda f: KeyEvidence(read_text(f, "challenge"), _bytes(f, "signature")),
    "oidc": lambda f: OidcEvidence(read_text(f, "token")),
}

_Message = Any


def _read(value: Any, table: Mapping[str, Callable[[dict[str, Any]], _Message]]) -> _Message:
    fields = read_object(value)
    reader = table.get(read_text(fields, "type"))
    if reader is None:
        raise NodeProtocolError("a message of unknown type")
    return reader(fields)


def _frame(data: bytes) -> list[Any]:
    if len(data) > MAX_FRAME:
        raise NodeProtocolError(f"a frame larger than {MAX_FRAME} bytes")
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NodeProtocolError("a frame that is no JSON") from error
    if not isinstance(value, list) or len(cast("list[Any]", value)) > MAX_MESSAGES:
        raise NodeProtocolError(f"a frame that is no list of at most {MAX_MESSAGES} messages")
    return cast("list[Any]", value)


def _workloads(fields: dict[str, Any]) -> tuple[FoundWorkload, ...]:
    items = read_list(fields, "workloads")
    if len(items) > MAX_WORKLOADS:
        raise NodeProtocolError(f"a report of more than {MAX_WORKLOADS} workloads")
    return tuple(node_report.from_json(item) for item in items)


def _watched(fields: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    items = read_list(fields, "workloads")
    if len(items) > MAX_WORKLOADS:
        raise NodeProtocolError(f"word of more than {MAX_WORKLOADS} workloads")
    pairs = [read_texts({"pair": item}, "pair") for item in items]
    if not all(len(pair) == 2 and len(pair[0]) <= MAX_NAME and len(pair[1]) <= MAX_REASON for pair in pairs):
        raise NodeProtocolError("workloads is no list of names and reasons")
    found = {pair[0]: pair[1] for pair in pairs}
    return tuple(sorted(found.items()))


def _not_taken(fields: dict[str, Any]) -> tuple[NotTaken, ...]:
    pairs = [read_texts({"pair": item}, "pair") for item in read_list(fields, "notTaken")]
    if not all(len(pair) == 2 for pair in pairs):
        raise NodeProtocolError("notTaken is no list of pairs")
    return tuple(NotTaken(*pair) for pair in pairs)


def _entry(value: Any) -> Entry:
    f = read_object(value)
    identity = read_text(f, "spiffeId")
    try:
        SpiffeId.parse(identity)
    except SpiffeIdError as error:
        raise NodeProtocolError(f"spiffeId: {error}") from error
    return Entry(
        read_text(f, "name"), identity, read_texts(f, "selectors"), read_number(f, "ttlSeconds"), read_texts(f, "dnsNames"),
        read_text(f, "hint", empty=True), read_number(f, "jwtTtlSeconds"), read_texts(f, "federatesWith"),
    )  # fmt: skip


def _bundle(found: Any) -> TrustBundle:
    value = read_object(found)
    try:
        domain = TrustDomain.parse(read_text(value, "trustDomain"))
        return bundles.from_spiffe(domain, json.dumps(value.get("document")))
    except (BundleError, SpiffeIdError) as error:
        raise NodeProtocolError(f"bundle: {error}") from error


def _bytes(fields: dict[str, Any], name: str) -> bytes:
    return _from_b64(read_text(fields, name), name)


def _chain(fields: dict[str, Any]) -> tuple[bytes, ...]:
    chain = tuple(_from_b64(item, "chain") for item in read_texts(fields, "chain"))
    if not chain:
        raise NodeProtocolError("chain is empty")
    return chain


def _from_b64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise NodeProtocolError(f"{name} is not base64") from error


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
