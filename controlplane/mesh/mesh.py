"""The Mesh: every accepted resource in its typed form, as one value.

`Mesh.of` is given parsed objects in any order; what cannot be used (a WorkloadEntry nobody selects, a service
without endpoints) is kept: it is desired state, and the planner simply finds nothing to do with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ca.registrations import Registration
from ca.revocation import Revocations
from ca.spiffe_id import TrustDomain
from controlplane.mesh.presence import Presence
from controlplane.resources.destination_rule import DestinationRule
from controlplane.resources.quarantine import Quarantine, revocations
from controlplane.resources.service_entry import ServiceEntry
from controlplane.resources.sidecar import Sidecar
from controlplane.resources.workload_entry import WorkloadEntry
from controlplane.resources.workload_registration import WorkloadRegistration
from policies.authorization_policy import AuthorizationPolicy
from policies.peer_authentication import PeerAuthentication
from policies.request_authentication import RequestAuthentication
from policies.workload import MeshSettings, Workload


@dataclass(frozen=True, slots=True)
class Mesh:
    settings: MeshSettings
    services: tuple[ServiceEntry, ...] = ()
    entries: tuple[WorkloadEntry, ...] = ()
    policies: tuple[AuthorizationPolicy, ...] = ()
    peer_authentications: tuple[PeerAuthentication, ...] = ()
    registrations: tuple[Registration, ...] = ()
    revocations: Revocations = Revocations()
    request_authentications: tuple[RequestAuthentication, ...] = ()
    destination_rules: tuple[DestinationRule, ...] = ()
    sidecars: tuple[Sidecar, ...] = ()
    presences: tuple[Presence, ...] = ()

    @classmethod
    def of(cls, settings: MeshSettings, objects: Iterable[object]) -> Mesh:
        """`objects`: parsed resources of any kind, oldest first; kinds the data plane does not read are passed over."""
        everything = list(objects)
        domain = TrustDomain.parse(settings.trust_domain)
        return cls(
            settings,
            services=tuple(o for o in everything if isinstance(o, ServiceEntry)),
            entries=tuple(o for o in everything if isinstance(o, WorkloadEntry)),
            policies=tuple(o for o in everything if isinstance(o, AuthorizationPolicy)),
            peer_authentications=tuple(o for o in everything if isinstance(o, PeerAuthentication)),
            registrations=tuple(
                o.registration(domain) for o in everything if isinstance(o, WorkloadRegistration)
            ),
            request_authentications=tuple(o for o in everything if isinstance(o, RequestAuthentication)),
            destination_rules=tuple(o for o in everything if isinstance(o, DestinationRule)),
            presences=tuple(o for o in everything if isinstance(o, Presence)),
            sidecars=tuple(o for o in everything if isinstance(o, Sidecar)),
            revocations=revocations(o for o in everything if isinstance(o, Quarantine)),
        )

    def selected_by(self, service: ServiceEntry) -> tuple[WorkloadEntry, ...]:
        """The workloads behind a service: those of its namespace that carry all labels of its selector."""
        return tuple(
            entry
            for entry in self.entries
            if entry.namespace == service.namespace and service.selector.items() <= entry.labels.items()
        )


def workload(entry: WorkloadEntry) -> Workload:
    """A WorkloadEntry as policy sees it."""
    return Workload(entry.namespace, entry.name, entry.service_account, entry.labels)
