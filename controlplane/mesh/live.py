"""The mesh, kept up to date edit by edit: what an edit can have changed is found by index, nothing else is looked at.

    edit of                        is looked at again
    AuthorizationPolicy            programs of the workloads it selects or selected
    RequestAuthentication          the same
    PeerAuthentication             modes of the workloads it selects or selected
    ServiceEntry                   its workloads' inbound ports; itself as a destination
    WorkloadEntry                  itself; its services as destinations; its identity, where that is new or gone
    Quarantine                     every program; services the cut off are behind
    DestinationRule                what callers of the services it matches are told
    Sidecar                        what the workloads it selects or selected are told
    an agent's presence            services of the workloads it watches, as destinations
    a program that changed         inbound ports of its workloads; who may call the services they are behind
    callers or destination changed what each of the callers, and who declares it, is told

`apply` answers which proxies have another plan than before: exactly those, for parts are compared before a proxy is
named. That many edits end where one reading of everything ends is tested against `planning.Planner`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from ca.registrations import ANY_AGENT, Registration
from ca.revocation import Revocations
from ca.spiffe_id import SpiffeId, TrustDomain
from controlplane.mesh import planning
from controlplane.mesh.deciding import Decisions, Lowering
from controlplane.mesh.destinations import Destinations
from controlplane.mesh.graph import Dirty, Graph, Node, Place
from controlplane.mesh.members import Members
from controlplane.mesh.mesh import Mesh
from controlplane.mesh.presence import Presence
from controlplane.mesh.reaching import Reach
from controlplane.mesh.registered import Registrations
from controlplane.mesh.relations import Relations
from controlplane.mesh.standing import Standing
from controlplane.resources.destination_rule import DestinationRule
from controlplane.resources.federated_trust_domain import FederatedTrustDomain
from controlplane.resources.quarantine import Quarantine, revocations
from controlplane.resources.service_entry import ServiceEntry
from controlplane.resources.sidecar import Egress, Sidecar
from controlplane.resources.workload_entry import WorkloadEntry
from controlplane.resources.workload_registration import WorkloadRegistration
from policies.authorization_policy import AuthorizationPolicy
from policies.peer_authentication import PeerAuthentication
from policies.request_authentication import RequestAuthentication
from policies.workload import MeshSettings
from xds.plan import AccessLog, Destination, Locality, ProxyPlan

_Places = frozenset[Place]
_ScopeKey = tuple[str, _Places, _Places, tuple[Egress, ...] | None, Locality]
_Scopes = dict[_ScopeKey, tuple[Destination, ...]]


@dataclass(frozen=True, slots=True)
class Edit:
    """One object as it is from now on; `value` None: it is gone. `created` orders the objects of a kind by age.

    `problem`: why it is not in force as it is written, or only a part of it.
    """

    key: Hashable
    created: int
    value: object | None
    problem: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Affected:
    """Proxies whose plan changed, and agents whose registrations did ("*": every agent's).

    `gone`: of `nodes`, those whose workload is registered no more.
    """

    nodes: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


class LiveMesh:
    def __init__(self, settings: MeshSettings, access_log: AccessLog = AccessLog.DENIED) -> None:
        self.settings = settings
        self._access_log = access_log
        domain = TrustDomain.parse(settings.trust_domain)
        self._objects: dict[Hashable, Edit] = {}
        self._graph = Graph()
        self._decisions = Decisions(self._graph, settings)
        self._reach = Reach(self._graph, self._decisions)
        self._members = Members(self._graph, self._reach, settings)
        self._destinations = Destinations(self._graph, self._decisions, settings.root_namespace)
        self._standing = Standing(self._graph, self._decisions, settings, self._objects)
        self._registrations = Registrations(domain)
        self._quarantines: dict[Hashable, Quarantine] = {}
        self._jwks: dict[str, str] = {}

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(self._graph.nodes)

    @property
    def revocations(self) -> Revocations:
        return self._decisions.revocations

    def identity(self, node_id: str) -> SpiffeId | None:
        """The one identity that may claim `node_id`; None when no such workload is registered."""
        node = self._graph.nodes.get(node_id)
        return None if node is None else node.group.identity

    def plan(self, node_id: str) -> ProxyPlan | None:
        """None when the node is not registered or has no sidecar."""
        node = self._graph.nodes.get(node_id)
        if node is None:
            return None
        return planning.proxy_plan(
            node.entry,
            self.settings,
            node.inbound,
            node.scope,
            self._access_log,
            self._jwks,
            closed=node.closed,
        )

    @property
    def key_sources(self) -> dict[str, float]:
        """Where the keys of all token rules are fetched from, and how many seconds that may take."""
        sources: dict[str, float] = {}
        for rule in (rule for one in self._decisions.token_rules for rule in one.rules if rule.key_source):
            sources[rule.key_source] = max(sources.get(rule.key_source, 0.0), rule.timeout_seconds)
        return sources

    def learn_keys(self, source: str, jwks: str) -> Affected:
        """The keys that were fetched from `source`."""
        if self._jwks.get(source) == jwks:
            return Affected()
        self._jwks[source] = jwks
        nodes = self._graph.nodes.items()
        return Affected(frozenset(i for i, n in nodes if source in planning.key_sources(n.inbound)))

    def registrations_of(
        self, agent: str, selectors: frozenset[str] = frozenset()
    ) -> tuple[Registration, ...]:
        """What an agent may ever obtain, by name; without identities that are cut off."""
        held = self._registrations.held_by(agent, selectors)
        return tuple(r for r in held if not self.revocations.covers(r.spiffe_id))

    @property
    def keys(self) -> list[Hashable]:
        """Of every object there is."""
        return list(self._objects)

    @property
    def mesh(self) -> Mesh:
        """Everything as one value."""
        by_age = sorted(self._objects.values(), key=lambda edit: edit.created)
        return Mesh.of(self.settings, (edit.value for edit in by_age))

    def relations(self, key: Hashable) -> Relations:
        """How an object stands to the others of this moment."""
        return self._standing.relations(key)

    def apply(self, edits: Iterable[Edit]) -> Affected:
        """Edits of one object come in order; an edit that says what is known already changes nothing."""
        dirty = self._graph.dirty = Dirty()
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
        return Affected(self._settle(), frozenset(agents), frozenset(dirty.gone))

    def heavy(self, edits: Iterable[Edit]) -> list[Lowering]:
        """What makes `apply` of these quick, once it is done: in another thread, so that nobody waits for it."""
        return [work for edit in edits for work in self._decisions.heavy(edit.value)]

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
                case AuthorizationPolicy() | PeerAuthentication() | RequestAuthentication():
                    if now:
                        self._decisions.put(edit.key, edit.created, value)
                    else:
                        self._decisions.remove(edit.key, value)
                case ServiceEntry():
                    if now:
                        self._members.add_service(edit.key, edit.created, value)
                    else:
                        self._members.remove_service(edit.key, value)
                case WorkloadEntry():
                    if now:
                        self._members.add_entry(value, was if isinstance(was, WorkloadEntry) else None)
                    elif not isinstance(edit.value, WorkloadEntry):
                        self._members.remove_entry(value)
                case DestinationRule():
                    if now:
                        self._destinations.put(edit.key, edit.created, value)
                    else:
                        self._destinations.remove(edit.key, value)
                case Sidecar():
                    if now:
                        self._members.put_sidecar(edit.key, edit.created, value)
                    else:
                        self._members.remove_sidecar(edit.key, value)
                case Presence():
                    self._members.put_presence(value if now else None, value.agent)
                case WorkloadRegistration():
                    if now:
                        agents |= self._registrations.add(edit.key, value)
                    else:
                        agents |= self._registrations.remove(edit.key)
                case Quarantine():
                    self._quarantines.pop(edit.key, None)
                    if now:
                        self._quarantines[edit.key] = value
                case FederatedTrustDomain():
                    if now:
                        self._standing.put(edit.key, value)
                    else:
                        self._standing.remove(edit.key, value)
                case _:
                    pass
        return agents

    def _oldest_first(self) -> list[Quarantine]:
        aged = [(self._objects[key].created, one.name, one) for key, one in self._quarantines.items()]
        return [one for _, _, one in sorted(aged, key=lambda found: found[:2])]

    def _cut_off(self) -> set[str]:
        now = revocations(self._oldest_first())
        if now == self.revocations:
            return set()
        self._decisions.cut_off(now)
        return {ANY_AGENT}

    # what follows from it

    def _settle(self) -> frozenset[str]:
        dirty = self._graph.dirty
        for group in dirty.programs:
            self._decisions.program_again(group)
        for group in dirty.modes:
            self._decisions.mode_again(group)
        for target, concerned in dirty.callers.items():
            self._reach.callers_again(target, concerned)
        for principal in dirty.newcomers:
            self._reach.reach_of(principal)
        for target in dirty.destinations:
            self._destinations.again(target)
        return frozenset(self._changed_nodes()) | dirty.gone.keys()

    def _changed_nodes(self) -> Iterator[str]:
        graph, dirty = self._graph, self._graph.dirty
        for group in dirty.inbound:
            for id_ in group.entries:
                node = graph.nodes[id_]
                if node.entry.sidecar and self._plan_inbound(id_, node):
                    yield id_
        known = (graph.identities[p] for p in dirty.principals if p in graph.identities)
        told = {id_: None for identity in known for group in identity.groups for id_ in group.entries}
        scopes: _Scopes = {}
        for id_ in {**dirty.edited, **dirty.nodes, **told}:
            node = graph.nodes[id_]
            if node.entry.sidecar is None and id_ not in dirty.edited:
                continue
            if id_ in dirty.edited:
                self._plan_inbound(id_, node)
            scope, closed = self._scope(node, scopes), planning.is_closed(node.entry, node.group.sidecar)
            if id_ in dirty.edited or (scope, closed) != (node.scope, node.closed):
                node.scope, node.closed = scope, closed
                yield id_

    def _plan_inbound(self, id_: str, node: Node) -> bool:
        """Whether that changed anything. The services its ports ask are told of it from now on."""
        inbound = tuple(planning.inbound_ports(node.entry, node.group.by_age(), self._decisions.look))
        if inbound == node.inbound:
            return False
        node.inbound = inbound
        known = node.declared
        self._graph.declare(id_)
        if node.declared != known:
            self._graph.dirty.nodes[id_] = None
        return True

    def _scope(self, node: Node, known: _Scopes) -> tuple[Destination, ...]:
        sidecar = node.group.sidecar
        egress = sidecar.egress if sidecar else None
        key = (node.group.identity.principal, node.declared, node.asked, egress, node.entry.locality)
        if key not in known:
            scope = tuple(self._destinations.told(node, egress))
            known[key] = node.scope if scope == node.scope else scope
        return known[key]
