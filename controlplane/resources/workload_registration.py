"""WorkloadRegistration: which processes, on which agents, may hold which identity.

serviceAccount: orders            → spiffe://<trust domain>/ns/<namespace>/sa/orders
path: /ns/shop/batch/nightly      → any other shape, inside the object's own namespace
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final, TypeVar

from ca.errors import SpiffeIdError
from ca.jwt_svid import JWT_TTL, MAX_JWT_TTL
from ca.registrations import ANY_AGENT, Registration
from ca.spiffe_id import SpiffeId, TrustDomain, check_path
from policies import codes
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, read_metadata
from policies.problem import Problem

_DURATION: Final = re.compile(r"(\d{1,6})([smh])")
_UNIT: Final = {"s": 1, "m": 60, "h": 3600}
_DNS: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SELECTOR: Final = re.compile(r"([a-z0-9_-]+):[^\s:][^\x00-\x1f]*")
SELECTOR_TYPES: Final = ("docker", "supervised", "systemd", "unix")
AGENT_SELECTOR_TYPES: Final = ("join-token", "oidc", "x509pop")
MIN_TTL: Final = timedelta(minutes=1)
MAX_TTL: Final = timedelta(hours=12)
MIN_JWT_TTL: Final = timedelta(seconds=30)
MAX_HINT: Final = 1024
MAX_LISTED: Final = 64  # selectors, agents, DNS names: each
RESERVED_DNS: Final = (".pylis.internal", "localhost")
_Item = TypeVar("_Item")
_FIELDS: Final = (
    "serviceAccount", "path", "selectors", "agents", "agentSelectors", "x509TTL", "jwtTTL", "dnsNames", "hint",
    "federatesWith",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WorkloadRegistration:
    """`path` is the SPIFFE ID's, with its leading slash."""

    namespace: str
    name: str
    path: str
    selectors: frozenset[str]
    agents: frozenset[str]
    agent_selectors: frozenset[str]
    ttl: timedelta
    jwt_ttl: timedelta
    dns_names: tuple[str, ...]
    hint: str
    federates_with: frozenset[TrustDomain]

    def registration(self, trust_domain: TrustDomain) -> Registration:
        return Registration(
            f"{self.namespace}/{self.name}",
            SpiffeId(trust_domain, self.path),
            self.selectors,
            self.agents,
            self.ttl,
            self.dns_names,
            self.hint,
            self.jwt_ttl,
            self.federates_with,
            self.agent_selectors,
        )


def parse(document: Document) -> tuple[WorkloadRegistration | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = read_metadata(root)
    spec = root.child("spec", required=True)
    spec.only(*_FIELDS)
    path = _path(spec, metadata.namespace)
    selectors = _selectors(spec, "selectors", SELECTOR_TYPES, "unix:uid:1000")
    if not selectors:
        spec.add(codes.EMPTY_LIST, "selectors", "needs at least one selector", "for example unix:uid:1000")
    agents = _listed(spec, "agents")
    agent_selectors = _selectors(spec, "agentSelectors", AGENT_SELECTOR_TYPES, "x509pop:subject:cn:web-1")
    if not agents and not agent_selectors:
        hint = f'name agents, write ["{ANY_AGENT}"], or give agentSelectors'
        spec.add(codes.EMPTY_LIST, "agents", "names no agent that may hold this identity", hint)
    hint = spec.text("hint")
    if len(hint.encode()) > MAX_HINT:
        spec.add(codes.TOO_LONG, "hint", f"is longer than {MAX_HINT} bytes")
    found = WorkloadRegistration(
        metadata.namespace,
        metadata.name,
        path,
        _shared(frozenset(selectors)),
        _shared(frozenset(agents)),
        _shared(frozenset(agent_selectors)),
        _ttl(spec, "x509TTL", timedelta(hours=1), MIN_TTL, MAX_TTL),
        _ttl(spec, "jwtTTL", JWT_TTL, MIN_JWT_TTL, MAX_JWT_TTL),
        _dns_names(spec),
        hint,
        _domains(spec),
    )
    return (None if root.failed else found), root.problems


def _path(spec: Fields, namespace: str) -> str:
    account, path = spec.text("serviceAccount"), spec.text("path")
    if bool(account) == bool(path):
        code = codes.EXCLUDE_EACH_OTHER if account else codes.MISSING
        spec.add(code, "serviceAccount", "give serviceAccount, or path for an ID of another shape")
    elif account and (wrong := _wrong_account(account)):
        spec.add(codes.BAD_FORMAT, "serviceAccount", wrong)
    elif path and (wrong := _wrong_path(path, namespace)):
        spec.add(codes.BAD_FORMAT, "path", wrong, f"for example /ns/{namespace}/batch/nightly")
    return path or f"/ns/{namespace}/sa/{account}"


def _listed(spec: Fields, name: str) -> tuple[str, ...]:
    found = spec.texts(name)
    if len(found) > MAX_LISTED:
        spec.add(codes.TOO_MANY, name, f"has {len(found)} entries, at most {MAX_LISTED} are taken")
    return found


def _selectors(spec: Fields, name: str, types: tuple[str, ...], example: str) -> tuple[str, ...]:
    found = _listed(spec, name)
    for index, text in enumerate(found):
        match = _SELECTOR.fullmatch(text)
        if match is None:
            spec.add(
                codes.BAD_FORMAT, f"{name}[{index}]", f'"{text}" is no selector', f"for example {example}"
            )
        elif match[1] not in types:
            hint = f"known here: {', '.join(types)}"
            spec.add(codes.NOT_A_CHOICE, f"{name}[{index}]", f'nothing attests "{match[1]}"', hint)
    return found


def _dns_names(spec: Fields) -> tuple[str, ...]:
    found = _listed(spec, "dnsNames")
    for index, name in enumerate(found):
        if len(name) > 253 or not _DNS.fullmatch(name):
            spec.add(codes.BAD_FORMAT, f"dnsNames[{index}]", f'"{name}" is no DNS name')
        elif name.endswith(RESERVED_DNS):
            spec.add(codes.RESERVED, f"dnsNames[{index}]", f'"{name}" belongs to the control plane')
    return found


def _domains(spec: Fields) -> frozenset[TrustDomain]:
    found: set[TrustDomain] = set()
    for index, name in enumerate(_listed(spec, "federatesWith")):
        try:
            found.add(TrustDomain.parse(name.removeprefix("spiffe://")))
        except SpiffeIdError as error:
            spec.add(codes.BAD_FORMAT, f"federatesWith[{index}]", f'"{name}" is no trust domain: {error}')
    return _shared(frozenset(found))


@lru_cache(maxsize=4096)
def _shared(items: frozenset[_Item]) -> frozenset[_Item]:
    """Thousands of registrations name the same selectors and agents: equal sets are one object."""
    return items


def duration(text: str) -> timedelta | None:
    """`90s`, `10m`, `1h`; None when it is none of these."""
    match = _DURATION.fullmatch(text)
    return timedelta(seconds=int(match[1]) * _UNIT[match[2]]) if match else None


def _ttl(spec: Fields, name: str, default: timedelta, low: timedelta, high: timedelta) -> timedelta:
    if name not in spec:
        return default
    text = spec.text(name)
    ttl = duration(text)
    if ttl is None or not low <= ttl <= high:
        span = f"{_written(low)} and {_written(high)}"
        spec.add(codes.OUT_OF_RANGE, name, f'"{text}" is no time between {span}', "for example 30m")
        return low
    return ttl


def _written(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    unit, size = next((u, s) for u, s in (("h", 3600), ("m", 60), ("s", 1)) if seconds % s == 0)
    return f"{seconds // size}{unit}"


def _wrong_account(text: str) -> str:
    try:
        check_path(text)
    except SpiffeIdError as error:
        return f'"{text}" cannot stand in a SPIFFE ID: {error}'
    return f'"{text}" has a slash' if "/" in text else ""


def _wrong_path(text: str, namespace: str) -> str:
    if not text.startswith(f"/ns/{namespace}/"):
        return f'"{text}" is not below /ns/{namespace}/: a namespace vouches for its own workloads only'
    try:
        check_path(text[1:])
    except SpiffeIdError as error:
        return f'"{text}" cannot stand in a SPIFFE ID: {error}'
    return ""
