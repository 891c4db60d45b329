"""The mesh, kept up to date edit by edit: what an edit can have changed is found by index, nothing else is looked at.

    edit of                        is looked at again
    AuthorizationPolicy            programs of the workloads it selects or selected
    RequestAuthentication          the same
    PeerAuthentication             modes of the workloads it selects or selected
    ServiceEntry                   its workloads' inbound ports; itself as a destination
    WorkloadEntry                  itself; its services as destinations; its identity, where that is new or gone
    Quarantine                     every program; services the cut off are behind
    a program that changed         inbound ports of its workloads; who may call the services they are behind
    callers or destination changed what each of the callers, and who declares it, is told

`apply` answers which proxies have another plan than before: exactly those, for parts are compared before a proxy is
named. That many edits end where one reading of everything ends is tested against `planning.Planner`.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ca.registrations import ANY_AGENT, Registration
from ca.revocation import Revocations
from ca.spiffe_id import SpiffeId, TrustDomain
from controlplane.mesh import planning
from controlplane.mesh.labels import Labelled, Selectors
from controlplane.mesh.registered import Registrations
from controlplane.resources.quarantine import Quarantine, revocations
from controlplane.resources.service_entry import ServiceEntry, ServicePort
from controlplane.resources.workload_entry import WorkloadEntry
from controlplane.resources.workload_registration import WorkloadRegistration
from policies.authorization_policy import AuthorizationPolicy
from policies.lower import lower
from policies.observe import is_observed, observed, observed_mode
from policies.peer_authentication import PeerAuthentication, effective_mode
from policies.program import DecisionProgram, Protocol, Revoked
from policies.request_authentication import RequestAuthentication, authentication
from policies.scope import Audience, audience, may_ever_allow
from policies.select import select
from policies.workload import MeshSettings, MtlsMode, Workload
from xds.plan import AccessLog, Destination, InboundPort, ProxyPlan

_Declared = frozenset[tuple[str, int]]
_Selecting = AuthorizationPolicy | PeerAuthentication | RequestAuthentication


@dataclass(frozen=True, slots=True)
class Edit:
    """One object as it is from now on; `value` None: it is gone. `created` orders the objects of a kind by age."""

    key: Hashable
    created: int
    value: object | None


@dataclass(frozen=True, slots=True)
class Affected:
    """Proxies whose plan changed, and agents whose registrations did ("*": every agent's).

    `gone`: of `nodes`, those whose workload is registered no more.
    """

    nodes: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Judged:
    """A program, with what is asked of it again and again."""

    program: DecisionProgram
    audience: Audience
    cut: str

    @classmethod
    def of(cls, program: DecisionProgram) -> _Judged:
        return cls(program, audience(program), planning.cut_mark(program))


@dataclass(eq=False, slots=True)
class _Group:
    """Workloads that policy cannot tell apart: replicas, as a rule."""

    workload: Workload
    identity: SpiffeId
    entries: dict[str, WorkloadEntry] = field(default_factory=dict[str, WorkloadEntry])
    services: dict[Hashable, _Service] = field(default_factory=lambda: dict[Hashable, _Service]())
    programs: dict[tuple[int, Protocol], _Judged] = field(default_factory=dict[tuple[int, Protocol], _Judged])
    modes: dict[int, MtlsMode] = field(default_factory=dict[int, MtlsMode])

    def by_age(self) -> list[ServiceEntry]:
        return [s.entry for s in sorted(self.services.values(), key=lambda s: s.created)]


@dataclass(eq=False, slots=True)
class _Target:
    """One port of a service, as something to be called."""

    service: _Service
    index: int
    port: ServicePort
    callers: set[str] = field(default_factory=set[str])  # principals
    asked: tuple[tuple[str, str], ...] = ()  # where `_Audiences` lists it
    destinations: dict[str, Destination] = field(default_factory=dict[str, Destination])  # by host

    @property
    def age(self) -> tuple[int, int]:
        return self.service.created, self.index


@dataclass(eq=False, slots=True)
class _Service:
    entry: ServiceEntry
    created: int
    groups: dict[_Group, None] = field(default_factory=dict[_Group, None])
    targets: list[_Target] = field(default_factory=list[_Target])


@dataclass(eq=False, slots=True)
class _Identity:
    """Everyone who calls with one principal."""

    groups: dict[_Group, None] = field(default_factory=dict[_Group, None])
    reach: dict[_Target, None] = field(default_factory=dict[_Target, None])


@dataclass(eq=False, slots=True)
class _Node:
    """A proxy's parts as they were last planned."""

    entry: WorkloadEntry
    group: _Group
    inbound: tuple[InboundPort, ...] = ()
    scope: tuple[Destination, ...] = ()
    declared: _Declared = frozenset()  # upstreams, and the authorizers its own ports ask


@dataclass(slots=True)
class _Dirty:
    """What has to be looked at again; dicts keep the order, so that a run can be repeated."""

    programs: dict[_Group, None] = field(default_factory=dict[_Group, None])
    modes: dict[_Group, None] = field(default_factory=dict[_Group, None])
    inbound: dict[_Group, None] = field(default_factory=dict[_Group, None])
    callers: dict[_Target, None] = field(default_factory=dict[_Target, None])
    destinations: dict[_Target, None] = field(default_factory=dict[_Target, None])
    newcomers: dict[str, None] = field(default_factory=dict[str, None])
    principals: dict[str, None] = field(default_factory=dict[str, None])
    nodes: dict[str, None] = field(default_factory=dict[str, None])
    edited: dict[str, None] = field(default_factory=dict[str, None])
    gone: dict[str, None] = field(default_factory=dict[str, None])


class LiveMesh:
    def __init__(self, settings: MeshSettings, access_log: AccessLog = AccessLog.DENIED) -> None:
        self.settings = settings
        self._access_log = access_log
        self._domain = TrustDomain.parse(settings.trust_domain)
        self._objects: dict[Hashable, Edit] = {}
        self._nodes: dict[str, _Node] = {}
        self._groups: dict[tuple[object, ...], _Group] = {}
        self._services: dict[Hashable, _Service] = {}
        self._identities: dict[str, _Identity] = {}
        self._by_namespace: dict[str, dict[str, None]] = {}  # principals
        self._by_labels: Labelled[_Group] = Labelled()
        self._policies: Selectors[Hashable] = Selectors()
        self._authentications: Selectors[Hashable] = Selectors()
        self._token_rules: Selectors[Hashable] = Selectors()
        self._token_kinds: dict[Hashable, RequestAuthentication] = {}
        self._jwks: dict[str, str] = {}
        self._service_selectors: Selectors[Hashable] = Selectors()
        self._asking: dict[tuple[str, str], dict[_Target, None]] = {}
        self._by_host: dict[tuple[str, int], dict[_Target, None]] = {}
        self._declarers: dict[tuple[str, int], dict[str, None]] = {}
        self._registrations = Registrations(self._domain)
        self._quarantines: dict[Hashable, Quarantine] = {}
        self.revocations = Revocations()
        self._revoked = Revoked()
        self._dirty = _Dirty()

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(self._nodes)

    def identity(self, node_id: str) -> SpiffeId | None:
        """The one identity that may claim `node_id`; None when no such workload is registered."""
        node = self._nodes.get(node_id)
        return None if node is None else node.group.identity

    def plan(self, node_id: str) -> ProxyPlan | None:
        """None when the node is not registered or has no sidecar."""
        node = self._nodes.get(node_id)
        if node is None:
            return None
        return planning.proxy_plan(
            node.entry, self.settings, node.inbound, node.scope, self._access_log, self._jwks
        )

    @property
    def key_sources(self) -> dict[str, float]:
        """Where the keys of all token rules are fetched from, and how many seconds that may take."""
        found = self._token_kinds.values()
        sources: dict[str, float] = {}
        for rule in (rule for one in found for rule in one.rules if rule.key_source):
            sources[rule.key_source] = max(sources.get(rule.key_source, 0.0), rule.timeout_seconds)
        return sources

    def learn_keys(self, source: str, jwks: str) -> Affected:
        """The keys that were fetched from `source`."""
        if self._jwks.get(source) == jwks:
            return Affected()
        self._jwks[source] = jwks
        return Affected(
            frozenset(i for i, n in self._nodes.items() if source in planning.key_sources(n.inbound))
        )

    def registrations_of(
        self, agent: str, selectors: frozenset[str] = frozenset()
    ) -> tuple[Registration, ...]:
        """What an agent may ever obtain, by name; without identities that are cut off."""
        held = self._registrations.held_by(agent, selectors)
        return tuple(r for r in held if not self.revocations.covers(r.spiffe_id))

    def apply(self, edits: Iterable[Edit]) -> Affected:
        """Edits of one object come in order; an edit that says what is known already changes nothing."""
        self._dirty = _Dirty()
        agents = set[str]()
        for edit in edits:
            old = self._objects.get(edit.key)
            if edit.value is None:
                self._objects.pop(edit.key, None)
            else:
                self._objects[edit.key] = edit
            was = None if old is None else old.value
            if was == edit.value and (old is None or old.created == edit.created):
                continue
            agents |= self._take(edit, was)
        agents |= self._cut_off()
        return Affected(self._settle(), frozenset(agents), frozenset(self._dirty.gone))

    def replace_all(self, edits: Iterable[Edit]) -> Affected:
        """As `apply`, and what is not among them is gone: one reading of everything."""
        everything = list(edits)
        kept = {edit.key for edit in everything}
        gone = [Edit(key, 0, None) for key in self._objects if key not in kept]
        return self.apply([*gone, *everything])

    # what an edit touches

    def _take(self, edit: Edit, was: object | None) -> set[str]:
        agents = set[str]()
        for value, now in ((was, False), (edit.value, True)):
            match value:
                case AuthorizationPolicy():
                    self._select(self._policies, edit.key, value, now=now)
                    self._dirty.programs.update(dict.fromkeys(self._selected(value)))
                case PeerAuthentication():
                    self._select(self._authentications, edit.key, value, now=now)
                    self._dirty.modes.update(dict.fromkeys(self._selected(value)))
                case RequestAuthentication():
                    self._select(self._token_rules, edit.key, value, now=now)
                    self._token_kinds.pop(edit.key, None)
                    if now:
                        self._token_kinds[edit.key] = value
                    self._dirty.programs.update(dict.fromkeys(self._selected(value)))
                case ServiceEntry():
                    if now:
                        self._add_service(edit.key, edit.created, value)
                    else:
                        self._remove_service(edit.key, value)
                case WorkloadEntry():
                    if now:
                        self._add_entry(value, was if isinstance(was, WorkloadEntry) else None)
                    elif not isinstance(edit.value, WorkloadEntry):
                        self._remove_entry(value)
                case WorkloadRegistration():
                    if now:
                        agents |= self._registrations.add(edit.key, value)
                    else:
                        agents |= self._registrations.remove(edit.key)
                case Quarantine():
                    self._quarantines.pop(edit.key, None)
                    if now:
                        self._quarantines[edit.key] = value
                case _:
                    pass
        return agents

    def _cut_off(self) -> set[str]:
        """Every port denies the revoked; services they are behind lose them; agents may not hold them."""
        old, new = self.revocations, revocations(self._quarantines.values())
        if new == old:
            return set()
        self.revocations, self._revoked = new, planning.revoked(new)
        for group in self._groups.values():
            self._dirty.programs[group] = None
            if old.covers(group.identity) != new.covers(group.identity):
                self._touch_services(group)
        return {ANY_AGENT}

    def _select(
        self,
        table: Selectors[Hashable],
        key: Hashable,
        what: _Selecting,
        *,
        now: bool,
    ) -> None:
        if now:
            table.add(key, what.namespace, what.selector)
        else:
            table.remove(key)

    def _selected(self, what: _Selecting) -> list[_Group]:
        everywhere = what.namespace == self.settings.root_namespace
        return self._by_labels.selected(None if everywhere else what.namespace, what.selector)

    def _add_service(self, key: Hashable, created: int, entry: ServiceEntry) -> None:
        service = self._services[key] = _Service(entry, created)
        service.targets = [_Target(service, index, port) for index, port in enumerate(entry.ports)]
        self._service_selectors.add(key, entry.namespace, entry.selector)
        for group in self._by_labels.selected(entry.namespace, entry.selector):
            self._join(group, key, service)
        for target in service.targets:
            self._dirty.callers[target] = None
            self._dirty.destinations[target] = None
            for host in entry.hosts:
                self._by_host.setdefault((host, target.port.number), {})[target] = None

    def _remove_service(self, key: Hashable, entry: ServiceEntry) -> None:
        service = self._services.pop(key)
        self._service_selectors.remove(key)
        for group in service.groups:
            del group.services[key]
            self._dirty.inbound[group] = None
        for target in service.targets:
            self._tell_users(target)
            self._dirty.callers.pop(target, None)
            self._dirty.destinations.pop(target, None)
            for caller in target.callers:
                self._identities[caller].reach.pop(target, None)
            self._list(target, ())
            for host in dict.fromkeys(entry.hosts):
                _drop(self._by_host, (host, target.port.number), target)

    def _join(self, group: _Group, key: Hashable, service: _Service) -> None:
        service.groups[group] = None
        group.services[key] = service
        self._dirty.inbound[group] = None

    def _add_entry(self, entry: WorkloadEntry, was: WorkloadEntry | None) -> None:
        id_ = planning.node_id(entry)
        if was is not None:
            if self._key(entry) == self._key(was):
                self._change_entry(id_, entry)
                return
            self._remove_entry(was)
        group = self._groups.get(self._key(entry)) or self._new_group(entry)
        group.entries[id_] = entry
        self._nodes[id_] = _Node(entry, group)
        self._declare(id_)
        self._dirty.gone.pop(id_, None)
        self._touch(id_, group)

    def _change_entry(self, id_: str, entry: WorkloadEntry) -> None:
        node = self._nodes[id_]
        node.entry = node.group.entries[id_] = entry
        self._declare(id_)
        self._touch(id_, node.group)

    def _remove_entry(self, entry: WorkloadEntry) -> None:
        id_ = planning.node_id(entry)
        node = self._nodes.pop(id_)
        group = node.group
        for place in node.declared:
            _drop(self._declarers, place, id_)
        self._dirty.nodes.pop(id_, None)
        self._dirty.edited.pop(id_, None)
        self._dirty.gone[id_] = None
        self._touch_services(group)
        del group.entries[id_]
        if not group.entries:
            self._remove_group(group, self._key(entry))

    def _touch(self, id_: str, group: _Group) -> None:
        self._dirty.edited[id_] = None
        self._touch_services(group)

    def _touch_services(self, group: _Group) -> None:
        for service in group.services.values():
            self._dirty.destinations.update(dict.fromkeys(service.targets))

    def _new_group(self, entry: WorkloadEntry) -> _Group:
        identity = planning.identity(self._domain, entry)
        workload = Workload(entry.namespace, entry.name, entry.service_account, entry.labels)
        group = self._groups[self._key(entry)] = _Group(workload, identity)
        self._by_labels.add(group, entry.namespace, entry.labels)
        for key in list(self._service_selectors.selecting(entry.namespace, entry.labels)):
            service = self._services[key]
            self._join(group, key, service)
            self._dirty.callers.update(dict.fromkeys(service.targets))
        principal = identity.principal
        if principal not in self._identities:
            self._identities[principal] = _Identity()
            self._by_namespace.setdefault(entry.namespace, {})[principal] = None
            self._dirty.newcomers[principal] = None
        self._identities[principal].groups[group] = None
        return group

    def _remove_group(self, group: _Group, key: tuple[object, ...]) -> None:
        del self._groups[key]
        self._by_labels.remove(group)
        for service in group.services.values():
            del service.groups[group]
            self._dirty.callers.update(dict.fromkeys(service.targets))
        for table in (self._dirty.programs, self._dirty.modes, self._dirty.inbound):
            table.pop(group, None)
        principal = group.identity.principal
        identity = self._identities[principal]
        del identity.groups[group]
        if not identity.groups:
            for target in identity.reach:
                target.callers.discard(principal)
            del self._identities[principal]
            _drop(self._by_namespace, group.workload.namespace, principal)
            self._dirty.newcomers.pop(principal, None)
            self._dirty.principals.pop(principal, None)

    @staticmethod
    def _key(entry: WorkloadEntry) -> tuple[object, ...]:
        return entry.namespace, entry.service_account, tuple(sorted(entry.labels.items()))

    def _declare(self, id_: str) -> None:
        """Whatever becomes of these services, the node is told."""
        node = self._nodes[id_]
        now = planning.declared(node.entry) | planning.asked(node.inbound)
        for place in node.declared - now:
            _drop(self._declarers, place, id_)
        for place in now - node.declared:
            self._declarers.setdefault(place, {})[id_] = None
        node.declared = now

    # what follows from it

    def _settle(self) -> frozenset[str]:
        dirty = self._dirty
        for group in dirty.programs:
            self._program_again(group)
        for group in dirty.modes:
            self._mode_again(group)
        for target in dirty.callers:
            self._callers_again(target)
        for principal in dirty.newcomers:
            self._reach_of(principal)
        for target in dirty.destinations:
            self._destinations_again(target)
        return frozenset(self._changed_nodes()) | dirty.gone.keys()

    def _program_again(self, group: _Group) -> None:
        for (port, protocol), old in list(group.programs.items()):
            new = self._lowered(group, port, protocol)
            if new == old.program:
                continue
            judged = group.programs[port, protocol] = _Judged.of(new)
            self._dirty.inbound[group] = None
            if judged.audience == old.audience:
                continue  # nobody may call it who might not before
            for service in group.services.values():
                for target in service.targets:
                    if (planning.target(target.port), planning.protocol(target.port)) == (port, protocol):
                        self._dirty.callers[target] = None

    def _mode_again(self, group: _Group) -> None:
        old = dict(group.modes)
        group.modes.clear()
        if any(self._mode(group, port) != mode for port, mode in old.items()):
            self._dirty.inbound[group] = None
            self._touch_services(group)

    def _callers_again(self, target: _Target) -> None:
        callers = set[str]()
        asked = dict[tuple[str, str], None]()
        for group in target.service.groups:
            judged = self._judged(group, target.port)
            asked |= _listings(judged.audience)
            callers.update(self._let_in(judged.program, judged.audience))
        self._list(target, tuple(asked))
        for principal in target.callers - callers:
            self._identities[principal].reach.pop(target, None)
        for principal in callers - target.callers:
            self._identities[principal].reach[target] = None
        self._dirty.principals.update(dict.fromkeys(sorted(target.callers ^ callers)))
        target.callers = callers

    def _let_in(self, program: DecisionProgram, who: Audience) -> Iterator[str]:
        named = who.named & self._identities.keys()
        yield from (p for p in named if not who.denies or may_ever_allow(program, p))
        asked = self._identities if who.anyone else self._in(who.namespaces)
        yield from (p for p in asked if p not in named and may_ever_allow(program, p))

    def _in(self, namespaces: Collection[str]) -> Iterator[str]:
        for namespace in namespaces:
            yield from self._by_namespace.get(namespace, ())

    def _reach_of(self, principal: str) -> None:
        """An identity that was not there before: of what exists, what may it call?"""
        identity = self._identities[principal]
        namespace = next(iter(identity.groups)).workload.namespace
        keys = (("principal", principal), ("namespace", namespace), ("anyone", ""))
        for target in {t: None for key in keys for t in self._asking.get(key, ())}:
            programs = (self._judged(group, target.port).program for group in target.service.groups)
            if any(may_ever_allow(program, principal) for program in programs):
                target.callers.add(principal)
                identity.reach[target] = None
        self._dirty.principals[principal] = None

    def _list(self, target: _Target, asked: tuple[tuple[str, str], ...]) -> None:
        for key in target.asked:
            _drop(self._asking, key, target)
        for key in asked:
            self._asking.setdefault(key, {})[target] = None
        target.asked = asked

    def _destinations_again(self, target: _Target) -> None:
        members = [entry for group in target.service.groups for entry in group.entries.values()]
        for host in dict.fromkeys(target.service.entry.hosts):
            new = planning.destination(host, target.port, members, self._look)
            if target.destinations.get(host) != new:
                target.destinations[host] = new
                self._tell_users(target)

    def _tell_users(self, target: _Target) -> None:
        self._dirty.principals.update(dict.fromkeys(sorted(target.callers)))
        for host in target.service.entry.hosts:
            self._dirty.nodes.update(self._declarers.get((host, target.port.number), {}))

    def _changed_nodes(self) -> Iterator[str]:
        dirty = self._dirty
        for group in dirty.inbound:
            for id_ in group.entries:
                node = self._nodes[id_]
                if node.entry.sidecar and self._plan_inbound(id_, node):
                    yield id_
        known = (self._identities[p] for p in dirty.principals if p in self._identities)
        told = {id_: None for identity in known for group in identity.groups for id_ in group.entries}
        scopes: dict[tuple[str, _Declared], tuple[Destination, ...]] = {}
        for id_ in {**dirty.edited, **dirty.nodes, **told}:
            node = self._nodes[id_]
            if node.entry.sidecar is None and id_ not in dirty.edited:
                continue
            if id_ in dirty.edited:
                self._plan_inbound(id_, node)
            scope = self._scope(node, scopes)
            if id_ in dirty.edited or scope != node.scope:
                node.scope = scope
                yield id_

    def _plan_inbound(self, id_: str, node: _Node) -> bool:
        """Whether that changed anything. The services its ports ask are told of it from now on."""
        inbound = self._inbound(node)
        if inbound == node.inbound:
            return False
        node.inbound = inbound
        known = node.declared
        self._declare(id_)
        if node.declared != known:
            self._dirty.nodes[id_] = None
        return True

    # the parts

    def _inbound(self, node: _Node) -> tuple[InboundPort, ...]:
        return tuple(planning.inbound_ports(node.entry, node.group.by_age(), self._look))

    def _scope(
        self, node: _Node, known: dict[tuple[str, _Declared], tuple[Destination, ...]]
    ) -> tuple[Destination, ...]:
        key = (node.group.identity.principal, node.declared)
        if key not in known:
            scope = tuple(self._told(*key))
            known[key] = node.scope if scope == node.scope else scope
        return known[key]

    def _told(self, principal: str, declared: _Declared) -> Iterator[Destination]:
        reach = self._identities[principal].reach
        wanted = {t: None for place in declared for t in self._by_host.get(place, ())}
        seen: set[tuple[str, int]] = set()
        for target in sorted({**reach, **wanted}, key=lambda t: t.age):
            for host in target.service.entry.hosts:
                place = (host, target.port.number)
                if place not in seen and (target in reach or place in declared):
                    seen.add(place)
                    yield target.destinations[host]

    @property
    def _look(self) -> planning.Lookups:
        return planning.Lookups(
            self._domain,
            self.revocations,
            lambda entry, port: self._judged(self._group(entry), port).program,
            lambda entry, port: self._mode(self._group(entry), planning.target(port)),
            lambda entry, port: self._judged(self._group(entry), port).cut,
        )

    def _group(self, entry: WorkloadEntry) -> _Group:
        return self._nodes[planning.node_id(entry)].group

    def _judged(self, group: _Group, port: ServicePort) -> _Judged:
        key = (planning.target(port), planning.protocol(port))
        if key not in group.programs:
            group.programs[key] = _Judged.of(self._lowered(group, *key))
        return group.programs[key]

    def _lowered(self, group: _Group, port: int, protocol: Protocol) -> DecisionProgram:
        keys = self._applying(self._policies, group)
        found = [p for key in keys if isinstance(p := self._objects[key].value, AuthorizationPolicy)]
        selected = select(found, group.workload, self.settings)
        keys = self._applying(self._token_rules, group)
        rules = [r for key in keys if isinstance(r := self._objects[key].value, RequestAuthentication)]
        tokens = authentication(rules, group.workload, self.settings)
        program = lower(selected, self.settings, port=port, protocol=protocol, authentication=tokens)
        if is_observed(group.workload):
            program = observed(program)
        return replace(program, revoked=self._revoked)

    def _mode(self, group: _Group, port: int) -> MtlsMode:
        if port not in group.modes:
            keys = sorted(
                self._applying(self._authentications, group), key=lambda k: self._objects[k].created
            )
            found = [p for key in keys if isinstance(p := self._objects[key].value, PeerAuthentication)]
            mode = effective_mode(found, group.workload, port, self.settings)
            group.modes[port] = observed_mode(mode) if is_observed(group.workload) else mode
        return group.modes[port]

    def _applying(self, table: Selectors[Hashable], group: _Group) -> list[Hashable]:
        namespaces = dict.fromkeys((group.workload.namespace, self.settings.root_namespace))
        return [key for name in namespaces for key in table.selecting(name, group.workload.labels)]


def _listings(who: Audience) -> dict[tuple[str, str], None]:
    """Under which keys an identity that comes later finds a target."""
    if who.anyone:
        return {("anyone", ""): None}
    named = {("principal", text): None for text in who.named}
    return named | {("namespace", text): None for text in who.namespaces}


_Bucket = TypeVar("_Bucket", bound=Hashable)
_Member = TypeVar("_Member", bound=Hashable)


def _drop(table: dict[_Bucket, dict[_Member, None]], bucket: _Bucket, key: _Member) -> None:
    table[bucket].pop(key, None)
    if not table[bucket]:
        del table[bucket]
