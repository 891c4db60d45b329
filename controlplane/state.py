"""The mesh in force, as the xDS port and the agents ask for it. No I/O.

`apply` answers whom an edit concerns; a snapshot is compiled when a proxy asks, from parts that replicas share.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from ca.registrations import Registration
from ca.revocation import Revocations
from ca.spiffe_id import SpiffeId
from controlplane.mesh.deciding import Lowering
from controlplane.mesh.live import Affected, Edit, LiveMesh
from controlplane.mesh.mesh import Mesh
from controlplane.mesh.relations import Relations
from policies.workload import MeshSettings
from xds.compile import Compiler, Work
from xds.errors import NotAuthorizedError
from xds.plan import AccessLog, ProxyPlan
from xds.snapshot import Snapshot


class MeshState:
    def __init__(self, settings: MeshSettings, access_log: AccessLog) -> None:
        self._mesh = LiveMesh(settings, access_log)
        self._compiler = Compiler()
        self._snapshots: dict[str, tuple[ProxyPlan | None, Snapshot]] = {}
        self._planned: set[str] = set()
        self._plans: dict[str, ProxyPlan | None] = {}  # of those not in `_planned`: made, not compiled yet
        self._problems: dict[Hashable, str] = {}
        self.revision = 0

    @property
    def settings(self) -> MeshSettings:
        return self._mesh.settings

    @property
    def revocations(self) -> Revocations:
        return self._mesh.revocations

    @property
    def node_ids(self) -> tuple[str, ...]:
        return self._mesh.node_ids

    def lowering(self, edits: Iterable[Edit]) -> list[Lowering]:
        """What has to be done before `apply` of these is quick; in any thread."""
        return self._mesh.heavy(edits)

    def apply(self, edits: Iterable[Edit], revision: int, *, everything: bool = False) -> Affected:
        """`everything`: what is not among the edits is gone. `revision`: where the mesh stands with them."""
        edits = list(edits)
        if everything:
            self._problems.clear()
        for edit in edits:
            self._problems.pop(edit.key, None)
            if edit.problem:
                self._problems[edit.key] = edit.problem
        affected = self._mesh.replace_all(edits) if everything else self._mesh.apply(edits)
        self._forget_plans(affected.nodes)
        for node_id in affected.nodes & self._snapshots.keys():
            if self._mesh.identity(node_id) is None:
                del self._snapshots[node_id]
        self.revision = revision
        return affected

    @property
    def mesh(self) -> Mesh:
        """Everything as one value."""
        return self._mesh.mesh

    @property
    def keys(self) -> list[Hashable]:
        """Of every object the mesh is made of."""
        return self._mesh.keys

    def problem(self, key: Hashable) -> str:
        """Why an object is not in force as it is written; "" where it is."""
        return self._problems.get(key, "")

    def relations(self, key: Hashable) -> Relations:
        """How an object stands to the others of this moment."""
        return self._mesh.relations(key)

    @property
    def key_sources(self) -> dict[str, float]:
        """Where the keys of token rules are fetched from, and how many seconds that may take."""
        return self._mesh.key_sources

    def learn_keys(self, source: str, jwks: str) -> Affected:
        affected = self._mesh.learn_keys(source, jwks)
        self._forget_plans(affected.nodes)
        return affected

    def admit(self, peer: SpiffeId, node_id: str) -> None:
        """Raises: NotAuthorizedError unless `peer` is the identity registered for that workload."""
        if self._mesh.identity(node_id) != peer:
            raise NotAuthorizedError(node_id)

    def is_proxyless(self, node_id: str) -> bool:
        """Is its snapshot made for a gRPC process?"""
        plan = self._mesh.plan(node_id)
        return plan is not None and plan.proxyless

    def heavy(self, node_id: str) -> list[Work]:
        """What has to be done before `snapshot` is quick."""
        plan = None if node_id in self._planned else self._plan(node_id)
        return [] if plan is None else self._compiler.heavy(plan)

    def snapshot(self, node_id: str) -> tuple[int, Snapshot]:
        """A plan that did not change keeps its snapshot; a changed one shares with it what is the same."""
        if node_id not in self._planned:
            if self._mesh.identity(node_id) is None:
                return self.revision, Snapshot()
            plan = self._plan(node_id)
            self._plans.pop(node_id, None)
            plan_before, snapshot = self._snapshots.get(node_id, (None, None))
            if snapshot is None or plan_before != plan:
                before = (plan_before, snapshot) if plan_before is not None and snapshot is not None else None
                snapshot = Snapshot() if plan is None else self._compiler.snapshot(plan, before)
                self._snapshots[node_id] = (plan, snapshot)
            self._planned.add(node_id)
        return self.revision, self._snapshots[node_id][1]

    def registrations_of(
        self, agent: str, selectors: frozenset[str] = frozenset()
    ) -> tuple[Registration, ...]:
        """Without those of identities that are cut off."""
        return self._mesh.registrations_of(agent, selectors)

    def _plan(self, node_id: str) -> ProxyPlan | None:
        if node_id not in self._plans:
            self._plans[node_id] = self._mesh.plan(node_id)
        return self._plans[node_id]

    def _forget_plans(self, nodes: frozenset[str]) -> None:
        self._planned -= nodes
        for node_id in nodes & self._plans.keys():
            del self._plans[node_id]
