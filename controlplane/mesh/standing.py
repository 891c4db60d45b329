"""Looks up how an object stands to the others; `relations` has the words. What it costs grows with what it names only."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Protocol

from ca.spiffe_id import TrustDomain
from controlplane.mesh import planning, relations
from controlplane.mesh.deciding import Decisions
from controlplane.mesh.graph import Graph, drop
from controlplane.mesh.relations import Relations
from controlplane.resources.federated_trust_domain import FederatedTrustDomain
from controlplane.resources.service_entry import ServiceEntry
from controlplane.resources.workload_entry import WorkloadEntry
from policies.authorization_policy import AuthorizationPolicy
from policies.peer_authentication import PeerAuthentication
from policies.request_authentication import RequestAuthentication
from policies.workload import MeshSettings


class Aged(Protocol):
    """An object as the mesh keeps it."""

    @property
    def created(self) -> int: ...
    @property
    def value(self) -> object | None: ...


class Standing:
    def __init__(
        self, graph: Graph, decisions: Decisions, settings: MeshSettings, objects: Mapping[Hashable, Aged]
    ) -> None:
        self._graph = graph
        self._decisions = decisions
        self._settings = settings
        self._domain = TrustDomain.parse(settings.trust_domain)
        self._objects = objects
        self._federated: dict[str, dict[Hashable, None]] = {}

    def put(self, key: Hashable, one: FederatedTrustDomain) -> None:
        self._federated.setdefault(one.trust_domain.name, {})[key] = None

    def remove(self, key: Hashable, one: FederatedTrustDomain) -> None:
        drop(self._federated, one.trust_domain.name, key)

    def relations(self, key: Hashable) -> Relations:
        found = self._objects.get(key)
        match found.value if found else None:
            case PeerAuthentication() as one:
                older = self._older(key, self._decisions.modes_alike(key))
                return relations.of_modes(one, older, selects=self._decisions.selects_any(one))
            case AuthorizationPolicy() | RequestAuthentication() as one:
                return relations.of_policy(one, self._settings, selects=self._decisions.selects_any(one))
            case ServiceEntry() as one:
                return self._service(key, one)
            case WorkloadEntry() as one:
                unknown = [p for p in sorted(planning.declared(one)) if p not in self._graph.by_host]
                return relations.of_workload(unknown)
            case FederatedTrustDomain() as one:
                older = self._older(key, self._federated.get(one.trust_domain.name, ()))
                return relations.of_trust_domain(one, self._domain, older)
            case _:
                return Relations()

    def _service(self, key: Hashable, one: ServiceEntry) -> Relations:
        service = self._graph.services[key]
        taken: dict[tuple[str, int], ServiceEntry] = {}
        for place in ((host, port.number) for host in one.hosts for port in one.ports):
            first = min(self._graph.by_host[place], key=lambda target: target.age)
            if first.service is not service:
                taken[place] = first.service.entry
        return relations.of_service(one, taken, has_workloads=bool(service.groups))

    def _older(self, key: Hashable, rivals: Iterable[Hashable]) -> list[object]:
        """The values of those that were there before, oldest first."""
        mine = self._objects[key].created
        found = [self._objects[other] for other in rivals if other != key]
        return [o.value for o in sorted(found, key=lambda o: o.created) if o.created < mine]
