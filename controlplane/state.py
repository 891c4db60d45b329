"""The mesh in force: what the reconciler last built, as the xDS port and the agents ask for it. No I/O.

It is replaced whole; snapshots are compiled when a proxy first asks, and kept until the next mesh.
"""

from __future__ import annotations

from ca.registrations import Registration, held_by
from ca.revocation import Revocations
from ca.spiffe_id import SpiffeId
from controlplane.mesh.mesh import Mesh
from controlplane.mesh.planning import Planner
from policies.workload import MeshSettings
from xds.compile import compile_plan
from xds.errors import NotAuthorizedError
from xds.plan import AccessLog, ProxyPlan
from xds.snapshot import Snapshot


class MeshState:
    def __init__(self, settings: MeshSettings, access_log: AccessLog) -> None:
        self._access_log = access_log
        self._planner = Planner(Mesh(settings), access_log)
        self._snapshots: dict[str, tuple[ProxyPlan | None, Snapshot]] = {}
        self._planned: set[str] = set()
        self.revision = 0

    @property
    def settings(self) -> MeshSettings:
        return self._planner.mesh.settings

    @property
    def node_ids(self) -> tuple[str, ...]:
        return self._planner.node_ids

    @property
    def revocations(self) -> Revocations:
        return self._planner.mesh.revocations

    def install(self, mesh: Mesh, revision: int) -> None:
        self._planner = Planner(mesh, self._access_log)
        self._planned = set()
        self.revision = revision

    def admit(self, peer: SpiffeId, node_id: str) -> None:
        """Raises: NotAuthorizedError unless `peer` is the identity registered for that workload."""
        if self._planner.identity(node_id) != peer:
            raise NotAuthorizedError(node_id)

    def snapshot(self, node_id: str) -> tuple[int, Snapshot]:
        """A plan that did not change keeps its snapshot: nothing is compiled twice."""
        if node_id not in self._planned:
            plan = self._planner.plan(node_id)
            old = self._snapshots.get(node_id)
            if old is None or old[0] != plan:
                self._snapshots[node_id] = (plan, Snapshot() if plan is None else compile_plan(plan))
            self._planned.add(node_id)
        return self.revision, self._snapshots[node_id][1]

    def registrations_of(self, agent: str) -> tuple[Registration, ...]:
        """Without those of identities that are cut off."""
        mesh = self._planner.mesh
        held = held_by(mesh.registrations, agent)
        return tuple(r for r in held if not mesh.revocations.covers(r.spiffe_id))
