"""Who may be whom: registrations say which process, on which agent, gets which SPIFFE ID.

`name_problems` is asked on every signing, whoever wrote the registration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ca.jwt_svid import JWT_TTL
from ca.profile import LEAF_TTL
from ca.spiffe_id import RESERVED, SpiffeId, TrustDomain

ANY_AGENT: Final = "*"
RESERVED_DNS: Final = (
    ".pylis.internal",
    ".localhost",
)  # with a dot before the name, so that it counts itself
_DNS: Final = re.compile(
    r"(\*\.)?[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?)*", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Registration:
    """`name` is `namespace/name` of its WorkloadRegistration.

    An agent may hold it that is named in `agents`, or that was attested with all of `agent_selectors` (if there
    are any).
    """

    name: str
    spiffe_id: SpiffeId
    selectors: frozenset[str]
    agents: frozenset[str]
    ttl: timedelta = LEAF_TTL
    dns_names: tuple[str, ...] = ()
    hint: str = ""
    jwt_ttl: timedelta = JWT_TTL
    federates_with: frozenset[TrustDomain] = frozenset()
    agent_selectors: frozenset[str] = frozenset()


def held_by(
    registrations: Iterable[Registration], agent: str, selectors: frozenset[str] = frozenset()
) -> tuple[Registration, ...]:
    """What an agent may ever obtain, in a stable order; `selectors`: what its attestation found out."""
    allowed = (
        r
        for r in registrations
        if agent in r.agents
        or ANY_AGENT in r.agents
        or (r.agent_selectors and r.agent_selectors <= selectors)
    )
    return tuple(sorted(allowed, key=lambda r: r.name))


def matching(registrations: Iterable[Registration], selectors: frozenset[str]) -> tuple[Registration, ...]:
    """The registrations of a process with these selectors: each asks for no more than the process has."""
    return tuple(r for r in registrations if r.selectors and r.selectors <= selectors)


def name_problems(spiffe_id: SpiffeId, dns_names: Iterable[str], trust_domain: TrustDomain) -> list[str]:
    """Why a workload of `trust_domain` may not have these names; empty when it may."""
    problems: list[str] = []
    if spiffe_id.trust_domain != trust_domain:
        problems.append(f"{spiffe_id} is not of trust domain {trust_domain}")
    if not spiffe_id.path:
        problems.append("the SPIFFE ID of a workload needs a path")
    if spiffe_id.is_reserved:
        problems.append(f"{spiffe_id}: paths below {RESERVED} are reserved for the control plane")
    for name in dns_names:
        if len(name) > 253 or not _DNS.fullmatch(name):
            problems.append(f"{name!r} is no DNS name")
        elif f".{name}".endswith(RESERVED_DNS):
            problems.append(f"{name!r} is reserved for the control plane")
    return problems
