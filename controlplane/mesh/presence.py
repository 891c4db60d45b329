"""What is known of an agent and the workloads it watches: a record of the store, and what follows for endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

RESOURCE: Final = "presence.internal"


@dataclass(frozen=True, slots=True)
class Presence:
    """`server` has its stream, or had it last; `lost`: for too long nobody has. `unready`: name and reason, sorted."""

    agent: str
    server: str
    ready: frozenset[str]
    unready: tuple[tuple[str, str], ...] = ()
    lost: bool = False

    def holds(self, node_id: str) -> bool:
        """Does the workload take requests, as far as anybody knows?"""
        return not self.lost and node_id in self.ready

    @property
    def value(self) -> dict[str, Any]:
        return {
            "agent": self.agent, "server": self.server, "ready": sorted(self.ready),
            "unready": [list(one) for one in self.unready], "lost": self.lost,
        }  # fmt: skip

    @classmethod
    def of(cls, value: dict[str, Any]) -> Presence:
        return cls(
            value["agent"],
            value["server"],
            frozenset(value["ready"]),
            tuple((name, reason) for name, reason in value["unready"]),
            value["lost"],
        )
