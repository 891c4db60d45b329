"""A mesh as the policy tools ask it: everything that decides, and the ports that are decided about. Pure."""

from __future__ import annotations

from controlplane.mesh.mesh import Mesh, workload
from controlplane.mesh.planning import protocol, revoked
from policies.side import Policies, Target


def policies_of(mesh: Mesh) -> Policies:
    return Policies(
        mesh.settings,
        mesh.policies,
        mesh.peer_authentications,
        mesh.request_authentications,
        revoked(mesh.revocations),
    )


def targets_of(mesh: Mesh) -> list[Target]:
    """Every port that a service offers, at each of the workloads behind it."""
    found = dict[tuple[str, str, int], Target]()
    for service in mesh.services:
        for entry in mesh.selected_by(service):
            for port in service.ports:
                own = port.target_port or port.number
                key = (entry.namespace, entry.name, own)
                found.setdefault(key, Target(workload(entry), own, protocol(port)))
    return list(found.values())
