"""WorkloadRegistration: which processes, on which agents, may hold which identity."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ca.errors import SpiffeIdError
from ca.registrations import ANY_AGENT, Registration
from ca.spiffe_id import TrustDomain, check_path, workload_id
from policies import codes
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, read_metadata
from policies.problem import Problem

_DURATION: Final = re.compile(r"(\d{1,6})([smh])")
_UNIT: Final = {"s": 1, "m": 60, "h": 3600}
_DNS: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SELECTOR: Final = re.compile(r"[a-z0-9_]+:[^\s:]+(:\S+)?")
MIN_TTL: Final = timedelta(minutes=1)
MAX_TTL: Final = timedelta(hours=12)
RESERVED_DNS: Final = (".pylis.internal", "localhost")


@dataclass(frozen=True, slots=True)
class WorkloadRegistration:
    namespace: str
    name: str
    service_account: str
    selectors: frozenset[str]
    agents: frozenset[str]
    ttl: timedelta
    dns_names: tuple[str, ...]
    hint: str

    def registration(self, trust_domain: TrustDomain) -> Registration:
        return Registration(
            f"{self.namespace}/{self.name}",
            workload_id(trust_domain, self.namespace, self.service_account),
            self.selectors,
            self.agents,
            self.ttl,
            self.dns_names,
            self.hint,
        )


def parse(document: Document) -> tuple[WorkloadRegistration | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = read_metadata(root)
    spec = root.child("spec", required=True)
    spec.only("serviceAccount", "selectors", "agents", "x509TTL", "dnsNames", "hint")
    account = spec.text("serviceAccount", required=True)
    if account and (wrong := _wrong_account(account)):
        spec.add(codes.BAD_FORMAT, "serviceAccount", wrong)
    selectors = spec.texts("selectors")
    if not selectors:
        spec.add(codes.EMPTY_LIST, "selectors", "needs at least one selector", "for example unix:uid:1000")
    for index, text in enumerate(selectors):
        if not _SELECTOR.fullmatch(text):
            hint = "write type:value, for example unix:uid:1000"
            spec.add(codes.BAD_FORMAT, f"selectors[{index}]", f'"{text}" is no selector', hint)
    agents = spec.texts("agents")
    if not agents:
        hint = f'name agents, or write ["{ANY_AGENT}"]'
        spec.add(codes.EMPTY_LIST, "agents", "names no agent that may hold this identity", hint)
    dns_names = spec.texts("dnsNames")
    for index, name in enumerate(dns_names):
        if len(name) > 253 or not _DNS.fullmatch(name):
            spec.add(codes.BAD_FORMAT, f"dnsNames[{index}]", f'"{name}" is no DNS name')
        elif name.endswith(RESERVED_DNS):
            spec.add(codes.RESERVED, f"dnsNames[{index}]", f'"{name}" belongs to the control plane')
    found = WorkloadRegistration(
        metadata.namespace,
        metadata.name,
        account,
        frozenset(selectors),
        frozenset(agents),
        _ttl(spec),
        dns_names,
        spec.text("hint"),
    )
    return (None if root.failed else found), root.problems


def duration(text: str) -> timedelta | None:
    """`90s`, `10m`, `1h`; None when it is none of these."""
    match = _DURATION.fullmatch(text)
    return timedelta(seconds=int(match[1]) * _UNIT[match[2]]) if match else None


def _ttl(spec: Fields) -> timedelta:
    text = spec.text("x509TTL", "1h")
    ttl = duration(text)
    if ttl is None or not MIN_TTL <= ttl <= MAX_TTL:
        spec.add(codes.OUT_OF_RANGE, "x509TTL", f'"{text}" is no time between 1m and 12h', "for example 1h")
        return MIN_TTL
    return ttl


def _wrong_account(text: str) -> str:
    try:
        check_path(text)
    except SpiffeIdError as error:
        return f'"{text}" cannot stand in a SPIFFE ID: {error}'
    return f'"{text}" has a slash' if "/" in text else ""
