"""What is decided about each port of each group of workloads: its program and its mutual TLS, kept until policy changes.

A policy is lowered once for a port, whatever else changes beside it and however many groups it selects; what takes
long can be done before, in another thread (`heavy`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ca.revocation import Revocations
from ca.spiffe_id import TrustDomain
from controlplane.mesh import planning
from controlplane.mesh.graph import Graph, Group, Judged
from controlplane.mesh.selecting import Objects
from controlplane.resources.service_entry import ServiceEntry, ServicePort
from controlplane.resources.workload_entry import WorkloadEntry
from policies.authorization_policy import AuthorizationPolicy
from policies.lower import lower, lower_policy
from policies.observe import is_observed, observed, observed_mode
from policies.peer_authentication import PeerAuthentication, effective_mode
from policies.program import Clause, DecisionProgram, Protocol
from policies.request_authentication import RequestAuthentication, authentication
from policies.scope import differing
from policies.select import select
from policies.workload import MeshSettings, MtlsMode
from xds.compile.memo import ByIdentity

Rule = AuthorizationPolicy | PeerAuthentication | RequestAuthentication
_Place = tuple[int, Protocol]  # the workload's own port
_MANY: Final = 50  # rules; more take longer than others should be kept waiting


@dataclass(frozen=True, slots=True)
class Lowering:
    """A policy for a port: `run` in any thread, then `keep` what it gave, in the mesh's own."""

    policy: AuthorizationPolicy
    settings: MeshSettings
    place: _Place
    known: dict[_Place, tuple[Clause, ...]]

    def run(self) -> tuple[Clause, ...]:
        port, protocol = self.place
        return lower_policy(self.policy, self.settings, port=port, protocol=protocol)

    def keep(self, made: tuple[Clause, ...]) -> None:
        self.known[self.place] = made


class Decisions:
    def __init__(self, graph: Graph, settings: MeshSettings) -> None:
        self._graph = graph
        self._settings = settings
        self._domain = TrustDomain.parse(settings.trust_domain)
        self._policies: Objects[AuthorizationPolicy] = Objects()
        self._authentications: Objects[PeerAuthentication] = Objects()
        self._tokens: Objects[RequestAuthentication] = Objects()
        self.revocations = Revocations()
        self._revoked = planning.revoked(self.revocations)
        self._clauses: ByIdentity[AuthorizationPolicy, dict[_Place, tuple[Clause, ...]]] = ByIdentity()

    @property
    def token_rules(self) -> Objects[RequestAuthentication]:
        return self._tokens

    def put(self, key: Hashable, created: int, rule: Rule) -> None:
        match rule:
            case AuthorizationPolicy():
                self._policies.put(key, created, rule)
            case PeerAuthentication():
                self._authentications.put(key, created, rule)
            case RequestAuthentication():
                self._tokens.put(key, created, rule)
        self.touch(rule)

    def remove(self, key: Hashable, rule: Rule) -> None:
        for table in (self._policies, self._authentications, self._tokens):
            table.remove(key)
        self.touch(rule)

    def heavy(self, value: object) -> list[Lowering]:
        """What follows from an object that is about to be put, takes long and is not done yet."""
        match value:
            case AuthorizationPolicy():
                places = {place for group in self._selected(value) for place in group.programs}
                return self._lowerings([value], places)
            case WorkloadEntry(namespace=namespace, labels=labels):
                keys = self._graph.service_selectors.selecting(namespace, labels)
                ports = (port for key in keys for port in self._graph.services[key].entry.ports)
                return self._lowerings(self._applying(namespace, labels), map(_place, ports))
            case ServiceEntry():
                groups = self._graph.by_labels.selected(value.namespace, value.selector)
                found = (self._applying(g.workload.namespace, g.workload.labels) for g in groups)
                return self._lowerings([p for one in found for p in one], map(_place, value.ports))
            case _:
                return []

    def _applying(self, namespace: str, labels: Mapping[str, str]) -> list[AuthorizationPolicy]:
        return self._policies.applying(namespace, labels, self._settings.root_namespace)

    def _lowerings(self, rules: Iterable[AuthorizationPolicy], places: Iterable[_Place]) -> list[Lowering]:
        wanted = sorted(set(places))
        large = {id(rule): rule for rule in rules if len(rule.rules) >= _MANY}.values()
        return [
            Lowering(rule, self._settings, place, known)
            for rule in large
            for known in [self._known_of(rule)]
            for place in wanted
            if place not in known
        ]

    def _known_of(self, policy: AuthorizationPolicy) -> dict[_Place, tuple[Clause, ...]]:
        return self._clauses.get(policy, lambda _: {})

    def selects_any(self, rule: Rule) -> bool:
        """Is there a workload it is for?"""
        return bool(self._selected(rule))

    def modes_alike(self, key: Hashable) -> list[Hashable]:
        """PeerAuthentications of the same namespace with the same selector, itself among them."""
        return self._authentications.alike(key)

    def touch(self, rule: Rule) -> None:
        dirty = self._graph.dirty
        groups = self._selected(rule)
        if isinstance(rule, PeerAuthentication):
            dirty.modes.update(dict.fromkeys(groups))
            # what is only observed says whom a mode would refuse
            groups = [group for group in groups if is_observed(group.workload)]
        dirty.programs.update(dict.fromkeys(groups))

    def cut_off(self, now: Revocations) -> None:
        """Every port denies the revoked; services they are behind lose them."""
        old, self.revocations, self._revoked = self.revocations, now, planning.revoked(now)
        for group in self._graph.groups.values():
            self._graph.dirty.programs[group] = None
            if old.covers(group.identity) != now.covers(group.identity):
                self._graph.touch_services(group)

    def program_again(self, group: Group) -> None:
        for (port, protocol), old in list(group.programs.items()):
            new = self._lowered(group, port, protocol)
            if new == old.program:
                continue
            judged = group.programs[port, protocol] = Judged.of(new)
            self._graph.dirty.inbound[group] = None
            if judged.audience == old.audience:
                continue  # nobody may call it who might not before
            concerned = differing(old.audience, judged.audience)
            for service in group.services.values():
                for target in service.targets:
                    if _place(target.port) == (port, protocol):
                        self._graph.dirty.ask(target, concerned)

    def mode_again(self, group: Group) -> None:
        old = dict(group.modes)
        group.modes.clear()
        if any(self._mode(group, port) != mode for port, mode in old.items()):
            self._graph.dirty.inbound[group] = None
            self._graph.touch_services(group)

    def judged(self, group: Group, port: ServicePort) -> Judged:
        key = _place(port)
        if key not in group.programs:
            group.programs[key] = Judged.of(self._lowered(group, *key))
        return group.programs[key]

    @property
    def look(self) -> planning.Lookups:
        return planning.Lookups(
            self._domain,
            self.revocations,
            lambda entry, port: self.judged(self._group(entry), port).program,
            lambda entry, port: self._mode(self._group(entry), planning.target(port)),
            lambda entry, port: self.judged(self._group(entry), port).cut,
            lambda entry: planning.is_ready(entry, self._graph.presences.get(entry.watched_by)),
        )

    def _group(self, entry: WorkloadEntry) -> Group:
        return self._graph.nodes[planning.node_id(entry)].group

    def _selected(self, rule: Rule) -> list[Group]:
        everywhere = rule.namespace == self._settings.root_namespace
        return self._graph.by_labels.selected(None if everywhere else rule.namespace, rule.selector)

    def _lowered(self, group: Group, port: int, protocol: Protocol) -> DecisionProgram:
        settings, workload = self._settings, group.workload
        where = (workload.namespace, workload.labels, settings.root_namespace)
        selected = select(self._applying(workload.namespace, workload.labels), workload, settings)
        tokens = authentication(self._tokens.applying(*where), workload, settings)

        def lowered(policy: AuthorizationPolicy) -> tuple[Clause, ...]:
            known = self._known_of(policy)
            if (port, protocol) not in known:
                known[port, protocol] = lower_policy(policy, settings, port=port, protocol=protocol)
            return known[port, protocol]

        program = lower(
            selected, settings, port=port, protocol=protocol, authentication=tokens, lowered=lowered
        )
        if is_observed(workload):
            program = observed(program, self._effective(group, port))
        return replace(program, revoked=self._revoked)

    def _mode(self, group: Group, port: int) -> MtlsMode:
        if port not in group.modes:
            mode = self._effective(group, port)
            group.modes[port] = observed_mode(mode) if is_observed(group.workload) else mode
        return group.modes[port]

    def _effective(self, group: Group, port: int) -> MtlsMode:
        settings, workload = self._settings, group.workload
        found = self._authentications.by_age(workload.namespace, workload.labels, settings.root_namespace)
        return effective_mode(found, workload, port, settings)


def _place(port: ServicePort) -> _Place:
    return planning.target(port), planning.protocol(port)
