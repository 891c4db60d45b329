"""Registrations by agent: what each may obtain, without looking at every registration."""

from __future__ import annotations

from collections.abc import Hashable

from ca.registrations import ANY_AGENT, Registration
from ca.spiffe_id import TrustDomain
from controlplane.resources.workload_registration import WorkloadRegistration


class Registrations:
    """`add` and `remove` answer which agents it concerns (`*`: all)."""

    def __init__(self, domain: TrustDomain) -> None:
        self._domain = domain
        self._all: dict[Hashable, Registration] = {}
        self._by_agent: dict[str, dict[Hashable, Registration]] = {}

    def add(self, key: Hashable, declared: WorkloadRegistration) -> set[str]:
        registration = self._all[key] = declared.registration(self._domain)
        for agent in registration.agents:
            self._by_agent.setdefault(agent, {})[key] = registration
        return set(registration.agents)

    def remove(self, key: Hashable) -> set[str]:
        registration = self._all.pop(key)
        for agent in registration.agents:
            del self._by_agent[agent][key]
            if not self._by_agent[agent]:
                del self._by_agent[agent]
        return set(registration.agents)

    def held_by(self, agent: str) -> tuple[Registration, ...]:
        """What an agent may ever obtain, by name."""
        found = {**self._by_agent.get(ANY_AGENT, {}), **self._by_agent.get(agent, {})}
        return tuple(sorted(found.values(), key=lambda r: r.name))
