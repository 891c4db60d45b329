"""Workloads and services come and go: who is behind what is kept right, and what that concerns is marked."""

from __future__ import annotations

from collections.abc import Hashable

from ca.spiffe_id import TrustDomain
from controlplane.mesh import planning
from controlplane.mesh.graph import Graph, Group, Identity, Node, Service, Target, add, drop
from controlplane.mesh.presence import Presence
from controlplane.mesh.reaching import Reach
from controlplane.mesh.selecting import Objects
from controlplane.resources.service_entry import ServiceEntry
from controlplane.resources.sidecar import Sidecar, sidecar_of
from controlplane.resources.workload_entry import WorkloadEntry
from policies.workload import MeshSettings, Workload


class Members:
    def __init__(self, graph: Graph, reach: Reach, settings: MeshSettings) -> None:
        self._graph = graph
        self._reach = reach
        self._domain = TrustDomain.parse(settings.trust_domain)
        self._root = settings.root_namespace
        self._sidecars: Objects[Sidecar] = Objects()

    def put_sidecar(self, key: Hashable, created: int, sidecar: Sidecar) -> None:
        self._sidecars.put(key, created, sidecar)
        self._narrow_again(sidecar)

    def remove_sidecar(self, key: Hashable, sidecar: Sidecar) -> None:
        self._sidecars.remove(key)
        self._narrow_again(sidecar)

    def put_presence(self, presence: Presence | None, agent: str) -> None:
        """What the agent says from now on of those it watches; None: nothing."""
        graph = self._graph
        before = graph.presences.pop(agent, None)
        if presence is not None:
            graph.presences[agent] = presence
        for id_ in graph.watched.get(agent, ()):
            node = graph.nodes[id_]
            if planning.is_ready(node.entry, before) != planning.is_ready(node.entry, presence):
                graph.touch_services(node.group)

    def _narrow_again(self, sidecar: Sidecar) -> None:
        everywhere = sidecar.namespace == self._root and not sidecar.selector
        namespace = None if everywhere else sidecar.namespace
        for group in self._graph.by_labels.selected(namespace, sidecar.selector):
            self._narrow(group)

    def _narrow(self, group: Group) -> None:
        workload = group.workload
        found = self._sidecars.by_age(workload.namespace, workload.labels, self._root)
        group.sidecar = sidecar_of(found, workload.namespace, workload.labels, self._root)
        self._graph.dirty.nodes.update(dict.fromkeys(group.entries))

    def add_service(self, key: Hashable, created: int, entry: ServiceEntry) -> None:
        graph = self._graph
        service = graph.services[key] = Service(entry, created)
        service.targets = [Target(service, index, port) for index, port in enumerate(entry.ports)]
        graph.service_selectors.add(key, entry.namespace, entry.selector)
        for group in graph.by_labels.selected(entry.namespace, entry.selector):
            self._join(group, key, service)
        for target in service.targets:
            graph.dirty.callers[target] = None
            graph.dirty.destinations[target] = None
            add(graph.by_host, ((host, target.port.number) for host in entry.hosts), target)
            add(graph.hosts, entry.hosts, target)

    def remove_service(self, key: Hashable, entry: ServiceEntry) -> None:
        graph = self._graph
        service = graph.services.pop(key)
        graph.service_selectors.remove(key)
        for group in service.groups:
            del group.services[key]
            graph.dirty.inbound[group] = None
        for target in service.targets:
            graph.tell_users(target)
            graph.dirty.callers.pop(target, None)
            graph.dirty.destinations.pop(target, None)
            for caller in target.callers:
                graph.identities[caller].reach.pop(target, None)
            self._reach.list(target, ())
            for host in dict.fromkeys(entry.hosts):
                drop(graph.by_host, (host, target.port.number), target)
                drop(graph.hosts, host, target)

    def add_entry(self, entry: WorkloadEntry, was: WorkloadEntry | None) -> None:
        graph, id_ = self._graph, planning.node_id(entry)
        if was is not None:
            if _key(entry) == _key(was):
                self._change_entry(id_, entry)
                return
            self.remove_entry(was)
        group = graph.groups.get(_key(entry)) or self._new_group(entry)
        group.entries[id_] = entry
        graph.nodes[id_] = Node(entry, group)
        self._watch(id_, entry)
        graph.declare(id_)
        graph.dirty.gone.pop(id_, None)
        self._touch(id_, group)

    def remove_entry(self, entry: WorkloadEntry) -> None:
        graph, id_ = self._graph, planning.node_id(entry)
        node = graph.nodes.pop(id_)
        group = node.group
        for place in node.declared:
            drop(graph.declarers, place, id_)
        self._forget(id_, entry)
        graph.dirty.nodes.pop(id_, None)
        graph.dirty.edited.pop(id_, None)
        graph.dirty.gone[id_] = None
        graph.touch_services(group)
        del group.entries[id_]
        if not group.entries:
            self._remove_group(group, _key(entry))

    def _change_entry(self, id_: str, entry: WorkloadEntry) -> None:
        node = self._graph.nodes[id_]
        self._forget(id_, node.entry)
        self._watch(id_, entry)
        node.entry = node.group.entries[id_] = entry
        self._graph.declare(id_)
        self._touch(id_, node.group)

    def _watch(self, id_: str, entry: WorkloadEntry) -> None:
        if entry.watched_by:
            add(self._graph.watched, (entry.watched_by,), id_)

    def _forget(self, id_: str, entry: WorkloadEntry) -> None:
        if entry.watched_by:
            drop(self._graph.watched, entry.watched_by, id_)

    def _touch(self, id_: str, group: Group) -> None:
        self._graph.dirty.edited[id_] = None
        self._graph.touch_services(group)

    def _join(self, group: Group, key: Hashable, service: Service) -> None:
        service.groups[group] = None
        group.services[key] = service
        self._graph.dirty.inbound[group] = None

    def _new_group(self, entry: WorkloadEntry) -> Group:
        graph = self._graph
        identity = planning.identity(self._domain, entry)
        workload = Workload(entry.namespace, entry.name, entry.service_account, entry.labels)
        group = graph.groups[_key(entry)] = Group(workload, identity)
        graph.by_labels.add(group, entry.namespace, entry.labels)
        self._narrow(group)
        for key in list(graph.service_selectors.selecting(entry.namespace, entry.labels)):
            service = graph.services[key]
            self._join(group, key, service)
            graph.dirty.callers.update(dict.fromkeys(service.targets))
        principal = identity.principal
        if principal not in graph.identities:
            graph.identities[principal] = Identity()
            graph.by_namespace.setdefault(entry.namespace, {})[principal] = None
            graph.dirty.newcomers[principal] = None
        graph.identities[principal].groups[group] = None
        return group

    def _remove_group(self, group: Group, key: tuple[object, ...]) -> None:
        graph = self._graph
        del graph.groups[key]
        graph.by_labels.remove(group)
        for service in group.services.values():
            del service.groups[group]
            graph.dirty.callers.update(dict.fromkeys(service.targets))
        for table in (graph.dirty.programs, graph.dirty.modes, graph.dirty.inbound):
            table.pop(group, None)
        principal = group.identity.principal
        identity = graph.identities[principal]
        del identity.groups[group]
        if not identity.groups:
            for target in identity.reach:
                target.callers.discard(principal)
            del graph.identities[principal]
            drop(graph.by_namespace, group.workload.namespace, principal)
            graph.dirty.newcomers.pop(principal, None)
            graph.dirty.principals.pop(principal, None)


def _key(entry: WorkloadEntry) -> tuple[object, ...]:
    return entry.namespace, entry.service_account, tuple(sorted(entry.labels.items()))
