"""Who calls from a container: a sidecar stands for its app, and is known by what the engine says of the app."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent.caller import Caller
from agent.workload_attestation import WorkloadAttestation


class SidecarAttestation(WorkloadAttestation):
    """`container_selectors(id)`: of a container this agent meshes, or of the sidecar it made for one."""

    def __init__(
        self, wanted: Callable[[], Iterable[str]], container_selectors: Callable[[str], frozenset[str]]
    ) -> None:
        super().__init__(lambda _: None, wanted)
        self._container_selectors = container_selectors

    async def selectors(self, caller: Caller) -> frozenset[str]:
        """The container was confirmed by the engine before it counts here."""
        found = await super().selectors(caller)
        if not found or caller.container is None:
            return found
        return found | self._container_selectors(caller.container[0])
