"""Registrations by agent: what each may obtain, without looking at every registration."""

from __future__ import annotations

from collections.abc import Hashable

from ca.registrations import ANY_AGENT, Registration
from ca.spiffe_id import TrustDomain
from controlplane.resources.workload_registration import WorkloadRegistration

_Found = dict[Hashable, Registration]


class Registrations:
    """`add` and `remove` answer which agents it concerns (`*`: all).

    Which agents have certain selectors is not known here, so what names selectors concerns all; it is found again
    by one of them.
    """

    def __init__(self, domain: TrustDomain) -> None:
        self._domain = domain
        self._all: _Found = {}
        self._by_agent: dict[str, _Found] = {}
        self._by_selector: dict[str, _Found] = {}

    def add(self, key: Hashable, declared: WorkloadRegistration) -> set[str]:
        registration = self._all[key] = declared.registration(self._domain)
        for agent in registration.agents:
            self._by_agent.setdefault(agent, {})[key] = registration
        if registration.agent_selectors:
            self._by_selector.setdefault(min(registration.agent_selectors), {})[key] = registration
        return _concerned(registration)

    def remove(self, key: Hashable) -> set[str]:
        registration = self._all.pop(key)
        for agent in registration.agents:
            _drop(self._by_agent, agent, key)
        if registration.agent_selectors:
            _drop(self._by_selector, min(registration.agent_selectors), key)
        return _concerned(registration)

    def held_by(self, agent: str, selectors: frozenset[str] = frozenset()) -> tuple[Registration, ...]:
        """What an agent may ever obtain, by name; `selectors`: what its attestation found out."""
        found = {**self._by_agent.get(ANY_AGENT, {}), **self._by_agent.get(agent, {})}
        for selector in selectors & self._by_selector.keys():
            listed = self._by_selector[selector]
            found |= {key: r for key, r in listed.items() if r.agent_selectors <= selectors}
        return tuple(sorted(found.values(), key=lambda r: r.name))


def _concerned(registration: Registration) -> set[str]:
    return {ANY_AGENT} if registration.agent_selectors else set(registration.agents)


def _drop(table: dict[str, _Found], name: str, key: Hashable) -> None:
    del table[name][key]
    if not table[name]:
        del table[name]
