"""The messages between an agent and the server as JSON: small, readable, strict."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from ca import bundle as bundles
from ca import node_report
from ca.bundle import TrustBundle
from ca.errors import BundleError, NodeProtocolError, SpiffeIdError
from ca.json_fields import read_list, read_number, read_object, read_text, read_texts
from ca.node_protocol import (
    Acknowledge,
    Attest,
    Attested,
    Authorized,
    Entry,
    Evidence,
    FromAgent,
    FromServer,
    Hello,
    KeyEvidence,
    OidcEvidence,
    Ping,
    Pong,
    Readiness,
    Refused,
    RenewAgent,
    Report,
    Reported,
    Sign,
    Signed,
    SignedJwt,
    SignJwt,
    TokenEvidence,
)
from ca.node_report import MAX_WORKLOADS, FoundWorkload, NotTaken
from ca.spiffe_id import SpiffeId, TrustDomain

MAX_FRAME: Final = 4 * 1024 * 1024
MAX_MESSAGES: Final = 1000
MAX_NAME: Final = 320  # of a workload with its namespace
MAX_REASON: Final = 200


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
