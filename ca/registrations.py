"""Who may be whom: registrations say which process, on which agent, gets which SPIFFE ID."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ca.profile import LEAF_TTL
from ca.spiffe_id import SpiffeId

ANY_AGENT: Final = "*"


@dataclass(frozen=True, slots=True)
class Registration:
    """`name` is `namespace/name` of its WorkloadRegistration; `agents` names those that may hold it."""

    name: str
    spiffe_id: SpiffeId
    selectors: frozenset[str]
    agents: frozenset[str]
    ttl: timedelta = LEAF_TTL
    dns_names: tuple[str, ...] = ()
    hint: str = ""


def held_by(registrations: Iterable[Registration], agent: str) -> tuple[Registration, ...]:
    """What an agent may ever obtain, in a stable order."""
    allowed = (r for r in registrations if agent in r.agents or ANY_AGENT in r.agents)
    return tuple(sorted(allowed, key=lambda r: r.name))


def matching(registrations: Iterable[Registration], selectors: frozenset[str]) -> tuple[Registration, ...]:
    """The registrations of a process with these selectors: each asks for no more than the process has."""
    return tuple(r for r in registrations if r.selectors and r.selectors <= selectors)
